"""The costs of a run beside the estimate: time of each stage, tokens, money."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icsd.config import Config
from icsd.core.errors import InputError
from icsd.llm.cache import ResponseCache, spending
from icsd.views.estimate import estimated_costs
from icsd.views.estimate.costs import Costs
from icsd.views.measures import Measured, read_benchmark
from icsd.views.report.style import (
    BLUE,
    ORANGE,
    WIDTH,
    HtmlTable,
    compact,
    entitle,
    logarithmic_x,
    names_on_y,
    save_figure,
    save_page,
)
from icsd.views.run import Run

TITLE = "Costs of the run"
HOUR_S = 3600.0
KINDS = ((BLUE, None, "taken so far"), (ORANGE, "//", "estimate"))
STAGES = {
    "read_captions": "captions", "read_pictures": "pictures", "embed_captions": "embeddings",
    "find_neighbors": "groups", "index_captions": "groups", "measure_recall": "groups", "form_groups": "groups",
    "summarize_groups": "summaries", "generate_images": "images", "score_alignment": "alignment",
    "score_at_random": "alignment", "match_captions": "alignment", "check_safety": "safety",
    "train_captioner": "captioner", "predict_captions": "evaluation", "embed_test_pictures": "evaluation",
    "score_captions": "evaluation",
}  # fmt: skip
ABOUT = (
    "Time is the sum over each stage's jobs, by Snakemake's benchmark files: jobs that ran at once count each, and of "
    "a job that was stopped and continued only the last part counts. The estimate's time is that of one GPU, at the "
    "rates of estimate in config/config.yaml, which are guesses for models of full size; for requests to an endpoint "
    "it is that of all jobs together."
)


@dataclass(frozen=True)
class StageTime:
    """The time of a stage's jobs, and the memory of the largest."""

    jobs: int = 0
    hours: float = 0.0
    cpu_hours: float = 0.0
    megabytes: float = 0.0

    def plus(self, job: Measured) -> "StageTime":
        """Add one job."""
        hours, cpu_hours = self.hours + job.seconds / HOUR_S, self.cpu_hours + job.cpu_seconds / HOUR_S
        return StageTime(self.jobs + 1, hours, cpu_hours, max(self.megabytes, job.megabytes))


@dataclass(frozen=True)
class CostLine:
    """A figure from the tables or the store of replies, and the estimate's figure, None where there is none."""

    name: str
    taken: float
    estimated: float | None
    digits: int = 0

    def shown(self, value: float | None) -> str:
        """Format one of both figures for people."""
        return "–" if value is None else f"{value:,.{self.digits}f}"


def draw_costs(run: Run, config: Config, prompt: Path, plot: Path, page: Path) -> None:
    """Write the plot and the page of the costs so far."""
    times, expected = _stage_times(run), _expected(run, config, prompt)
    hours = _hours(expected)
    lines = list(_cost_lines(run, config, expected))
    about = [ABOUT, *([] if expected else ["There is no estimate: its inputs cannot be read."])]
    save_page(page, TITLE, about, [_times_table(times, hours), _costs_table(lines)])
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    _draw_times(left, times, hours)
    _draw_lines(right, lines)
    entitle(figure, TITLE)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    save_figure(plot, figure, TITLE, "; ".join(f"{stage} {duration(each.hours)}" for stage, each in times.items()))


def _stage_times(run: Run) -> dict[str, StageTime]:
    """The times of all stages of the run, in their order; a stage that has not run has zeros."""
    stages = {rule: stage for rule, stage in STAGES.items() if stage != "alignment" or run.aligned}
    found = dict.fromkeys(stages.values(), StageTime())
    for rule, stage in stages.items():
        for path in run.benchmarks(rule):
            found[stage] = found[stage].plus(read_benchmark(path))
    return found


def _expected(run: Run, config: Config, prompt: Path) -> Costs | None:
    """The estimate of the whole run; None where a prompt or table cannot be used."""
    try:
        return estimated_costs(config, prompt, run)
    except InputError:
        return None


def _hours(expected: Costs | None) -> dict[str, float]:
    if expected is None:
        return {}
    served = {"images": expected.image_hours.total} if expected.image_hours.total else {}
    gpu = {stage: each.total for stage, each in expected.gpu.items()}
    return {"summaries": expected.request_hours.total} | served | gpu


def _cost_lines(run: Run, config: Config, expected: Costs | None) -> Iterator[CostLine]:
    spent = spending(ResponseCache(Path(config.summaries.store)).events(), run.name)
    tokens = run.summaries.rows(["prompt_tokens", "completion_tokens", "lenient"])
    for name, column, sent in (
        ("prompt tokens", "prompt_tokens", spent.prompt_tokens),
        ("answer tokens", "completion_tokens", spent.completion_tokens),
    ):
        estimated = None
        if expected is not None:
            estimated = (expected.prompt_tokens if column == "prompt_tokens" else expected.answer_tokens).total
        yield CostLine(f"{name} of the summaries", float(pc.sum(tokens[column]).as_py() or 0), None)
        yield CostLine(name, float(sent), estimated)
    yield CostLine("USD", spent.usd, expected.usd.total if expected is not None else None, digits=2)
    if spent.over_usd:
        yield CostLine("USD beyond what was reserved", spent.over_usd, None, digits=2)
    if lenient := pc.sum(tokens["lenient"]).as_py():
        yield CostLine("answers found in longer replies", float(lenient), None)
    if config.images.provider == "openai":
        paid = spending(ResponseCache(Path(config.images.store)).events(), run.name)
        yield CostLine("USD for images", paid.usd, expected.image_usd.total if expected is not None else None, digits=2)


# --- Tables -----------------------------------------------------------------------------------------------------------


def _times_table(times: Mapping[str, StageTime], hours: Mapping[str, float]) -> HtmlTable:
    rows = [
        [
            stage, f"{each.jobs:,}", duration(each.hours), duration(each.cpu_hours), f"{each.megabytes:,.0f}",
            duration(hours.get(stage)),
        ]
        for stage, each in times.items()
    ]  # fmt: skip
    header = ["stage", "jobs so far", "time", "CPU time", "memory of the largest (MiB)", "time by the estimate"]
    return HtmlTable("Time and memory a stage", header, rows)


def duration(hours: float | None) -> str:
    """A duration such as "4.2 s", "3.0 min" and "2,100.0 h"; a dash for None."""
    if hours is None:
        return "–"
    seconds = hours * HOUR_S
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min" if hours < 1 else f"{hours:,.1f} h"


def _costs_table(lines: Sequence[CostLine]) -> HtmlTable:
    rows = [[each.name, each.shown(each.taken), each.shown(each.estimated)] for each in lines]
    caption = "Tokens and money: those of the summaries by their rows, the others by the store of replies"
    return HtmlTable(caption, ["what", "so far", "by the estimate"], rows)


# --- The plot ---------------------------------------------------------------------------------------------------------


def _draw_times(axes: Axes, times: Mapping[str, StageTime], hours: Mapping[str, float]) -> None:
    bars = [(stage, each.hours, hours.get(stage)) for stage, each in times.items()]
    _bars(axes, bars, duration)
    axes.set_xlabel("hours (logarithmic scale)")
    axes.set_title("Time a stage")


def _draw_lines(axes: Axes, lines: Sequence[CostLine]) -> None:
    shown = [each for each in lines if each.estimated is not None]
    axes.set_title("Tokens and money")
    if not any(each.taken or each.estimated for each in shown):
        axes.set_axis_off()
        axes.text(0, 0.9, "No tokens and no money:\nno request was sent.", va="top", transform=axes.transAxes)
        return
    _bars(axes, [(each.name, each.taken, each.estimated) for each in shown], compact)
    axes.set_xlabel("tokens, or USD (logarithmic scale)")


def _bars(axes: Axes, bars: Sequence[tuple[str, float, float | None]], shown: Callable[[float], str]) -> None:
    """Draw two bars with their values for each name; none for zero, which has no logarithm."""
    for number, (_, taken, estimated) in enumerate(bars):
        for value, offset, (color, hatch, label) in zip((taken, estimated), (-0.2, 0.2), KINDS, strict=True):
            if value:
                named = axes.get_legend_handles_labels()[1]
                axes.barh(
                    number + offset, value, height=0.38, color=color, hatch=hatch, edgecolor="black", linewidth=0.5,
                    label=label if label not in named else None,
                )  # fmt: skip
                axes.annotate(f" {shown(value)}", (value, number + offset), va="center", fontsize=8)
    logarithmic_x(axes)
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.margins(x=0.15)
    names_on_y(axes)
