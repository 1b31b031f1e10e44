"""Contact sheets: pictures with their captions, to look at."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from icsd.core.pictures import read_picture

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PICTURES = 64
COLUMNS = 8
CELL = 128  # pixels, width and height of a picture's cell
GAP = 8
FONT_SIZE = 11
LINES = 5  # of a caption; a longer one is cut


def contact_sheet(pictures: Sequence[bytes | None], captions: Sequence[str]) -> Image.Image:
    """The first PICTURES picture files in a grid, each above its caption; a line of text if there is none.

    A caption without a picture has an empty cell.
    """
    shown = [_cell(*pair) for pair in zip(pictures[:PICTURES], captions[:PICTURES], strict=True)]
    if not shown:
        shown = [_cell(None, "no pictures in this shard")]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    width, height = shown[0].size
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), "white")
    for number, cell in enumerate(shown):
        row, column = divmod(number, columns)
        sheet.paste(cell, (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return sheet


def _cell(picture: bytes | None, caption: str) -> Image.Image:
    font = ImageFont.load_default(size=FONT_SIZE)
    line_height = FONT_SIZE + 3
    cell = Image.new("RGB", (CELL, CELL + LINES * line_height), "white")
    if picture is not None:
        shown = fitted(read_picture(picture), CELL)
        cell.paste(shown, ((CELL - shown.width) // 2, (CELL - shown.height) // 2))
    draw = ImageDraw.Draw(cell)
    for number, line in enumerate(wrapped(caption, font, CELL, LINES)):
        draw.text((0, CELL + number * line_height), line, fill="black", font=font)
    return cell


def fitted(picture: Image.Image, side: int) -> Image.Image:
    """The picture scaled to `side` pixels: a small one by a whole factor without smoothing, a large one smoothly."""
    longer = max(picture.size)
    if longer > side:
        width, height = (max(1, round(length * side / longer)) for length in picture.size)
        return picture.resize((width, height), Image.Resampling.LANCZOS)
    factor = side // longer
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def wrapped(text: str, font: Font, width: int, most: int) -> list[str]:
    """The text in at most `most` lines of this width, with an ellipsis if it is cut."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1] + " …"]
