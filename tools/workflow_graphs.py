"""Pictures of the workflow: what `snakemake --dag` says would run, by rule, in colour and in figures.

Snakemake draws a node a job, and dashes those that need not run: for a thousand shards nobody can look at that.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from icsd.core.errors import ICSDError, InputError
from icsd.core.files import atomic_path

NODE = re.compile(r'^\s*(\d+)\[label = "((?:[^"\\]|\\.)*)", color = "[^"]*", style="([\w,]+)"\];$', re.MULTILINE)
EDGE = re.compile(r"^\s*(\d+) -> (\d+);?$", re.MULTILINE)
NAMES = ("rules", "jobs", "rerun")
MOST_JOBS = 500  # of a picture: dot takes minutes for thousands, and nobody finds anything in it
AGAIN = "run make dag, which writes it"
RUNS, KEPT = "#E69F00", "#EEEEEE"
DOT_HEAD = """\
digraph rerun {{
    graph[label="{title}", labelloc=t, bgcolor=white, ranksep=0.2, nodesep=0.15, fontname="Helvetica,Arial,sans-serif"];
    node[shape=box, fontsize=10, margin="0.12,0.04", fontname="Helvetica,Arial,sans-serif"];
    edge[color=grey40];"""
DOT_STYLE = {
    True: f'style="rounded,filled", fillcolor="{RUNS}", color="#000000", penwidth=2',
    False: f'style="rounded,filled,dashed", fillcolor="{KEPT}", color="#666666", fontcolor="#333333"',
}
MERMAID_STYLE = f"""\
    classDef runs fill:{RUNS},stroke:#000000,stroke-width:2px,color:#000000
    classDef kept fill:{KEPT},stroke:#666666,stroke-dasharray:5 5,color:#333333"""


@dataclass(frozen=True)
class RuleGraph:
    """How many jobs each rule has and how many of them would run, and which rule needs which."""

    jobs: Mapping[str, int]
    runs: Mapping[str, int]
    needs: Mapping[str, frozenset[str]]

    def said(self, rule: str) -> str:
        """What becomes of a rule's jobs, in words, so that colour alone tells nothing."""
        jobs, runs = self.jobs[rule], self.runs.get(rule, 0)
        if not runs:
            return "stays as it is"
        return "runs" if jobs == 1 else f"{runs:,} of {jobs:,} jobs run"

    @property
    def title(self) -> str:
        """How many run in all."""
        runs, jobs = sum(self.runs.values()), sum(self.jobs.values())
        return f"{runs:,} of {jobs:,} jobs would run, those in orange with a solid line"


def rule_graph(dag: str) -> RuleGraph:
    """From what `snakemake --dag` writes for dot; ValueError if that is none."""
    nodes = {number: (label.partition(r"\n")[0], style) for number, label, style in NODE.findall(dag)}
    if not nodes:
        raise ValueError("no jobs")
    needs = defaultdict[str, set[str]](set)
    for needed, job in EDGE.findall(dag):
        needs[nodes[job][0]].add(nodes[needed][0])
    return RuleGraph(
        jobs=Counter(rule for rule, _ in nodes.values()),
        runs=Counter(rule for rule, style in nodes.values() if "dashed" not in style),
        needs={rule: frozenset(_direct(needs, rule)) for rule, _ in nodes.values()},
    )


def _direct(needs: Mapping[str, set[str]], rule: str) -> set[str]:
    """What a rule needs, without what it needs by way of another: fewer arrows that say the same."""
    needed = needs.get(rule, set()) - {rule}
    return needed - {each for other in needed for each in _all_before(needs, other)}


def _all_before(needs: Mapping[str, set[str]], rule: str) -> set[str]:
    found, waiting = set[str](), [rule]
    while waiting:
        new = needs.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found - {rule}


def as_dot(graph: RuleGraph) -> str:
    """For graphviz."""
    head = DOT_HEAD.format(title=graph.title)
    nodes = [
        f'    {rule}[label="{rule}\\n{graph.said(rule)}", {DOT_STYLE[rule in graph.runs]}];' for rule in graph.jobs
    ]
    return "\n".join([head, *nodes, *(f"    {needed} -> {rule};" for needed, rule in _edges(graph)), "}", ""])


def as_mermaid(graph: RuleGraph) -> str:
    """For pages that draw Mermaid, such as README files."""
    ids = {rule: f"id{number}" for number, rule in enumerate(graph.jobs)}
    nodes = [
        f'    {ids[rule]}["{rule}<br>{graph.said(rule)}"]:::{"runs" if rule in graph.runs else "kept"}'
        for rule in graph.jobs
    ]
    edges = [f"    {ids[needed]} --> {ids[rule]}" for needed, rule in _edges(graph)]
    return "\n".join([f"---\ntitle: {graph.title}\n---\nflowchart TB", *nodes, *edges, MERMAID_STYLE, ""])


def _edges(graph: RuleGraph) -> Iterable[tuple[str, str]]:
    return ((needed, rule) for rule in graph.jobs for needed in sorted(graph.needs[rule]))


# --- Files ------------------------------------------------------------------------------------------------------------


def draw(folder: Path) -> list[str]:
    """Write rerun.dot and rerun.mmd beside the jobs.dot of the folder, and the SVG of each .dot; what to say of it.

    InputError where jobs.dot is missing or none.
    """
    graph = _read(folder / "jobs.dot")
    _write(folder / "rerun.dot", as_dot(graph))
    _write(folder / "rerun.mmd", as_mermaid(graph))
    said = [graph.title]
    for source in (folder / f"{name}.dot" for name in NAMES if (folder / f"{name}.dot").exists()):
        said += _svg(source, sum(graph.jobs.values()) if source.stem == "jobs" else len(graph.jobs))
    return said


def _read(path: Path) -> RuleGraph:
    try:
        return rule_graph(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(path, "", "there is no such file", AGAIN) from error
    except (ValueError, KeyError) as error:
        raise InputError(path, "", "is not what snakemake --dag writes", AGAIN) from error


def _svg(source: Path, nodes: int) -> list[str]:
    """Draw it; in words why not."""
    path = source.with_suffix(".svg")
    path.unlink(missing_ok=True)  # an older one would show another workflow
    dot = shutil.which("dot")
    if dot is None:
        return [f"{path} is not drawn: there is no program dot; install graphviz. {source.stem}.mmd says the same."]
    if nodes > MOST_JOBS:
        return [f"{path} is not drawn: {nodes:,} jobs are more than {MOST_JOBS}; rerun.svg has them by rule."]
    with atomic_path(path) as unfinished:
        subprocess.run([dot, "-Tsvg", f"-o{unfinished}", str(source)], check=True)
    return [str(path)]


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the graphs of a folder; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.workflow_graphs", description="Draw what snakemake --dag wrote into a folder's jobs.dot."
    )
    parser.add_argument("folder", type=Path)
    try:
        print("\n".join(draw(parser.parse_args(arguments).folder)))
    except ICSDError as error:
        print(f"tools.workflow_graphs: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
