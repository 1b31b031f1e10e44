"""The whole workflow: the same tables whatever the shards, the cores and the accidents."""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from checkout import Checkout
from same_tables import SINGLE_FILES, TABLES, assert_same, rows_of

from icsd.core import tables
from icsd.stages.images import image_store

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def four_shards(check_out: Callable[[Path], Checkout], tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A run of the arm multi in four shards on one core. Do not write into it."""
    checkout = check_out(tmp_path_factory.mktemp("four") / "icsd")
    checkout.edit("shards", 4)
    checkout.edit("arms", ["multi"])
    checkout.run()
    return checkout


def _drawn_ids(checkout: Checkout, arm: str) -> list[str]:
    shards = sorted((checkout.results / "images" / arm).glob("*-of-*.parquet"))
    return tables.concat(shards, tables.IMAGES)["image_id"].to_pylist()


def test_every_arm_has_its_scores_and_equal_steps(whole_run: Checkout) -> None:
    rows = tables.read(whole_run.results / "evaluation" / "scores.parquet", tables.SCORES).to_pylist()
    assert {row["arm"] for row in rows} == set(whole_run.config["arms"])
    assert len({row["metric"] for row in rows}) >= 6
    assert len(rows) % 5 == 0
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert any(row["value"] > 0 for row in rows if row["metric"] == "CIDEr")
    page = (whole_run.results / "evaluation" / "scores.md").read_text()
    assert all(f"| {arm} " in page for arm in whole_run.config["arms"])
    for arm in whole_run.config["arms"]:
        history = tables.read(whole_run.results / f"captioner/{arm}/seed-0/history.parquet", tables.HISTORY)
        assert max(history["step"].to_pylist()) == whole_run.config["captioner"]["steps"]


def test_another_test_set_is_scored_by_domain_and_by_clip(done: Checkout, corpus: Path, clip_folder: Path) -> None:
    """Named nocaps, in place of the run's own; the captioner is not trained again."""
    document = json.loads((corpus / "annotations/captions_test.json").read_text())
    for number, image in enumerate(document["images"]):
        image["domain"] = "in-domain" if number % 3 else "out-domain"
    (done.folder / "nocaps.json").write_text(json.dumps(document))
    done.edit("arms", ["real"])
    done.edit("pictures.test", {"name": "nocaps", "annotations": "nocaps.json", "images": str(corpus / "images/test")})
    done.edit("evaluation.metrics", ["ROUGE_L"])
    done.edit("evaluation.clip_model", str(clip_folder))
    stages = ("read_pictures", "embed_test_pictures", "predict_captions", "write_gallery", "score_captions")
    assert done.planned() == dict.fromkeys((*stages, "collect_scores", "draw_report", "all"), 1)
    done.run()
    rows = tables.read(done.results / "evaluation/scores.parquet", tables.SCORES).to_pylist()
    assert [(row["test"], row["metric"]) for row in rows] == list(
        product(["nocaps", "nocaps/in-domain", "nocaps/out-domain"], ["ROUGE-L", "CLIPScore", "RefCLIPScore"])
    )
    page = (done.results / "evaluation/scores.md").read_text()
    assert "## nocaps/in-domain\n\n8 pictures with 40 captions." in page
    results = json.loads((done.results / "evaluation/real/seed-0/nocaps/results.json").read_text())
    assert {row["image_id"] for row in results} == {image["id"] for image in document["images"]}


def test_more_test_sets_are_predicted_and_scored_by_every_arm(done: Checkout, corpus: Path) -> None:
    split = {"annotations": str(corpus / "annotations/captions_val.json"), "images": str(corpus / "images/val")}
    done.edit("pictures.more_tests", {"flickr30k": split, "nocaps": split})
    assert done.planned() == {
        "read_pictures": 2, "predict_captions": 10, "write_gallery": 1, "score_captions": 10, "collect_scores": 1,
        "draw_report": 1,
        "all": 1,
    }  # fmt: skip


def test_spice_without_its_files_stops_before_any_job(fresh: Checkout) -> None:
    fresh.edit("evaluation.metrics", ["BLEU", "SPICE"])
    assert fresh.planned()["score_captions"] == 5
    failed = fresh.snakemake()
    assert failed.returncode != 0
    assert "evaluation.spice.corenlp=resources/models/corenlp has no stanford-corenlp-3.6.0.jar" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not fresh.results.exists()


def test_the_gallery_has_every_drawn_picture(whole_run: Checkout) -> None:
    gallery = whole_run.results / "gallery"
    page = (gallery / "index.html").read_text()
    assert "This run is not finished" not in page
    catalog = (gallery / "data" / "catalog.js").read_text()
    ids = re.findall(r'"((?:multi|single|single_matched)-\d+)"', catalog)
    assert sorted(ids) == sorted(
        each for arm in ("multi", "single", "single_matched") for each in _drawn_ids(whole_run, arm)
    )


def test_arms_have_the_pictures_that_they_should(whole_run: Checkout) -> None:
    pairs = {
        arm: tables.read(whole_run.results / f"dataset/{arm}/pairs.parquet", tables.PAIRS).to_pylist()
        for arm in whole_run.config["arms"]
    }
    pictures = {arm: {row["image_id"] for row in rows} for arm, rows in pairs.items()}
    captions = {arm: [row["caption_id"] for row in rows] for arm, rows in pairs.items()}
    drawn = {arm: _drawn_ids(whole_run, arm) for arm in ("multi", "single", "single_matched")}
    assert len(pictures["single"]) == len(pictures["multi"]) < len(drawn["multi"]) < len(drawn["single"])
    assert pictures["multi_head"] == pictures["multi"]
    assert len(captions["multi_head"]) == len(pictures["multi"]) < len(captions["multi"])
    of_multi = sorted(set(captions["multi"]))
    assert sorted(int(image_id.removeprefix("single_matched-")) for image_id in drawn["single_matched"]) == of_multi
    assert len(pictures["single_matched"]) == len(captions["single_matched"]) < len(of_multi)
    assert len(captions["real"]) == 60


def test_nothing_is_lost_between_the_stages(whole_run: Checkout) -> None:
    ledger = tables.read(whole_run.results / "dataset/multi/ledger.parquet", tables.LEDGER).to_pylist()
    groups = rows_of(whole_run, "groups/all")["group_id"].to_pylist()
    counts = Counter((row["stage"], row["kept"]) for row in ledger)
    assert counts["summaries", True] + counts["summaries", False] == len(groups)
    assert counts["images", True] + counts["images", False] == counts["summaries", True]
    assert counts["safety", True] + counts["safety", False] == counts["images", True]
    assert all(bool(row["reason"]) != row["kept"] for row in ledger)


def test_every_parquet_file_is_a_table_of_the_project(whole_run: Checkout) -> None:
    files = list(whole_run.results.rglob("*.parquet"))
    assert len(files) > 40
    assert all(b"icsd" in (pq.read_schema(path).metadata or {}) for path in files)
    assert list(whole_run.results.rglob("*.unfinished")) == []


@pytest.mark.parametrize("name", [*TABLES, *SINGLE_FILES])
def test_four_shards_on_one_core_give_the_tables_of_one_shard_on_two(
    whole_run: Checkout, four_shards: Checkout, name: str
) -> None:
    assert_same(whole_run, four_shards, name)


def test_a_killed_run_goes_on_and_ends_in_the_same_tables(whole_run: Checkout, done: Checkout) -> None:
    """Killed twice: while it draws, and while it trains. Pictures and training steps are not done again."""
    for name in ("images", "safety", "dataset", "captioner", "evaluation", "../drawn"):
        done.remove(name)
    done.edit("arms", ["multi"])
    done.edit("images.batch_size", 1)  # neither changes a result: each picture is kept at once,
    done.edit("captioner.checkpoint_every", 2)  # and so is every second step
    kept = image_store(done.folder / "results" / "drawn", "tiny")
    done.kill_when(lambda: kept.count() > 0)
    before = kept.count()
    assert not (done.results / "images/multi/0000-of-0001.parquet").exists()

    locked = done.snakemake()
    assert locked.returncode != 0
    assert "--unlock" in locked.stderr
    done.run("--unlock")
    state = done.results / "captioner/multi/seed-0/resume/state.safetensors"
    said = done.kill_when(state.exists)
    assert f"images: {before} of " in said
    assert len(list(kept.own_folder.iterdir())) == 2  # of the job that was killed, and of the one that went on
    pictures = tables.read(done.results / "images/multi/0000-of-0001.parquet", tables.IMAGES).num_rows
    assert kept.count() == pictures

    done.run("--unlock")
    assert "resuming after step" in done.run().stderr
    assert not state.parent.exists()
    assert list(done.results.rglob("*.unfinished")) == []
    for name in (*TABLES, *SINGLE_FILES):
        assert_same(whole_run, done, name)


# What Snakemake draws and checks.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dry-run"], "This was a dry-run"),
        (["--rulegraph"], "digraph"),
        (["--dag"], "digraph"),
        (["--lint"], "Congratulations, your workflow is in a good condition!"),
    ],
)
def test_the_workflow_shows_itself_and_is_clean(fresh: Checkout, arguments: list[str], said: str) -> None:
    shown = fresh.run(*arguments)
    assert said in shown.stdout + shown.stderr
    assert not fresh.results.exists()


def test_the_rule_graph_in_the_guide_is_the_workflows() -> None:
    command = [str(Path(sys.executable).with_name("snakemake")), "--rulegraph", "mermaid-js"]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    graph = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"```mermaid\n{graph.strip()}\n```" in (ROOT / "docs/guide/workflow.md").read_text()


def test_a_thousand_shards_can_be_planned(fresh: Checkout) -> None:
    fresh.edit("shards", 1_000)
    fresh.edit("arms", ["multi", "real"])
    start = time.monotonic()
    planned = fresh.planned("--quiet", "rules")
    print(f"a dry run of {sum(planned.values()):,} jobs: {time.monotonic() - start:.1f} s")
    assert planned["generate_images"] == planned["embed_captions"] == 1_000
    assert planned["find_neighbors"] == 64


def test_the_login_node_loads_no_torch(fresh: Checkout) -> None:
    shown = fresh.dry_run_with_imports()
    loaded = set(re.findall(r"^import time:.*\| +([\w.]+)$", shown, re.MULTILINE))
    assert {"icsd.config", "snakemake.workflow"} <= loaded
    # icsd.core.tables stands for pyarrow, which Snakemake's plugin for SLURM brings by way of pandas
    assert loaded.isdisjoint({"torch", "transformers", "diffusers", "open_clip", "icsd.core.tables", "matplotlib"})


# What every rule says.

# rule -> script: what they make is fixed by a sum or a commit, so that no change of code makes it another
DOWNLOADS = {
    "download_file": "download_file",
    "unpack_file": "unpack_archive",
    "unpack_folder": "unpack_archive",
    "fetch_model": "fetch_model",
}


def _rules() -> list[tuple[str, str]]:
    """Name and text of every rule that is not made from another, also of those below an if, which are indented."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    found = re.findall(r"^( *)rule (\w+):\n(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    rules = [(name, re.sub(f"^{indent}", "", body, flags=re.MULTILINE)) for indent, name, body in found]
    return [(name, body) for name, body in rules if "output:" in body]


@pytest.mark.parametrize(("name", "body"), _rules(), ids=[name for name, _ in _rules()])
def test_every_rule_says_what_a_cluster_needs(name: str, body: str) -> None:
    said = set(re.findall(r"^    (\w+):", body, re.MULTILINE))
    assert {"log", "conda", "threads", "resources", "params"} <= said
    assert {"mem_mb", "runtime"} <= set(re.findall(r"^        (\w+)=", body, re.MULTILINE))
    assert name in DOWNLOADS or "revision=REVISIONS[" in body
    assert f'script:\n        "../scripts/{DOWNLOADS.get(name, name)}.py"' in body


def test_every_rule_file_opens_with_its_contract() -> None:
    for path in (ROOT / "rules").glob("*.smk"):
        first = path.read_text().splitlines()[0]
        assert first.startswith("# "), path
        assert path.stem == "common" or first.startswith(f"# {path.stem}: "), path


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.stem)
def test_every_script_is_an_adapter(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 20
    assert "with job_log(snakemake.log[0]" in text
    assert ("online=True" in text) == (path.stem == "fetch_model")
    assert "snakemake.config" not in text


@pytest.mark.parametrize(("name", "body"), _rules(), ids=[name for name, _ in _rules()])
def test_a_job_that_requests_gpus_leases_them(name: str, body: str) -> None:
    text = (ROOT / "scripts" / f"{DOWNLOADS.get(name, name)}.py").read_text()
    assert ("with job_log(snakemake.log[0], gpus=snakemake.resources.gpu):" in text) == ("        gpu=" in body)
