"""What all plots look like: readable in print and for the colour-blind, and the same file for the same figures.

Colours are those of Okabe and Ito, https://jfly.uni-koeln.de/color/; none of them tells anything alone: arms differ in
markers and line styles too, shares in hatches.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from icsd.core.text import truncated

BLUE, ORANGE, GREEN, PINK, BLACK = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000"
SKY, VERMILION, YELLOW, GREY = "#56B4E9", "#D55E00", "#F0E442", "#999999"
WIDTH = 9.0  # inches
LABEL_CHARACTERS = 60
_RC: dict[Any, Any] = {
    "svg.hashsalt": "icsd",  # ids of elements are hashes: without a salt another at every run
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
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]+")  # what XML does not take, and line breaks


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is drawn everywhere."""

    color: str
    marker: str
    line: Any


_STYLES = (
    ArmStyle(BLUE, "o", "-"),
    ArmStyle(VERMILION, "s", "--"),
    ArmStyle(GREEN, "D", "-."),
    ArmStyle(PINK, "^", ":"),
    ArmStyle(BLACK, "X", (0, (6, 1, 1, 1, 1, 1))),
    ArmStyle(ORANGE, "v", "--"),
    ArmStyle(SKY, "P", "-."),
)
ARM_STYLES = dict(zip(ARMS, cycle(_STYLES), strict=False))  # in the arms' order
# of parts that stand side by side; the first are the most
PARTS = ((ORANGE, "//"), (SKY, "\\\\"), (YELLOW, ".."), (PINK, "xx"), (GREEN, "--"), (GREY, "++"), (VERMILION, "oo"))


@contextmanager
def plot_style() -> Iterator[None]:
    """Figures that are made and saved inside look like the report's."""
    with mpl.rc_context(_RC):
        yield


def entitle(figure: Figure, title: str, note: str = "") -> None:
    """Put the title above all panels, and behind it what is missing."""
    figure.suptitle(f"{title} ({note})" if note else title, x=0.01, ha="left", fontweight="bold", wrap=True)


def save_figure(path: Path, figure: Figure, title: str, description: str) -> None:
    """Write an SVG with a title and a description that screen readers find; the same bytes for the same figure."""
    with files.atomic_path(path) as unfinished:
        figure.savefig(unfinished, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
        text = unfinished.read_text(encoding="utf-8")
        unfinished.write_text(_described(text, title, description), encoding="utf-8")


def _described(svg: str, title: str, description: str) -> str:
    said = f'<title id="title">{escape(plain(title))}</title>\n <desc id="desc">{escape(plain(description))}</desc>'
    return re.sub(r"<svg ([^>]*)>", rf'<svg role="img" aria-labelledby="title desc" \1>\n {said}', svg, count=1)


def save_notice(path: Path, title: str, notice: str) -> None:
    """Write an SVG that says why there is no plot yet."""
    figure = Figure(figsize=(WIDTH, 1.6), layout="constrained")
    entitle(figure, title)
    figure.text(0.01, 0.4, notice, wrap=True)
    save_figure(path, figure, title, notice)


def counts_on(axis: Any) -> None:
    """Ticks as 12,000."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value == int(value) else f"{value:g}"))


def whole_numbers_on(axis: Any) -> None:
    """Ticks at whole numbers alone."""
    axis.set_major_locator(MaxNLocator(integer=True))


def logarithmic_x(axes: Axes) -> None:
    """A logarithmic scale without powers, which would be mathematical text."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def compact(value: float) -> str:
    """Such as "0.025", "71.3" and "312 M"."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def names_on_y(axes: Axes) -> None:
    """An axis of names: without lines and ticks."""
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def plain(text: str, limit: int | None = None) -> str:
    """On one line, without what XML does not take; cut short where it is longer than the limit."""
    line = _CONTROL.sub(" ", text).strip()
    return line if limit is None else truncated(line, limit)
