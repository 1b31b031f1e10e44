"""Groups and their texts: sizes, words, similarities, and examples to read."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from icsd.core.id_columns import drawing_places
from icsd.core.ids import drawing_order
from icsd.views.report.style import (
    BLUE,
    ORANGE,
    SKY,
    WIDTH,
    HtmlTable,
    counts_on,
    entitle,
    save_figure,
    save_notice,
    save_page,
    whole_numbers_on,
)
from icsd.views.run import Run
from icsd.views.run_table import RunTable

Counts = NDArray[np.int64]  # how often each whole number is there, from 0
MOST = 200  # captions or words; more count as so many
BINS = 2000  # of similarities from -1 to 1: quantiles to a thousandth, and memory that does not grow with the corpus
SIZES, WORDS, SIMILARITY = "Sizes of groups", "Words of captions and summaries", "Similarity by rank in a group"
EXAMPLES = "Summaries and groups to read"
SHOWN = 20  # examples of each kind
COLUMNS = ["group_id", "summary", "selected", "status", "reason"]
NO_SUMMARIES = "There are no summaries yet: the jobs summarize_groups are still to come."
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Histogram:
    """A title, the unit that is counted, the items that have it, and the counts."""

    title: str
    unit: str
    items: str
    counts: Counts

    def __str__(self) -> str:
        if not self.counts.sum():
            return f"{self.title}: none yet"
        return (
            f"{self.title}: {self.counts.sum():,} {self.items}, mean {_mean(self.counts):.1f}, "
            f"median {_quantile(self.counts, 0.5)}, largest {np.flatnonzero(self.counts).max()}"
        )


def draw_sizes(run: Run, plot: Path) -> None:
    """Write the plot of the captions in a group, those selected for its summary, and the groups of a caption."""
    shown = [
        Histogram("Captions of a group", "captions", "groups", _count(run.groups, "caption_ids", pc.list_value_length)),
        Histogram("Captions selected of it", "captions", "groups", _count(run.summaries, "selected", _selected)),
        Histogram("Groups that a caption is in", "groups", "captions", _count(run.group_times, "group_times", _same)),
    ]
    _draw(plot, SIZES, shown, _missing(run.groups, run.summaries, run.group_times), _side_by_side)


def draw_words(run: Run, plot: Path) -> None:
    """Write the plot of the words in a caption and in a summary."""
    shown = [
        Histogram("Captions", "words", "captions", _count(run.captions, "caption", _words)),
        Histogram("Summaries", "words", "summaries", _count(run.summaries, "summary", _words)),
    ]
    _draw(plot, WORDS, shown, _missing(run.captions, run.summaries), _over_one_another)


def draw_similarity(run: Run, plot: Path) -> None:
    """Write the plot of the similarity to the anchor at each rank of a group."""
    counts = _by_rank(run.groups.read(["similarities"]))
    if not len(counts):
        save_notice(plot, SIMILARITY, "There are no groups yet: the job form_groups is still to come.")
        return
    low, median, high = (_quantiles(counts, share) for share in (0.05, 0.5, 0.95))
    ranks = np.arange(2, 2 + len(counts))
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(ranks, low, high, color=SKY, alpha=0.5, linewidth=0, label="90% of the groups")
    axes.plot(ranks, median, color=BLUE, marker="o", markersize=4, label="median")
    axes.set_xlabel("rank in the group (the anchor has rank 1)")
    axes.set_ylabel("cosine similarity to the anchor")
    axes.legend(loc="lower left")
    entitle(figure, SIMILARITY, _missing(run.groups))
    median_line = f"Median from {median[0]:.2f} at rank 2 to {median[-1]:.2f} at rank {ranks[-1]}"
    save_figure(plot, figure, SIMILARITY, f"{median_line}; 90% of the groups lie within a band.")


# --- Counting ---------------------------------------------------------------------------------------------------------


def _count(found: RunTable, column: str, lengths: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> Counts:
    """The counts of the lengths of a column's values, without nulls; one file is in memory at a time."""
    counts = np.zeros(MOST + 1, dtype=np.int64)
    for rows in found.read([column]):
        values = lengths(rows[column].drop_null()).to_numpy()
        counts += np.bincount(np.minimum(values, MOST).astype(np.int64), minlength=MOST + 1)
    return counts


def _words(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts)))


def _selected(selected: pa.ChunkedArray) -> pa.ChunkedArray:
    """The number of selected captions, without dropped groups, which have none."""
    lengths = pc.list_value_length(selected)
    return lengths.filter(pc.greater(lengths, 0))


def _same(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values


def _by_rank(shards: Iterator[pa.Table]) -> Counts:
    """The counts of similarities at each rank from the second on: [ranks, BINS]."""
    counts = np.zeros((0, BINS), dtype=np.int64)
    for rows in shards:
        lists = rows["similarities"].combine_chunks()
        lengths = pc.list_value_length(lists).to_numpy()
        ranks = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
        bins = np.clip((lists.flatten().to_numpy() + 1) / 2 * BINS, 0, BINS - 1).astype(np.int64)
        more = int(ranks.max(initial=-1)) + 1 - len(counts)
        counts = np.pad(counts, ((0, max(0, more)), (0, 0)))
        np.add.at(counts, (ranks, bins), 1)
    return counts[1:]


def _quantiles(counts: Counts, share: float) -> NDArray[np.float64]:
    """The quantile of the similarities at each rank."""
    reached = counts.cumsum(axis=1) >= share * counts.sum(axis=1, keepdims=True)
    return (reached.argmax(axis=1) + 0.5) / BINS * 2 - 1


def _mean(counts: Counts) -> float:
    return float((np.arange(len(counts)) * counts).sum() / counts.sum())


def _quantile(counts: Counts, share: float) -> int:
    return int((counts.cumsum() >= share * counts.sum()).argmax())


# --- Plots ------------------------------------------------------------------------------------------------------------


def _missing(*found: RunTable) -> str:
    parts = [f"{len(each.missing):,} of {len(each.paths):,} files of {each.title}" for each in found if each.missing]
    return f"missing: {', '.join(parts)}" if parts else ""


def _draw(
    plot: Path, title: str, shown: list[Histogram], missing: str, draw: Callable[[Figure, list[Histogram]], None]
) -> None:
    if not any(each.counts.sum() for each in shown):
        save_notice(plot, title, f"Nothing to count yet; {missing}.")
        return
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    draw(figure, [each for each in shown if each.counts.sum()])
    entitle(figure, title, missing)
    save_figure(plot, figure, title, "; ".join(map(str, shown)))


def _side_by_side(figure: Figure, shown: list[Histogram]) -> None:
    for axes, each in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        last = _last(each.counts)
        axes.bar(range(last + 1), each.counts[: last + 1], width=0.9, color=BLUE)
        axes.set_title(f"{each.title}\n{_summary(each.counts)}", fontsize=9)
        axes.set_xlabel(each.unit)
        axes.set_ylabel(f"number of {each.items}")
        axes.set_xlim(-0.6, last + 0.6)
        counts_on(axes.yaxis)
        whole_numbers_on(axes.xaxis)
        axes.grid(visible=False, axis="x")


def _over_one_another(figure: Figure, shown: list[Histogram]) -> None:
    axes: Axes = figure.subplots()
    last = max(_last(each.counts) for each in shown)
    for each, (color, line) in zip(shown, ((BLUE, "-"), (ORANGE, "--")), strict=False):
        shares = 100 * each.counts[: last + 1] / each.counts.sum()
        label = f"{each.counts.sum():,} {each.items}: {_summary(each.counts)}"
        edges = np.arange(last + 2) - 0.5
        axes.stairs(shares, edges, fill=True, color=color, alpha=0.25)
        axes.stairs(shares, edges, color=color, linestyle=line, linewidth=1.8, label=label)
    axes.set_xlabel("words")
    axes.set_ylabel("share (%)")
    axes.legend(loc="upper right")


def _last(counts: Counts) -> int:
    """The largest number with a count."""
    return int(np.flatnonzero(counts).max(initial=0))


def _summary(counts: Counts) -> str:
    return f"mean {_mean(counts):.1f}, median {_quantile(counts, 0.5)}"


# --- Examples ---------------------------------------------------------------------------------------------------------


def write_examples(run: Run, groups: Iterable[HtmlTable], page: Path) -> None:
    """Write the page with the first groups in the order in which pictures are drawn, and the first dropped ones.

    Tables of `groups` follow.
    """
    usable, dropped = _first(run, ("ok", "dropped"))
    texts = run.caption_texts(caption_id for row in usable for caption_id in row["selected"])
    about = [f"The first {SHOWN} of each kind, in the order in which pictures are drawn."]
    there = usable or dropped
    shown = [_usable(usable, texts), *([_dropped(dropped)] if dropped else [])] if there else []
    save_page(page, EXAMPLES, about if there else [NO_SUMMARIES], [*shown, *groups])


def _first(run: Run, statuses: Sequence[str]) -> list[list[Row]]:
    """The first groups of each status; one file is in memory at a time."""
    first: dict[str, list[Row]] = {status: [] for status in statuses}
    for rows in run.summaries.read(COLUMNS):
        for status, earlier in first.items():
            found = rows.filter(pc.equal(rows["status"], status))
            places = drawing_places(np.asarray(found["group_id"]))[:SHOWN]
            both = [*earlier, *found.take(pa.array(places)).to_pylist()]
            first[status] = sorted(both, key=lambda row: drawing_order(row["group_id"]))[:SHOWN]
    return list(first.values())


def _usable(rows: Sequence[Row], texts: Mapping[int, str]) -> HtmlTable:
    cells = [
        [
            str(row["group_id"]),
            row["summary"],
            "\n".join(texts.get(each, f"caption {each}") for each in row["selected"]),
        ]
        for row in rows
    ]
    return HtmlTable("Summaries and the captions selected for them", ["group", "summary", "captions"], cells, left=3)


def _dropped(rows: Sequence[Row]) -> HtmlTable:
    cells = [[str(row["group_id"]), row["reason"] or "no reason", row["summary"] or ""] for row in rows]
    return HtmlTable("Dropped groups and their reasons", ["group", "reason", "answer"], cells, left=3)
