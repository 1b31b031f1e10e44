"""What the run took beside what the estimate says: time a stage, tokens, money."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icsd.core.errors import InputError
from icsd.llm.cache import Replies, spending
from icsd.stages.summaries.prompts import load_prompt
from icsd.views.estimate.costs import Costs, costs
from icsd.views.estimate.counts import count
from icsd.views.report.page import HtmlTable, save_page
from icsd.views.report.run import Run
from icsd.views.report.style import BLUE, ORANGE, WIDTH, compact, entitle, logarithmic_x, names_on_y, save_figure

TITLE = "What the run took"
HOUR_S = 3600.0
KINDS = ((BLUE, None, "taken so far"), (ORANGE, "//", "estimate"))
STAGES = {
    "read_captions": "captions", "read_pictures": "pictures", "embed_captions": "embeddings",
    "find_neighbors": "groups", "index_captions": "groups", "measure_recall": "groups", "form_groups": "groups",
    "summarize_groups": "summaries", "generate_images": "images", "check_safety": "safety",
    "train_captioner": "captioner", "predict_captions": "evaluation", "embed_test_pictures": "evaluation",
    "score_captions": "evaluation",
}  # fmt: skip
ABOUT = (
    "Time is that of each stage's jobs, as Snakemake's benchmark files have it, added up: jobs that ran at once count "
    "each, and of a job that was stopped and went on only its last part. The estimate's is that of one GPU, at the "
    "rates of estimate in config/config.yaml, which are guesses for models of full size; or of all jobs that ask an "
    "endpoint together."
)


@dataclass(frozen=True)
class Took:
    """What the jobs of a stage took; memory is that of the largest."""

    jobs: int = 0
    hours: float = 0.0
    cpu_hours: float = 0.0
    megabytes: float = 0.0

    def plus(self, other: "Took") -> "Took":
        """Both together."""
        most = max(self.megabytes, other.megabytes)
        return Took(self.jobs + other.jobs, self.hours + other.hours, self.cpu_hours + other.cpu_hours, most)


@dataclass(frozen=True)
class Amount:
    """A figure of the tables or of the store of replies beside the estimate's; None where there is none."""

    name: str
    taken: float
    estimated: float | None
    digits: int = 0

    def shown(self, value: float | None) -> str:
        """One of both for people."""
        return "–" if value is None else f"{value:,.{self.digits}f}"


def draw_costs(run: Run, prompt: Path, plot: Path, page: Path) -> None:
    """Write the plot and the page of what was measured so far."""
    took, expected = _took(run.path / "benchmarks"), _expected(run, prompt)
    hours = _hours(expected)
    amounts = list(_amounts(run, expected))
    about = [ABOUT, *([] if expected else ["There is no estimate: its inputs cannot be read."])]
    save_page(page, TITLE, about, [_times(took, hours), _bought(amounts)])
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    _draw_times(left, took, hours)
    _draw_bought(right, amounts)
    entitle(figure, TITLE)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    save_figure(plot, figure, TITLE, "; ".join(f"{stage} {duration(each.hours)}" for stage, each in took.items()))


def _took(folder: Path) -> dict[str, Took]:
    """By stage, in their order; stages that have not run are empty."""
    found = dict.fromkeys(STAGES.values(), Took())
    for rule, stage in STAGES.items():
        for path in [*folder.glob(f"{rule}.tsv"), *sorted(folder.glob(f"{rule}/**/*.tsv"))]:
            found[stage] = found[stage].plus(_measured(path))
    return found


def _measured(path: Path) -> Took:
    """Of a job's benchmark file; a value that Snakemake could not measure is NA."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    seconds, cpu = (sum(_number(row[name]) for row in rows) for name in ("s", "cpu_time"))
    return Took(1, seconds / HOUR_S, cpu / HOUR_S, max((_number(row["max_rss"]) for row in rows), default=0.0))


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _expected(run: Run, prompt: Path) -> Costs | None:
    """The estimate of the whole run; None where a prompt or table cannot be used."""
    try:
        return costs(count(run.config, load_prompt(prompt), run.path), run.config)
    except InputError:
        return None


def _hours(expected: Costs | None) -> dict[str, float]:
    if expected is None:
        return {}
    return {"summaries": expected.request_hours.total} | {stage: each.total for stage, each in expected.gpu.items()}


def _amounts(run: Run, expected: Costs | None) -> Iterator[Amount]:
    spent = spending(Replies(Path(run.config.summaries.store)).events(), run.path.name)
    tokens = run.summaries.rows(["prompt_tokens", "completion_tokens"])
    for name, column, sent in (
        ("prompt tokens", "prompt_tokens", spent.prompt_tokens),
        ("answer tokens", "completion_tokens", spent.completion_tokens),
    ):
        estimated = None
        if expected is not None:
            estimated = (expected.prompt_tokens if column == "prompt_tokens" else expected.answer_tokens).total
        yield Amount(f"{name} of the summaries", float(pc.sum(tokens[column]).as_py() or 0), None)
        yield Amount(name, float(sent), estimated)
    yield Amount("USD", spent.usd, expected.usd.total if expected is not None else None, digits=2)


# --- Tables -----------------------------------------------------------------------------------------------------------


def _times(took: Mapping[str, Took], hours: Mapping[str, float]) -> HtmlTable:
    rows = [
        [
            stage, f"{each.jobs:,}", duration(each.hours), duration(each.cpu_hours), f"{each.megabytes:,.0f}",
            duration(hours.get(stage)),
        ]
        for stage, each in took.items()
    ]  # fmt: skip
    head = ["stage", "jobs so far", "time", "CPU time", "memory of the largest (MiB)", "time by the estimate"]
    return HtmlTable("Time and memory a stage", head, rows)


def duration(hours: float | None) -> str:
    """Such as "4.2 s", "3.0 min" and "2,100.0 h"; a dash for None."""
    if hours is None:
        return "–"
    seconds = hours * HOUR_S
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min" if hours < 1 else f"{hours:,.1f} h"


def _bought(amounts: Sequence[Amount]) -> HtmlTable:
    rows = [[each.name, each.shown(each.taken), each.shown(each.estimated)] for each in amounts]
    caption = "Tokens and money: those of the summaries as their rows have them, the others as servers were sent them"
    return HtmlTable(caption, ["what", "so far", "by the estimate"], rows)


# --- The plot ---------------------------------------------------------------------------------------------------------


def _draw_times(axes: Axes, took: Mapping[str, Took], hours: Mapping[str, float]) -> None:
    bars = [(stage, each.hours, hours.get(stage)) for stage, each in took.items()]
    _bars(axes, bars, duration)
    axes.set_xlabel("hours (logarithmic scale)")
    axes.set_title("Time a stage")


def _draw_bought(axes: Axes, amounts: Sequence[Amount]) -> None:
    shown = [each for each in amounts if each.estimated is not None]
    axes.set_title("Tokens and money")
    if not any(each.taken or each.estimated for each in shown):
        axes.set_axis_off()
        axes.text(0, 0.9, "No tokens and no money:\nnobody was asked.", va="top", transform=axes.transAxes)
        return
    _bars(axes, [(each.name, each.taken, each.estimated) for each in shown], compact)
    axes.set_xlabel("tokens, or USD (logarithmic scale)")


def _bars(axes: Axes, bars: Sequence[tuple[str, float, float | None]], shown: Callable[[float], str]) -> None:
    """Two bars a name, with their values; none for nothing, for which a logarithm has no place."""
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
