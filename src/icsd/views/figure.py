"""Figure: one group's captions, their sentence, and the pictures drawn from each, side by side."""

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from icsd.core import tables
from icsd.core.contact_sheet import fitted, wrapped
from icsd.core.errors import InputError
from icsd.core.files import atomic_path
from icsd.core.pictures import read_picture
from icsd.views.options import Commands, add_results
from icsd.views.run import Run, found_run

CAPTIONS = 5  # of a group at most
SINGLE_ARMS = ("single_matched", "single")  # the first draws every selected caption, the second some
CELL, LARGE = 224, 320  # pixels, the side of a caption's picture and of the sentence's
GAP, MARGIN, ARROW = 16, 24, 96
FONT_SIZE, LINE, LINES = 22, 30, 6
TITLES = ("Captions, each drawn alone", "Their sentence, drawn once")
INK, FAINT = "#1f2328", "#59636e"


def add_figure(commands: Commands) -> None:
    """Add `icsd figure`."""
    command = commands.add_parser(
        "figure",
        help="draw a group's captions, sentence and pictures as one figure",
        description="Draw a figure that shows the method on one group: its first captions with the pictures drawn from "
        "each alone, by the arm single_matched or single, beside the one picture drawn from their sentence. The "
        "command prints an alternative text for the figure.",
    )
    command.add_argument(
        "--group",
        type=int,
        required=True,
        metavar="ID",
        help="the group's id: the number in an image's id, 12 of multi-12",
    )
    command.add_argument(
        "--output", type=Path, default=Path("figure.png"), metavar="FILE", help="PNG file (default: %(default)s)"
    )
    add_results(command)
    command.set_defaults(run=_command)


def _command(options: argparse.Namespace) -> str:
    figure = read_figure(options.results, options.group)
    with atomic_path(options.output) as unfinished:
        draw_figure(figure).save(unfinished, format="PNG")
    return alternative_text(figure)


@dataclass(frozen=True)
class GroupFigure:
    """A group's captions, the pictures drawn from each alone (None: not drawn), its sentence and its picture."""

    captions: Sequence[str]
    pictures: Sequence[bytes | None]
    sentence: str
    picture: bytes


def read_figure(results: Path, group_id: int) -> GroupFigure:
    """The content of a group's figure; InputError for a group without a sentence or without its picture."""
    run = found_run(results)
    summary = _summary(run, group_id)
    pictures = _pictures(run, ["multi"], [summary["summary"]])
    if summary["summary"] not in pictures:
        hint = f"take one of those that `icsd trace --results {results}` lists under multi"
        raise InputError(results, f"group {group_id}", "its sentence has not been drawn", hint)
    captions = _captions(run, summary["selected"])
    single = _pictures(run, SINGLE_ARMS, captions)
    drawn = [single.get(caption) for caption in captions]
    return GroupFigure(captions, drawn, summary["summary"], pictures[summary["summary"]])


def _summary(run: Run, group_id: int) -> Mapping[str, Any]:
    found = run.summaries.find(group_id)
    if found is None or found[1]["summary"] is None:
        hint = "a group's id is the number in an image's id: 12 of multi-12"
        raise InputError(run.folder, f"group {group_id}", "there is no summary of it", hint)
    return found[1]


def _captions(run: Run, wanted: Sequence[int]) -> list[str]:
    """The first different texts, in the order of `wanted`."""
    texts = run.caption_texts(wanted)
    return list(dict.fromkeys(texts[caption_id] for caption_id in wanted))[:CAPTIONS]


def _pictures(run: Run, arms: Iterable[str], sentences: Sequence[str]) -> dict[str, bytes]:
    """Sentence -> picture file, of the first arm that has it; of several candidates the used one, or else the first."""
    found: dict[str, bytes] = {}
    for arm in arms:
        unused = run.unused_candidates(arm)
        for path in run.images(arm).there:
            rows = tables.read(path, tables.IMAGES, ["image_id", "sentence", "reason"]).to_pylist()
            drawn = ["" if row["image_id"] in unused or row["reason"] else row["sentence"] for row in rows]
            wanted = [row for row, sentence in enumerate(drawn) if sentence in sentences and sentence not in found]
            if wanted:
                images = tables.read(path, tables.IMAGES, ["image"])["image"].take(wanted).to_pylist()
                found = {drawn[row]: image["bytes"] for row, image in zip(wanted, images, strict=True)} | found
    return found


def alternative_text(figure: GroupFigure) -> str:
    """The figure in words, for people who cannot see it."""
    captions = "; ".join(f"“{caption}”" for caption in figure.captions)
    return (
        f"{len(figure.captions)} captions, each below the picture drawn from it alone: {captions}. "
        f"Beside them the one picture drawn from the sentence that has them all: “{figure.sentence}”"
    )


def draw_figure(figure: GroupFigure) -> Image.Image:
    """Draw the captions' pictures on the left, the sentence's on the right; equal input gives equal pixels."""
    cells = [_cell(CELL, *each) for each in zip(figure.pictures, figure.captions, strict=True)]
    left, right = _block(TITLES[0], cells), _block(TITLES[1], [_cell(LARGE, figure.picture, figure.sentence)])
    height = max(left.height, right.height) + 2 * MARGIN
    sheet = Image.new("RGB", (left.width + ARROW + right.width + 2 * MARGIN, height), "white")
    sheet.paste(left, (MARGIN, (height - left.height) // 2))
    sheet.paste(right, (sheet.width - MARGIN - right.width, (height - right.height) // 2))
    tail, head, middle = MARGIN + left.width + GAP, sheet.width - MARGIN - right.width - GAP, height // 2
    draw = ImageDraw.Draw(sheet)
    draw.line((tail, middle, head - GAP, middle), fill=FAINT, width=4)
    draw.polygon([(head, middle), (head - GAP, middle - GAP // 2), (head - GAP, middle + GAP // 2)], fill=FAINT)
    return sheet


def _block(title: str, cells: Sequence[Image.Image]) -> Image.Image:
    """A row of cells below its title."""
    font = ImageFont.load_default(size=FONT_SIZE)
    width = max(sum(cell.width + GAP for cell in cells) - GAP, math.ceil(font.getlength(title)))
    block = Image.new("RGB", (width, LINE + GAP + max(cell.height for cell in cells)), "white")
    ImageDraw.Draw(block).text((0, 0), title, fill=FAINT, font=font)
    for number, cell in enumerate(cells):
        block.paste(cell, (number * (cell.width + GAP), LINE + GAP))
    return block


def _cell(side: int, picture: bytes | None, text: str) -> Image.Image:
    """A picture above its text; without a picture, a frame with a note."""
    font = ImageFont.load_default(size=FONT_SIZE)
    lines = wrapped(text, font, side, LINES)
    cell = Image.new("RGB", (side, side + GAP // 2 + len(lines) * LINE), "white")
    draw = ImageDraw.Draw(cell)
    if picture is None:
        draw.rectangle((0, 0, side - 1, side - 1), outline=FAINT)
        draw.text((side // 2, side // 2), "not drawn", fill=FAINT, font=font, anchor="mm")
    else:
        shown = fitted(read_picture(picture), side)
        cell.paste(shown, ((side - shown.width) // 2, (side - shown.height) // 2))
    for number, line in enumerate(lines):
        draw.text((0, side + GAP // 2 + number * LINE), line, fill=INK, font=font)
    return cell
