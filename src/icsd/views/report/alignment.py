"""Alignment: how well pictures show their captions, what is dropped for it, and the pairs next to the line."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from icsd.config import AlignmentConfig
from icsd.config.arms import ARMS
from icsd.core import files
from icsd.core.contact_sheet import contact_sheet
from icsd.core.ids import candidate_number
from icsd.views.measures import funnel_steps
from icsd.views.report.scored_pairs import ScoredPairs, scored_pairs
from icsd.views.report.style import (
    BLACK,
    BLUE,
    ORANGE,
    WIDTH,
    HtmlTable,
    counts_on,
    entitle,
    plain,
    save_figure,
    save_notice,
    save_page,
)
from icsd.views.run import Run

TITLE = "How well pictures show their captions"
NOTICE = "No picture has a score yet: the jobs score_alignment are still to come."
# what the steps that follow from scores count
UNITS = {"candidates": "pictures", "alignment": "pictures", "pairs": "pairs", "rematch": "captions"}
BINS = 60
HEADING, FONT_SIZE = 28, 15  # pixels
SCORES = {
    "cosine": "A score is the cosine of the picture's and the caption's vectors by {model}.",
    "random": "A score is a random number, a control (alignment.score=random).",
    "probe": "A score is the share of the caption's objects that the picture book's detector sees.",
}


@dataclass(frozen=True)
class Panel:
    """A histogram: its title, what is counted, the scores [n], which of them are dropped [n], and the line."""

    title: str
    unit: str
    scores: NDArray[np.float64]
    dropped: NDArray[np.bool_]
    line: float | None


def draw_alignment(run: Run, settings: AlignmentConfig, plot: Path, page: Path, sheet: Path) -> None:
    """Write the histograms of the scores, the page of what they drop, and the pictures of pairs next to the line."""
    arms = [arm for arm in run.arms if not ARMS[arm].photographs]
    found = [pairs for arm in arms if len((pairs := scored_pairs(run, arm, settings)).items)]
    texts = _texts(run, found)
    shown = [_selection(run, arms), *_candidates(run, arms), *(_near_table(pairs, texts) for pairs in found)]
    missing = [run.alignment(arm) for arm in run.drawn if run.alignment(arm).missing]
    note = "; ".join(f"missing: {len(each.missing):,} of {len(each.paths):,} files of {each.title}" for each in missing)
    save_page(page, TITLE, [_about(settings), note if found else NOTICE], shown)
    _draw_near(run, found, texts, sheet)
    if not found:
        save_notice(plot, TITLE, NOTICE)
        return
    panels = [_pairs_panel(pairs) for pairs in found]
    if settings.min_sentence_score is not None:
        panels += [panel for arm in arms for panel in _sentences_panel(run, arm, settings.min_sentence_score)]
    figure = _figure(panels)
    entitle(figure, TITLE, note)
    save_figure(plot, figure, TITLE, "; ".join(panel.title for panel in panels))


def _about(settings: AlignmentConfig) -> str:
    return f"{SCORES[settings.score].format(model=settings.model)} The higher it is, the better the picture shows it."


# --- The plot ---------------------------------------------------------------------------------------------------------


def _pairs_panel(pairs: ScoredPairs) -> Panel:
    title = _titled(f"{pairs.arm}: {len(pairs.items):,} pairs", pairs.scores, pairs.dropped, pairs.state)
    return Panel(title, "pairs", pairs.scores, pairs.dropped, pairs.line)


def _sentences_panel(run: Run, arm: str, line: float) -> list[Panel]:
    """The scores of the sentences of the pictures that entered the step `alignment`; none before there is a ledger."""
    ledger = run.ledger(arm).rows(["stage", "item_id", "kept"])
    entered = ledger.filter(pc.equal(ledger["stage"], "alignment"))
    rows = run.alignment(ARMS[arm].drawn_by.name).rows()
    rows = rows.filter(pc.and_(rows["caption_id"].is_null(), pc.is_in(rows["image_id"], entered["item_id"])))
    if not len(rows):
        return []
    dropped = entered.filter(pc.invert(entered["kept"]))["item_id"]
    lost = pc.is_in(rows["image_id"], value_set=dropped).to_numpy()
    scores = rows["score"].to_numpy().astype(np.float64)
    title = _titled(f"{arm}: sentences of {len(scores):,} pictures", scores, lost)
    return [Panel(title, "pictures", scores, lost, line)]


def _titled(items: str, scores: NDArray[np.float64], dropped: NDArray[np.bool_], state: str = "") -> str:
    return f"{items}, {state or f'{dropped.sum():,} dropped'}, median {np.median(scores):.3f}"


def _figure(panels: Sequence[Panel]) -> Figure:
    """A histogram below the other for each panel, on one scale."""
    edges = np.histogram_bin_edges(np.concatenate([panel.scores for panel in panels]), BINS)
    figure = Figure(figsize=(WIDTH, 0.9 + 1.7 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for axes, panel in zip(grid, panels, strict=True):
        _draw_panel(axes, panel, edges)
    grid[-1].set_xlabel("score: how well the picture shows the text")
    handles = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles))
    return figure


def _draw_panel(axes: Axes, panel: Panel, edges: NDArray[np.float64]) -> None:
    kept, _ = np.histogram(panel.scores[~panel.dropped], edges)
    lost, _ = np.histogram(panel.scores[panel.dropped], edges)
    axes.stairs(kept, edges, fill=True, color=BLUE, label="kept")
    if lost.any():
        some = lost > 0
        axes.bar(
            edges[:-1][some], lost[some], np.diff(edges)[some], bottom=kept[some], align="edge", color=ORANGE,
            hatch="//", edgecolor=BLACK, linewidth=0.5, label="dropped",
        )  # fmt: skip
    if panel.line is not None:
        axes.axvline(panel.line, color=BLACK, linestyle="--", linewidth=1.2, label="line")
        axes.annotate(f" {panel.line:.3f}", (panel.line, 1), xycoords=("data", "axes fraction"), va="top", fontsize=8)
    axes.set_title(panel.title)
    axes.set_ylabel(panel.unit)
    axes.set_ylim(bottom=0)
    counts_on(axes.yaxis)


# --- The page ---------------------------------------------------------------------------------------------------------


def _selection(run: Run, arms: Sequence[str]) -> HtmlTable:
    """The number of pictures, pairs and captions that each key dropped."""
    rows = []
    for arm in arms:
        for step in funnel_steps(run.ledger(arm).rows(["stage", "kept", "reason"])):
            if unit := UNITS.get(step.name):
                reasons = step.dropped.most_common() or [("none", 0)]
                rows += [[arm, step.name, why, unit, f"{step.entered:,}", f"{count:,}"] for why, count in reasons]
    header = ["arm", "step", "reason", "items are", "taken in", "dropped"]
    return HtmlTable("Dropped for their scores", header, rows, left=4)


def _candidates(run: Run, arms: Sequence[str]) -> Iterator[HtmlTable]:
    """For each number of candidates, how many were drawn and how many are used."""
    if run.candidates == 1:
        return
    rows = []
    for arm in arms:
        images = run.images(ARMS[arm].drawn_by.name).rows(["image_id"])["image_id"]
        drawn = Counter(map(candidate_number, images.to_pylist()))
        ledger = run.ledger(arm).rows(["stage", "item_id", "kept"])
        chosen = ledger.filter(pc.and_(pc.equal(ledger["stage"], "candidates"), ledger["kept"]))
        used = Counter(map(candidate_number, chosen["item_id"].to_pylist()))
        known = bool(len(chosen))
        rows += [
            [arm, str(number), f"{drawn[number]:,}", f"{used[number]:,}" if known else "–"]
            for number in range(run.candidates)
        ]
    yield HtmlTable(
        "Candidates: candidate 1 of multi-12 is multi-12_1", ["arm", "candidate", "drawn", "used"], rows, left=1
    )


def _near_table(pairs: ScoredPairs, texts: Mapping[int, str]) -> HtmlTable:
    rows = [
        [pairs.image_id(each), texts.get(pairs.caption_id(each), ""), pairs.reasons[each] or side,
         f"{pairs.scores[each]:.3f}"]
        for side, found in pairs.beside_the_line.items()
        for each in found
    ]  # fmt: skip
    return HtmlTable(f"{pairs.arm}: pairs next to the line", ["picture", "caption", "it is", "score"], rows, left=3)


def _texts(run: Run, found: Sequence[ScoredPairs]) -> dict[int, str]:
    """The captions of the pairs next to the lines, by id."""
    wanted = {pairs.caption_id(each) for pairs in found for each in pairs.near}
    rows = run.captions.select(wanted, ["caption_id", "caption"])
    return dict(zip(rows["caption_id"].to_pylist(), rows["caption"].to_pylist(), strict=True))


# --- Pictures ---------------------------------------------------------------------------------------------------------


def _draw_near(run: Run, found: Sequence[ScoredPairs], texts: Mapping[int, str], sheet: Path) -> None:
    """Write the pictures next to each arm's line, each above its score and caption."""
    parts = [part for pairs in found for part in _near_parts(run, pairs, texts)] or [_heading(NOTICE)]
    whole = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    with files.atomic_path(sheet) as unfinished:
        whole.save(unfinished, format="PNG")


def _near_parts(run: Run, pairs: ScoredPairs, texts: Mapping[int, str]) -> Iterator[Image.Image]:
    pictures = _pictures(run, pairs.arm, {pairs.image_id(each) for each in pairs.near})
    for side, places in pairs.beside_the_line.items():
        there = [each for each in places if pairs.image_id(each) in pictures]
        captions = [plain(f"{pairs.scores[each]:.3f}: {texts.get(pairs.caption_id(each), '')}") for each in there]
        yield _heading(f"{pairs.arm}: {side}")
        yield contact_sheet([pictures[pairs.image_id(each)] for each in there], captions)


def _pictures(run: Run, arm: str, image_ids: set[str]) -> dict[str, bytes]:
    """The picture files with these ids; only the tables that have them are read."""
    name = ARMS[arm].drawn_by.name
    paths = sorted({run.image_file(name, image_id) for image_id in image_ids})
    rows = replace(run.images(name), paths=tuple(paths)).select(image_ids, ["image_id", "image"])
    return {row["image_id"]: row["image"]["bytes"] for row in rows.to_pylist()}


def _heading(text: str) -> Image.Image:
    font = ImageFont.load_default(size=FONT_SIZE)
    part = Image.new("RGB", (int(font.getlength(text)) + 16, HEADING), "white")
    ImageDraw.Draw(part).text((8, HEADING - FONT_SIZE - 3), text, fill="black", font=font)
    return part
