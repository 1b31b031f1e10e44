"""The funnel from captions to training pairs: items kept and dropped at each step, with reasons."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icsd.config.arms import ARMS
from icsd.stages.groups.selection import SAME
from icsd.views.measures import FunnelStep, funnel_steps
from icsd.views.report.style import (
    BLUE,
    PARTS,
    WIDTH,
    HtmlTable,
    entitle,
    names_on_y,
    plain,
    save_figure,
    save_notice,
    save_page,
)
from icsd.views.run import Run

TITLE = "From captions to training pairs"
SHOWN = 3  # reasons of a step in the plot; the table has more
LISTED = 40
LABEL = 44  # characters of a reason in the plot
NOTICE = "No arm has its pairs yet: the jobs build_dataset are still to come."
ABOUT = "Each step takes in what the step before it kept: taken in = kept + dropped. Every drop has a reason."
ABOUT_PAIRS = (
    "The step images takes in further candidates of a sentence too, and candidates keeps one of each. The steps before "
    "pairs count pictures; pairs counts the pairs of the pictures that are left, and rematch the captions that are in "
    "no pair then. The pairs at the end are those that pairs kept, and one for each caption that rematch kept."
)
EXAMPLES = 5  # captions of each reason of the guard
GUARD = "The guard: captions that repeat another one, or a reference"
UNITS = {
    "captions": "records with a caption",
    "references": "captions that are no reference", "duplicates": "captions that repeat none",
    "groups": "captions as anchors of groups", "summaries": "groups with a summary", "images": "chosen to be drawn",
    "safety": "pictures that may be used", "balance": "as many as multi has", "pictures": "photographs",
    "candidates": "pictures, one a sentence", "alignment": "pictures that fit the text",
    "pairs": "pairs of picture and caption", "rematch": "captions with a new picture",
}  # fmt: skip

OF_ALIGNMENT = ("candidates", "alignment", "pairs", "rematch")
COUNTED = {"pairs": " pairs", "rematch": " captions"}  # steps that count neither pictures nor what they are drawn from


@dataclass(frozen=True)
class Funnel:
    """An arm's steps, and the pairs at their end."""

    arm: str
    steps: Sequence[FunnelStep]
    pairs: int


def draw_funnel(run: Run, plot: Path, page: Path) -> None:
    """Write the plot and the page of the arms whose ledgers are there."""
    funnels = [funnel for arm in run.arms for funnel in _funnels(run, arm)]
    missing = [arm for arm in run.arms if run.ledger(arm).missing]
    note = f"missing: {', '.join(missing)}" if missing else ""
    about_pairs = ABOUT_PAIRS if any(step.name in OF_ALIGNMENT for each in funnels for step in each.steps) else ""
    save_page(page, TITLE, [ABOUT, about_pairs, note], [*(_table(funnel) for funnel in funnels), *_guard_tables(run)])
    if not funnels:
        save_notice(plot, TITLE, NOTICE)
        return
    figure = _figure(funnels)
    entitle(figure, TITLE, note)
    save_figure(plot, figure, TITLE, "; ".join(_described(funnel) for funnel in funnels))


def _funnels(run: Run, arm: str) -> list[Funnel]:
    """The funnel of an arm; none if its ledger is not there."""
    rows = run.ledger(arm).rows(["stage", "kept", "reason"])
    if not len(rows):
        return []
    guard = [] if ARMS[arm].photographs else funnel_steps(run.guard.rows(["stage", "kept", "reason"]))
    captions = guard[-1].kept if guard else run.captions.count()
    records = [] if ARMS[arm].photographs else _caption_step(run)
    steps = [*records, *guard, *_group_step(run, arm, captions), *funnel_steps(rows)]
    return [Funnel(arm, steps, run.pairs(arm).count())]


def _caption_step(run: Run) -> list[FunnelStep]:
    """The step that drops records of the corpus, where it dropped any; their ledger has the dropped ones alone."""
    steps = funnel_steps(run.dropped_captions.rows(["stage", "kept", "reason"]))
    return [FunnelStep(step.name, run.captions.count() + step.entered, step.dropped) for step in steps]


def _group_step(run: Run, arm: str, captions: int) -> list[FunnelStep]:
    """The step that drops groups: by their ledger, or, without one, by their number, since only kept ones have a row.

    A ledger of other groups counts as none: it is of a run that the config has changed since.
    """
    groups = run.groups.count()
    if ARMS[arm].drawn_by.sentences != "summaries" or not captions or run.groups.missing:
        return []
    step = FunnelStep("groups", captions, Counter({SAME: captions - groups} if captions > groups else {}))
    found = funnel_steps(run.group_ledger.rows(["stage", "kept", "reason"]))
    return found if [(each.entered, each.kept) for each in found] == [(captions, groups)] else [step]


def _described(funnel: Funnel) -> str:
    steps = ", ".join(f"{step.name} {_kept(step)}" for step in funnel.steps)
    return f"{funnel.arm}: {steps}, {funnel.pairs:,} pairs"


def _kept(step: FunnelStep) -> str:
    return f"{step.kept:,} of {step.entered:,}{COUNTED.get(step.name, '')}"


def _table(funnel: Funnel) -> HtmlTable:
    rows = [line for step in funnel.steps for line in _lines(step)]
    caption = f"{funnel.arm}: {funnel.pairs:,} pairs of a picture and a caption"
    return HtmlTable(caption, ["step", "reason", "taken in", "dropped", "kept"], rows, left=2)


def _lines(step: FunnelStep) -> list[list[str]]:
    total = [_unit(step), "", f"{step.entered:,}", f"{step.dropped.total():,}", f"{step.kept:,}"]
    rest = step.dropped.total() - sum(count for _, count in step.dropped.most_common(LISTED))
    reasons = [*step.dropped.most_common(LISTED), *([("other reasons", rest)] if rest else [])]
    return [total, *(["", reason, "", f"{count:,}", ""] for reason, count in reasons)]


def _unit(step: FunnelStep) -> str:
    return f"{step.name}: {UNITS[step.name]}" if step.name in UNITS else step.name


# --- The guard --------------------------------------------------------------------------------------------------------


def _guard_tables(run: Run) -> list[HtmlTable]:
    """Count the captions that the guard reported or dropped, by reason, and show the first of each."""
    rows = run.guard.rows()
    if not len(rows):
        return []
    found = rows.filter(pc.is_valid(rows["reason"]))
    found = found.append_column("kind", pc.replace_substring_regex(found["reason"], "(?s):.*", ""))
    counted = found.group_by(["stage", "kind", "kept"], use_threads=False).aggregate([([], "count_all")]).to_pylist()
    cells = [
        [row["stage"], row["kind"], "reported" if row["kept"] else "dropped", f"{row['count_all']:,}"]
        for row in counted
    ]
    idle = set(pc.unique(rows["stage"]).to_pylist()) - {row["stage"] for row in counted}
    nothing = [[stage, "none", "", "0"] for stage in sorted(idle)]
    counts = HtmlTable(GUARD, ["step", "found", "they are", "captions"], [*cells, *nothing], left=3)
    return [counts, *_guard_examples(run, found)]


def _guard_examples(run: Run, found: pa.Table) -> list[HtmlTable]:
    kinds = pc.unique(found["kind"]).to_pylist()
    first = [row for kind in kinds for row in found.filter(pc.equal(found["kind"], kind))[:EXAMPLES].to_pylist()]
    captions = run.captions.select([int(row["item_id"]) for row in first], ["caption_id", "caption"])
    texts = dict(zip(captions["caption_id"].to_pylist(), captions["caption"].to_pylist(), strict=True))
    cells = [[row["item_id"], texts.get(int(row["item_id"]), ""), row["reason"]] for row in first]
    return [HtmlTable("The first of them", ["caption", "text", "it is"], cells, left=3)] if cells else []


# --- The plot ---------------------------------------------------------------------------------------------------------


def _figure(funnels: Sequence[Funnel]) -> Figure:
    """A panel for each arm with a bar for each step: kept and dropped items in percent of those taken in."""
    heights = [len(funnel.steps) + 0.3 for funnel in funnels]
    figure = Figure(figsize=(WIDTH, 0.8 + 0.62 * sum(heights) + 0.4 * len(funnels)), layout="constrained")
    grid = figure.subplots(len(funnels), 1, squeeze=False, height_ratios=heights, sharex=True)[:, 0]
    for axes, funnel in zip(grid, funnels, strict=True):
        _panel(axes, funnel)
    grid[-1].set_xlabel("share of what the step took in (%): kept, then what was dropped, in the order named below")
    return figure


def _panel(axes: Axes, funnel: Funnel) -> None:
    for number, step in enumerate(funnel.steps):
        _bar(axes, number, step)
    axes.set_yticks(range(len(funnel.steps)), [_unit(step) for step in funnel.steps])
    axes.set_ylim(len(funnel.steps) - 0.35, -0.65)
    axes.set_xlim(0, 100)
    axes.set_title(f"{funnel.arm}: {funnel.pairs:,} pairs")
    names_on_y(axes)


def _bar(axes: Axes, number: int, step: FunnelStep) -> None:
    share = 100 / max(1, step.entered)
    axes.barh(number, step.kept * share, height=0.42, color=BLUE)
    left, texts = step.kept * share, [f"kept {_kept(step)}"]
    shown = step.dropped.most_common(SHOWN)
    rest = step.dropped.total() - sum(count for _, count in shown)
    parts = [*shown, *([("other reasons", rest)] if rest else [])]
    for (reason, count), (color, hatch) in zip(parts, PARTS, strict=False):
        axes.barh(number, count * share, left=left, height=0.42, color=color, hatch=hatch, edgecolor="black", lw=0.5)
        left += count * share
        texts.append(f"{count:,} {plain(reason, LABEL)}")
    axes.text(0, number + 0.24, "; ".join(texts), va="top", fontsize=8)
