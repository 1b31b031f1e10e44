"""Draw the workflow by rule: how many jobs of each rule would run, from the output of `snakemake --dag`.

Snakemake itself draws a node for each job, which is unreadable for a thousand shards.
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
MAX_JOBS = 500  # in one picture: dot takes minutes for thousands, and nobody can read it
HINT = "run make dag, which writes it"
RUNS, UNCHANGED = "#E69F00", "#EEEEEE"
DOT_HEADER = """\
digraph rerun {{
    graph[label="{title}", labelloc=t, bgcolor=white, ranksep=0.2, nodesep=0.15, fontname="Helvetica,Arial,sans-serif"];
    node[shape=box, fontsize=10, margin="0.12,0.04", fontname="Helvetica,Arial,sans-serif"];
    edge[color=grey40];"""
DOT_STYLE = {
    True: f'style="rounded,filled", fillcolor="{RUNS}", color="#000000", penwidth=2',
    False: f'style="rounded,filled,dashed", fillcolor="{UNCHANGED}", color="#666666", fontcolor="#333333"',
}
MERMAID_STYLE = f"""\
    classDef runs fill:{RUNS},stroke:#000000,stroke-width:2px,color:#000000
    classDef unchanged fill:{UNCHANGED},stroke:#666666,stroke-dasharray:5 5,color:#333333"""


@dataclass(frozen=True)
class RuleGraph:
    """The number of jobs of each rule, how many of them would run, and the rules that each rule needs."""

    jobs: Mapping[str, int]
    runs: Mapping[str, int]
    needs: Mapping[str, frozenset[str]]

    def status(self, rule: str) -> str:
        """Say in words how many of a rule's jobs would run, for readers who do not see the colour."""
        jobs, runs = self.jobs[rule], self.runs.get(rule, 0)
        if not runs:
            return "stays as it is"
        return "runs" if jobs == 1 else f"{runs:,} of {jobs:,} jobs run"

    @property
    def title(self) -> str:
        """Return the number of jobs that would run."""
        runs, jobs = sum(self.runs.values()), sum(self.jobs.values())
        return f"{runs:,} of {jobs:,} jobs would run, those in orange with a solid line"


def rule_graph(dag: str) -> RuleGraph:
    """Parse the output of `snakemake --dag dot`; ValueError for any other text."""
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
    """Return the rules that a rule needs directly and not also through another rule."""
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
    """Return the graph for Graphviz."""
    header = DOT_HEADER.format(title=graph.title)
    nodes = [
        f'    {rule}[label="{rule}\\n{graph.status(rule)}", {DOT_STYLE[rule in graph.runs]}];' for rule in graph.jobs
    ]
    return "\n".join([header, *nodes, *(f"    {needed} -> {rule};" for needed, rule in _edges(graph)), "}", ""])


def as_mermaid(graph: RuleGraph) -> str:
    """Return the graph for Mermaid, which README files can show."""
    ids = {rule: f"id{number}" for number, rule in enumerate(graph.jobs)}
    nodes = [
        f'    {ids[rule]}["{rule}<br>{graph.status(rule)}"]:::{"runs" if rule in graph.runs else "unchanged"}'
        for rule in graph.jobs
    ]
    edges = [f"    {ids[needed]} --> {ids[rule]}" for needed, rule in _edges(graph)]
    return "\n".join([f"---\ntitle: {graph.title}\n---\nflowchart TB", *nodes, *edges, MERMAID_STYLE, ""])


def _edges(graph: RuleGraph) -> Iterable[tuple[str, str]]:
    return ((needed, rule) for rule in graph.jobs for needed in sorted(graph.needs[rule]))


# --- Files ------------------------------------------------------------------------------------------------------------


def draw(folder: Path) -> list[str]:
    """Write rerun.dot, rerun.mmd and an SVG of each .dot file beside the folder's jobs.dot; return lines to print.

    InputError if jobs.dot is missing or is not Snakemake's.
    """
    graph = _read(folder / "jobs.dot")
    _write(folder / "rerun.dot", as_dot(graph))
    _write(folder / "rerun.mmd", as_mermaid(graph))
    lines = [graph.title]
    for source in (folder / f"{name}.dot" for name in NAMES if (folder / f"{name}.dot").exists()):
        lines += _svg(source, sum(graph.jobs.values()) if source.stem == "jobs" else len(graph.jobs))
    return lines


def _read(path: Path) -> RuleGraph:
    try:
        return rule_graph(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(path, "", "there is no such file", HINT) from error
    except (ValueError, KeyError) as error:
        raise InputError(path, "", "is not what snakemake --dag writes", HINT) from error


def _svg(source: Path, nodes: int) -> list[str]:
    """Draw a .dot file; return its path, or the reason why it is not drawn."""
    path = source.with_suffix(".svg")
    path.unlink(missing_ok=True)  # an old picture would show another workflow
    dot = shutil.which("dot")
    if dot is None:
        return [
            f"{path} is not drawn: there is no program dot; install graphviz. {source.stem}.mmd has the same graph."
        ]
    if nodes > MAX_JOBS:
        return [f"{path} is not drawn: {nodes:,} jobs are more than {MAX_JOBS}; rerun.svg has them by rule."]
    with atomic_path(path) as unfinished:
        subprocess.run([dot, "-Tsvg", f"-o{unfinished}", str(source)], check=True)
    return [str(path)]


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the graphs of a folder and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.workflow_graphs",
        description="Draw the workflow by rule from jobs.dot, the output of snakemake --dag dot.",
    )
    parser.add_argument("folder", type=Path, help="the folder with jobs.dot; the drawings are written there too")
    try:
        print("\n".join(draw(parser.parse_args(arguments).folder)))
    except ICSDError as error:
        print(f"tools.workflow_graphs: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
