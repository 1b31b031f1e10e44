"""A strip that shows the method on one group: its captions, their sentence, and what is drawn of them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from icsd.core import tables
from icsd.core.contact_sheet import fitted, wrapped
from icsd.core.errors import InputError
from icsd.core.pictures import read_picture

CAPTIONS = 5  # of a group at most
SINGLE_ARMS = ("single_matched", "single")  # the first draws every selected caption, the second some
CELL, LARGE = 224, 320  # pixels, the side of a caption's picture and of the sentence's
GAP, MARGIN, ARROW = 16, 24, 96
FONT_SIZE, LINE, LINES = 22, 30, 6
TITLES = ("Captions, each drawn alone", "Their sentence, drawn once")
INK, FAINT = "#1f2328", "#59636e"


@dataclass(frozen=True)
class Strip:
    """A group's captions with the pictures drawn from each alone, as far as there are; the sentence with its own."""

    captions: Sequence[str]
    pictures: Sequence[bytes | None]
    sentence: str
    picture: bytes


def read_strip(results: Path, group_id: int) -> Strip:
    """The strip of a group of a run; InputError where it has no sentence, or no picture of it."""
    summary = _summary(results, group_id)
    pictures = _pictures(results, ["multi"], [summary["summary"]])
    if summary["summary"] not in pictures:
        hint = f"take one of those that `icsd trace --results {results}` lists under multi"
        raise InputError(results, f"group {group_id}", "its sentence has not been drawn", hint)
    captions = _captions(results, summary["selected"])
    single = _pictures(results, SINGLE_ARMS, captions)
    drawn = [single.get(caption) for caption in captions]
    return Strip(captions, drawn, summary["summary"], pictures[summary["summary"]])


def _summary(results: Path, group_id: int) -> dict[str, Any]:
    for path in sorted((results / "summaries").glob("*.parquet")):
        for row in tables.read(path, tables.SUMMARIES).to_pylist():
            if row["group_id"] == group_id and row["summary"] is not None:
                return dict(row)
    hint = "a group's id is the number in an image's id: 12 of multi-12"
    raise InputError(results, f"group {group_id}", "there is no summary of it", hint)


def _captions(results: Path, wanted: Sequence[int]) -> list[str]:
    """The first different texts, in the order of `wanted`."""
    rows = tables.read(results / "captions/all.parquet", tables.CAPTIONS, ["caption_id", "caption"])
    texts = dict(zip(rows["caption_id"].to_pylist(), rows["caption"].to_pylist(), strict=True))
    return list(dict.fromkeys(texts[caption_id] for caption_id in wanted))[:CAPTIONS]


def _pictures(results: Path, arms: Iterable[str], sentences: Sequence[str]) -> dict[str, bytes]:
    """Sentence -> picture file, of the first arm that has it."""
    found: dict[str, bytes] = {}
    for path in (path for arm in arms for path in sorted((results / "images" / arm).glob("*-of-*.parquet"))):
        drawn = tables.read(path, tables.IMAGES, ["sentence"])["sentence"].to_pylist()
        wanted = [row for row, sentence in enumerate(drawn) if sentence in sentences and sentence not in found]
        if wanted:
            images = tables.read(path, tables.IMAGES, ["image"])["image"].take(wanted).to_pylist()
            found = {drawn[row]: image["bytes"] for row, image in zip(wanted, images, strict=True)} | found
    return found


def alternative_text(strip: Strip) -> str:
    """What the strip shows, for who does not see it."""
    captions = "; ".join(f"“{caption}”" for caption in strip.captions)
    return (
        f"{len(strip.captions)} captions, each below the picture drawn from it alone: {captions}. "
        f"Beside them the one picture drawn from the sentence that has them all: “{strip.sentence}”"
    )


def draw_strip(strip: Strip) -> Image.Image:
    """To the left the captions' pictures, to the right the sentence's; the same pixels on every call."""
    cells = [_cell(CELL, *each) for each in zip(strip.pictures, strip.captions, strict=True)]
    left, right = _block(TITLES[0], cells), _block(TITLES[1], [_cell(LARGE, strip.picture, strip.sentence)])
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
    """A picture, or a frame that says that there is none, above its text."""
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
