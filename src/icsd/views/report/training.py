"""Training curves: the loss of every captioner, and its scores on validation pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from icsd.views.report.style import ARM_STYLES, WIDTH, counts_on, entitle, save_figure, save_notice
from icsd.views.run import Run

TITLE = "Training of the captioners"
POINTS = 300  # of a curve at most: a hundred thousand steps would be a file of megabytes
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]  # steps, values
Curves = Mapping[tuple[str, int], Curve]


def draw_training(run: Run, plot: Path) -> None:
    """Write the plot of all trainings that are there."""
    histories = {(arm, seed): run.history(arm, seed).rows() for arm, seed in run.captioners}
    losses = {each: _loss(rows) for each, rows in histories.items() if len(rows)}
    if not losses:
        save_notice(plot, TITLE, "No captioner has been trained yet: the jobs train_captioner are still to come.")
        return
    metrics = list(dict.fromkeys(name for rows in histories.values() for name in rows["metric"].to_pylist() if name))
    panels = {"loss": losses} | {
        metric: {each: _scores(rows, metric) for each, rows in histories.items() if len(rows)} for metric in metrics
    }
    figure = _figure(panels)
    missing = len(histories) - len(losses)
    entitle(figure, TITLE, f"missing: {missing:,} of {len(histories):,}" if missing else "")
    save_figure(plot, figure, TITLE, "; ".join(_described(name, curves) for name, curves in panels.items()))


def _loss(rows: pa.Table) -> Curve:
    """The loss at each step; a validated step has a row for each metric and counts once."""
    steps, first = np.unique(rows["step"].to_numpy(), return_index=True)
    return thinned(steps.astype(float), rows["loss"].to_numpy()[first])


def thinned(steps: NDArray[np.float64], values: NDArray[np.float64], points: int = POINTS) -> Curve:
    """The means of neighbouring values: at most `points`."""
    parts = np.array_split(np.arange(len(steps)), min(points, len(steps)))
    return np.array([steps[part].mean() for part in parts]), np.array([values[part].mean() for part in parts])


def _scores(rows: pa.Table, metric: str) -> Curve:
    found = rows.filter(pc.equal(rows["metric"], metric)).sort_by("step")
    return found["step"].to_numpy().astype(float), 100 * found["value"].to_numpy()


def _described(name: str, curves: Curves) -> str:
    ends = ", ".join(
        f"{arm} seed {seed} {values[-1]:.1f}" for (arm, seed), (_, values) in curves.items() if len(values)
    )
    return f"{name} in the end: {ends}"


def _figure(panels: Mapping[str, Curves]) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    grid: Sequence[Axes] = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (name, curves) in zip(grid, panels.items(), strict=True):
        for (arm, seed), curve in curves.items():
            _draw(axes, arm, seed, curve, dots=name != "loss")
        axes.set_xlabel("step")
        axes.set_title("Loss on the training pairs" if name == "loss" else f"{name} on validation pictures")
        axes.set_ylabel("cross-entropy (nats a token)" if name == "loss" else "score × 100")
        counts_on(axes.xaxis)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), handlelength=4)
    return figure


def _draw(axes: Axes, arm: str, seed: int, curve: Curve, dots: bool) -> None:
    """Draw a curve in its arm's style; the legend names the arm once for all seeds."""
    style, named = ARM_STYLES[arm], axes.get_legend_handles_labels()[1]
    every = 1 if dots else max(1, len(curve[0]) // 6)
    axes.plot(
        *curve, color=style.color, linestyle=style.line, marker=style.marker, markevery=every, markersize=5,
        linewidth=1.4, label=arm if arm not in named else None,
    )  # fmt: skip
