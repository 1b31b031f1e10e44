"""Style of all plots and pages, and how both become files; equal content gives equal bytes.

Plots are readable in print and for the colour-blind. Colours are those of Okabe and Ito,
https://jfly.uni-koeln.de/color/; arms differ in markers and line styles too, shares in hatches. On pages all text is
data: it never becomes markup.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from icsd.config.arms import ARMS
from icsd.core import files
from icsd.core.text import as_html, truncated

BLUE, ORANGE, GREEN, PINK, BLACK = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000"
SKY, VERMILION, YELLOW, GREY = "#56B4E9", "#D55E00", "#F0E442", "#999999"
WIDTH = 9.0  # inches
_RC: dict[Any, Any] = {
    "svg.hashsalt": "icsd",  # without a salt the ids of elements differ at every run
    "svg.fonttype": "path",  # the same on machines with other fonts; the title and description are text
    "text.parse_math": False,  # a $ of a reason is a $
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]+")  # characters that XML forbids, and line breaks


@dataclass(frozen=True)
class ArmStyle:
    """Colour, marker and line of an arm in all plots."""

    color: str
    marker: str
    line: Any


_STYLES = (
    ArmStyle(BLUE, "o", "-"),
    ArmStyle(VERMILION, "s", "--"),
    ArmStyle(GREEN, "D", "-."),
    ArmStyle(PINK, "^", ":"),
    ArmStyle(BLACK, "X", (0, (6, 1, 1, 1, 1, 1))),
    ArmStyle(ORANGE, "v", (0, (8, 2, 2, 2))),
    ArmStyle(SKY, "P", (0, (2, 2))),
)
ARM_STYLES = dict(zip(ARMS, cycle(_STYLES), strict=False))  # in the arms' order
# of parts that stand side by side; the first are the most
PARTS = ((ORANGE, "//"), (SKY, "\\\\"), (YELLOW, ".."), (PINK, "xx"), (GREEN, "--"), (GREY, "++"), (VERMILION, "oo"))


@contextmanager
def plot_style() -> Iterator[None]:
    """Apply the report's style to figures that are made and saved inside."""
    with mpl.rc_context(_RC):
        yield


def entitle(figure: Figure, title: str, note: str = "") -> None:
    """Put the title above all panels, followed by a note."""
    figure.suptitle(f"{title} ({note})" if note else title, x=0.01, ha="left", fontweight="bold", wrap=True)


def save_figure(path: Path, figure: Figure, title: str, description: str) -> None:
    """Write an SVG with a title and a description for screen readers; equal figures give equal bytes."""
    with files.atomic_path(path) as unfinished:
        figure.savefig(unfinished, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
        text = unfinished.read_text(encoding="utf-8")
        unfinished.write_text(_described(text, title, description), encoding="utf-8")


def _described(svg: str, title: str, description: str) -> str:
    texts = f'<title id="title">{escape(plain(title))}</title>\n <desc id="desc">{escape(plain(description))}</desc>'
    return re.sub(r"<svg ([^>]*)>", rf'<svg role="img" aria-labelledby="title desc" \1>\n {texts}', svg, count=1)


def save_notice(path: Path, title: str, notice: str) -> None:
    """Write an SVG with the reason why there is no plot yet."""
    figure = Figure(figsize=(WIDTH, 1.6), layout="constrained")
    entitle(figure, title)
    figure.text(0.01, 0.4, notice, wrap=True)
    save_figure(path, figure, title, notice)


def counts_on(axis: Any) -> None:
    """Format ticks as 12,000."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value == int(value) else f"{value:g}"))


def whole_numbers_on(axis: Any) -> None:
    """Put ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(integer=True))


def logarithmic_x(axes: Axes) -> None:
    """Set a logarithmic scale with ticks such as "10 k"; powers would need mathematical text."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def compact(value: float) -> str:
    """A short form such as "0.025", "71.3" and "312 M"."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def names_on_y(axes: Axes) -> None:
    """Remove lines and ticks of an axis that has names."""
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def plain(text: str, limit: int | None = None) -> str:
    """The text on one line, without characters that XML forbids, truncated to the limit."""
    line = _CONTROL.sub(" ", text).strip()
    return line if limit is None else truncated(line, limit)


# --- Pages ------------------------------------------------------------------------------------------------------------

_CSS = """
body { font: 15px/1.45 system-ui, sans-serif; color: #111; background: #fff; margin: 1.5rem; max-width: 75rem; }
table { border-collapse: collapse; margin: 0 0 1.75rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0 0 .4rem; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #bbb; text-align: right; vertical-align: top; }
thead th { border-bottom: 2px solid #333; }
.text { text-align: left; overflow-wrap: break-word; white-space: pre-line; max-width: 38rem; }
bdi { unicode-bidi: isolate; }
@media print { body { margin: 0; font-size: 10pt; } thead { display: table-header-group; } tr { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class HtmlTable:
    """A table with a caption; the first `left` columns and those named in `texts` are text, the others numbers."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    texts: Sequence[str] = field(default=())


def html_page(title: str, about: Sequence[str], shown: Sequence[HtmlTable]) -> str:
    """A page with paragraphs, without empty ones, and tables; it needs no other file."""
    paragraphs = "".join(f"<p>{as_html(each)}</p>\n" for each in about if each)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{as_html(title)}</title>\n'
        f"<style>{_CSS}</style>\n</head>\n<body>\n<h1>{as_html(title)}</h1>\n"
        f"{paragraphs}{''.join(map(_html_table, shown))}</body>\n</html>\n"
    )


def save_page(path: Path, title: str, about: Sequence[str], shown: Sequence[HtmlTable]) -> None:
    """Write a page of paragraphs and tables."""
    with files.atomic_path(path) as unfinished:
        unfinished.write_text(html_page(title, about, shown), encoding="utf-8")


def _html_table(table: HtmlTable) -> str:
    header = "".join(_html_cell("th", name, table, name, ' scope="col"') for name in table.header)
    rows = "".join(f"<tr>{_html_row(table, row)}</tr>\n" for row in table.rows)
    caption = f"<caption>{as_html(table.caption)}</caption>"
    return f"<table>\n{caption}\n<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"


def _html_row(table: HtmlTable, row: Sequence[str]) -> str:
    first, *others = zip(table.header, row, strict=True)
    cells = [_html_cell("td", value, table, name) for name, value in others]
    return _html_cell("th", first[1], table, first[0], ' scope="row"') + "".join(cells)


def _html_cell(tag: str, value: str, table: HtmlTable, column: str, more: str = "") -> str:
    as_text = table.header.index(column) < table.left or column in table.texts
    kind = ' class="text"' if as_text else ""
    return f"<{tag}{more}{kind}><bdi>{as_html(value)}</bdi></{tag}>"
