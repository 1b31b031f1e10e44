"""Alignment: how well pictures show their texts, what is dropped for it, and what lies next to the line."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from icsd.config import AlignmentConfig
from icsd.config.arms import ARMS
from icsd.core import files
from icsd.core.contact_sheet import contact_sheet
from icsd.core.id_columns import candidate_numbers
from icsd.views.measures import funnel_steps
from icsd.views.report.scored_pairs import ScoredItems, scored_pairs, scored_sentences
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


def draw_alignment(run: Run, settings: AlignmentConfig, plot: Path, page: Path, sheet: Path) -> None:
    """Write the histograms of the scores, the page of what they drop, and the pictures of items next to the line."""
    arms = [arm for arm in run.arms if not ARMS[arm].photographs]
    scored = [scored_pairs(run, arm, settings) for arm in arms]
    if settings.min_sentence_score is not None:
        scored += [scored_sentences(run, arm, settings.min_sentence_score) for arm in arms]
    found = [items for items in scored if len(items.items)]
    texts = [_texts(run, items) for items in found]
    shown = [_selection(run, arms), *_candidates(run, arms), *map(_near_table, found, texts)]
    missing = [run.alignment(arm) for arm in run.drawn if run.alignment(arm).missing]
    note = "; ".join(f"missing: {len(each.missing):,} of {len(each.paths):,} files of {each.title}" for each in missing)
    save_page(page, TITLE, [_about(settings), note if found else NOTICE], shown)
    _draw_near(run, found, texts, sheet)
    if not found:
        save_notice(plot, TITLE, NOTICE)
        return
    figure = _figure(found)
    entitle(figure, TITLE, note)
    save_figure(plot, figure, TITLE, "; ".join(map(_panel_title, found)))


def _about(settings: AlignmentConfig) -> str:
    return f"{SCORES[settings.score].format(model=settings.model)} The higher it is, the better the picture shows it."


# --- The plot ---------------------------------------------------------------------------------------------------------


def _panel_title(found: ScoredItems) -> str:
    count = f"{len(found.items):,}"
    items = f"{count} pairs" if found.unit == "pairs" else f"sentences of {count} pictures"
    state = found.state or f"{found.dropped.sum():,} dropped"
    return f"{found.arm}: {items}, {state}, median {np.median(found.scores):.3f}"


def _figure(panels: Sequence[ScoredItems]) -> Figure:
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


def _draw_panel(axes: Axes, panel: ScoredItems, edges: NDArray[np.float64]) -> None:
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
    axes.set_title(_panel_title(panel))
    axes.set_ylabel("pairs" if panel.unit == "pairs" else "pictures")
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
        drawn = Counter(candidate_numbers(images).tolist())
        ledger = run.ledger(arm).rows(["stage", "item_id", "kept"])
        chosen = ledger.filter(pc.and_(pc.equal(ledger["stage"], "candidates"), ledger["kept"]))
        used = Counter(candidate_numbers(chosen["item_id"]).tolist())
        known = bool(len(chosen))
        rows += [
            [arm, str(number), f"{drawn[number]:,}", f"{used[number]:,}" if known else "–"]
            for number in range(run.candidates)
        ]
    yield HtmlTable(
        "Candidates: candidate 1 of multi-12 is multi-12_1", ["arm", "candidate", "drawn", "used"], rows, left=1
    )


def _near_table(found: ScoredItems, texts: Mapping[str, str]) -> HtmlTable:
    rows = [
        [found.image_id(each), texts.get(found.item(each), ""), found.reasons[each].as_py() or side,
         f"{found.scores[each]:.3f}"]
        for side, places in found.beside_the_line.items()
        for each in places
    ]  # fmt: skip
    text = "caption" if found.unit == "pairs" else "sentence"
    return HtmlTable(f"{found.arm}: {found.unit} next to the line", ["picture", text, "it is", "score"], rows, left=3)


def _texts(run: Run, found: ScoredItems) -> dict[str, str]:
    """The captions or sentences of the items next to the line, by item."""
    if found.unit == "sentences":
        rows = _images(run, found.arm, {found.image_id(each) for each in found.near}, "sentence")
        return dict(zip(rows["image_id"].to_pylist(), rows["sentence"].to_pylist(), strict=True))
    wanted = {found.item(each): found.caption_id(each) for each in found.near}
    captions = run.caption_texts(wanted.values())
    return {item: captions[caption_id] for item, caption_id in wanted.items() if caption_id in captions}


# --- Pictures ---------------------------------------------------------------------------------------------------------


def _draw_near(run: Run, found: Sequence[ScoredItems], texts: Sequence[Mapping[str, str]], sheet: Path) -> None:
    """Write the pictures next to each line, each above its score and its caption or sentence."""
    parts = [part for pair in zip(found, texts, strict=True) for part in _near_parts(run, *pair)] or [_heading(NOTICE)]
    whole = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    with files.atomic_path(sheet) as unfinished:
        whole.save(unfinished, format="PNG")


def _near_parts(run: Run, found: ScoredItems, texts: Mapping[str, str]) -> Iterator[Image.Image]:
    rows = _images(run, found.arm, {found.image_id(each) for each in found.near}, "image")
    pictures = {row["image_id"]: row["image"]["bytes"] for row in rows.to_pylist() if row["image"]}
    for side, places in found.beside_the_line.items():
        there = [each for each in places if found.image_id(each) in pictures]
        captions = [plain(f"{found.scores[each]:.3f}: {texts.get(found.item(each), '')}") for each in there]
        yield _heading(f"{found.arm}, {found.unit}: {side}")
        yield contact_sheet([pictures[found.image_id(each)] for each in there], captions)


def _images(run: Run, arm: str, image_ids: set[str], column: str) -> pa.Table:
    """A column of the pictures with these ids; only the tables that have them are read."""
    name = ARMS[arm].drawn_by.name
    paths = sorted({run.image_file(name, image_id) for image_id in image_ids})
    return replace(run.images(name), paths=tuple(paths)).select(image_ids, ["image_id", column])


def _heading(text: str) -> Image.Image:
    font = ImageFont.load_default(size=FONT_SIZE)
    part = Image.new("RGB", (int(font.getlength(text)) + 16, HEADING), "white")
    ImageDraw.Draw(part).text((8, HEADING - FONT_SIZE - 3), text, fill="black", font=font)
    return part
