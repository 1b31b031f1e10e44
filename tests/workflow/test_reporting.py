"""The report of a whole run, of half of one, and the picture of what would run again."""

import json
import re
from pathlib import Path

from checkout import Checkout

from tools.workflow_graphs import rule_graph

ROOT = Path(__file__).parents[2]
IN_GUIDE = re.compile(r"^\tid\d+\[(\w+)\]$", re.MULTILINE)
IN_PICTURE = re.compile(r"<title>(\w+)</title>")


def _page(checkout: Checkout, *targets: str) -> dict[str, dict]:
    """The results of the page that Snakemake makes, by their paths."""
    checkout.run(*targets, "--report", "report.html")
    text = (checkout.folder / "report.html").read_text(encoding="utf-8")
    found = re.search(r"^ *var results = (\{.*\});$", text, re.MULTILINE)
    assert found
    return json.loads(found[1])


def test_a_whole_run_ends_in_a_report_of_every_result(done: Checkout) -> None:
    results = _page(done)
    drawn = [path for path in results if "/sheets/" in path]
    assert len(drawn) == 3  # an arm that draws, of one shard
    assert len(results) - len(drawn) == 12
    assert all(result["caption"] and result["labels"] for result in results.values())
    state = (done.results / "report/state.html").read_text()
    assert "Everything that this report is made of is there." in state
    table = (done.results / "report/scores.html").read_text()
    assert all(f"<bdi>{arm}</bdi>" in table for arm in done.config["arms"])


def test_half_a_run_is_reported_while_it_goes_on_and_stays_as_it_was(done: Checkout) -> None:
    for name in ("report", "evaluation", "captioner/single", "safety/single"):
        done.remove(name)
    planned = done.planned()
    refused = done.snakemake("--report", "report.html")
    assert refused.returncode != 0
    assert "marked for report but does not exist" in refused.stderr
    done.run("--nolock", "--force", "report_so_far")
    assert len(_page(done, "report_so_far")) == 15
    state = (done.results / "report/so_far/state.html").read_text()
    assert "captioner/single/seed-0/history.parquet" in state
    assert "safety/single/0000-of-0001.parquet" in state
    assert done.planned() == planned


def test_the_picture_has_the_jobs_that_an_edited_prompt_reruns(done: Checkout) -> None:
    assert rule_graph(done.run("--dag", "dot").stdout).runs == {}
    done.edit("summaries.prompt", "strict")
    graph = rule_graph(done.run("--dag", "dot").stdout)
    assert graph.runs == done.planned()
    assert graph.status("read_captions") == "stays as it is"
    assert graph.status("generate_images") == "3 of 3 jobs run"


def test_the_picture_in_the_guide_has_the_workflows_rules() -> None:
    rules = set(IN_GUIDE.findall((ROOT / "docs/guide/workflow.md").read_text()))
    picture = set(IN_PICTURE.findall((ROOT / "docs/images/rerun.svg").read_text()))
    assert picture - {"rerun"} == rules
