"""Snakemake's graph of jobs, joined by rule: the jobs that would run, in words as well as in colour."""

import shutil
from pathlib import Path

import pytest

from tools import workflow_graphs

# read, twice: count, twice: all; all also needs read; the second count and all would run
JOBS = r"""digraph snakemake_dag {
    graph[bgcolor=white, margin=0];
    node[shape=box, style=rounded, fontname=sans,                 fontsize=10, penwidth=2];
	0[label = "all", color = "0.00 0.6 0.85", style="rounded"];
	1[label = "count\nshard: 0", color = "0.10 0.6 0.85", style="rounded,dashed"];
	2[label = "count\nshard: 1", color = "0.10 0.6 0.85", style="rounded"];
	3[label = "read", color = "0.20 0.6 0.85", style="rounded,dashed"];
	1 -> 0
	2 -> 0
	3 -> 0
	3 -> 1
	3 -> 2
}
"""


def _folder(path: Path, jobs: str = JOBS) -> Path:
    (path / "jobs.dot").write_text(jobs)
    return path


def test_jobs_are_joined_by_rule() -> None:
    graph = workflow_graphs.rule_graph(JOBS)
    assert graph.jobs == {"all": 1, "count": 2, "read": 1}
    assert graph.runs == {"all": 1, "count": 1}
    assert graph.needs == {
        "all": {"count"},
        "count": {"read"},
        "read": frozenset(),
    }  # all needs read through count
    assert [graph.status(rule) for rule in graph.jobs] == ["runs", "1 of 2 jobs run", "stays as it is"]
    assert graph.title.startswith("2 of 4 jobs would run")


def test_jobs_that_run_differ_in_colour_line_and_words() -> None:
    graph = workflow_graphs.rule_graph(JOBS)
    count, read = (
        next(line for line in workflow_graphs.as_dot(graph).splitlines() if f"{name}[" in line)
        for name in ("count", "read")
    )
    assert "E69F00" in count and "dashed" not in count and "1 of 2 jobs run" in count
    assert "EEEEEE" in read and "dashed" in read and "stays as it is" in read
    mermaid = workflow_graphs.as_mermaid(graph)
    assert 'id1["count<br>1 of 2 jobs run"]:::runs' in mermaid
    assert 'id2["read<br>stays as it is"]:::unchanged' in mermaid
    assert mermaid.count("-->") == 2
    assert ":" not in mermaid.splitlines()[1].removeprefix("title:")  # the header is YAML


@pytest.mark.skipif(shutil.which("dot") is None, reason="pictures of graphs: apt-get install graphviz")
def test_the_same_graph_gives_the_same_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = []
    for _ in range(2):
        assert workflow_graphs.main([str(_folder(tmp_path))]) == 0
        pictures.append((tmp_path / "rerun.svg").read_bytes())
    assert pictures[0] == pictures[1]
    assert b"1 of 2 jobs run" in pictures[0]
    assert str(tmp_path / "jobs.svg") in capsys.readouterr().out


def test_without_graphviz_the_mermaid_files_are_written_and_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert workflow_graphs.main([str(_folder(tmp_path))]) == 0
    assert "is not drawn: there is no program dot; install graphviz" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.dot", "rerun.dot", "rerun.mmd"]


def test_thousands_of_jobs_are_drawn_by_rule_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow_graphs, "MAX_JOBS", 3)
    assert (
        any("4 jobs are more than 3" in line for line in workflow_graphs.draw(_folder(tmp_path)))
        or shutil.which("dot") is None
    )


@pytest.mark.parametrize(
    ("jobs", "message"),
    [("Nothing.", "is not what snakemake --dag writes"), (None, "there is no such file")],
)
def test_a_missing_or_other_file_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], jobs: str | None, message: str
) -> None:
    if jobs is not None:
        _folder(tmp_path, jobs)
    assert workflow_graphs.main([str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
