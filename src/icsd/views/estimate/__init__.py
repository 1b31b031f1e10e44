"""Estimate: what a run takes before anything is spent; counted in its tables where they exist, guessed elsewhere.

amounts    a total, the part that is done, and their source
counts     how many items each stage has, and how many of them are done
requests   the same of requests to a language model
trainings  the same of trainings and of CLIPScore
costs      what they take: tokens, money, hours, bytes
"""

from collections.abc import Iterator
from pathlib import Path

from icsd.config import Config
from icsd.core import files
from icsd.core.text import markdown_table
from icsd.llm.cache import ResponseCache, Spending, spending
from icsd.stages.summaries.prompts import load_prompt
from icsd.views.estimate.amounts import SAMPLE, Amount
from icsd.views.estimate.costs import PRICE_SHARES, Costs, costs
from icsd.views.estimate.counts import Counts, count
from icsd.views.estimate.requests import MOST_RENDERED
from icsd.views.run import Run, configured_run

__all__ = ["estimate_page", "estimated_costs", "write_estimate"]

GIGABYTE = 1e9
UNPAID = Spending()
SAMPLED = f"""
- *sample*: {MOST_RENDERED:,} prompts as they are sent, at even distances in the table of groups, count for all; a
  share that is done is known to about two per cent."""
HEADER = ("", "from", "in all", "done", "left", "spent")
SOURCES = """\
- *tables*: counted in the tables of the run, each prompt as it is sent. *corpus*: counted in the captions file.{sample}
- *guess*: as many groups as captions, each with {k} captions of mean length; {unusable:.0%} of the groups without
  a usable summary; {captions:g} captions a summary.
- *rates*: a count times the prices of summaries.openai and the values of estimate in config/config.yaml. Most of these
  values are guesses for models of full size on one GPU. {repairs:.0%} of the requests need a repair.
- *spent*: the requests and answers of this run so far, by its events in {store}. Repeated requests and repairs count.
  *done* may include replies that another run paid for.
- *folder*: bytes on disk now, in the run's folder and, for the pictures that it drew, in {pictures}.
- A training decodes the picture of each pair as it comes, by captioner.workers beside the GPU, and keeps none on disk.
- Hours of requests are those of all jobs together, GPU hours those of one GPU.
- Pictures: {arms}.{candidates}
  All pictures that the run has drawn are done; a picture whose sentence changes is drawn again.{served}
- Provider: {provider}"""


def write_estimate(config: Config, prompt: Path, results: Path) -> str:
    """Write the estimate to the run's folder `results`, and return it. Nothing else is written, and nothing is sent.

    InputError for a prompt or a captions file that cannot be used; a damaged table counts as not there.
    """
    run = configured_run(config, results)
    counts = count(config, load_prompt(prompt), run)
    spent = spending(ResponseCache(Path(config.summaries.store)).events(), run.name)
    paid = spending(ResponseCache(Path(config.images.store)).events(), run.name)
    page = estimate_page(config, counts, costs(counts, config), spent, paid)
    with files.atomic_path(run.estimate_page) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return page


def estimated_costs(config: Config, prompt: Path, run: Run, *, rendered: bool = True) -> Costs:
    """The costs of the whole run; errors as `write_estimate`. For `rendered` see `count`."""
    return costs(count(config, load_prompt(prompt), run, rendered=rendered), config)


# --- The page ---------------------------------------------------------------------------------------------------------


def estimate_page(config: Config, counts: Counts, taken: Costs, spent: Spending, paid: Spending = UNPAID) -> str:
    """Markdown: the work, its costs, the sources of the figures, and the money spent so far.

    `spent` is the spending on summaries, `paid` that on a server's pictures.
    """
    served = config.images.provider == "openai"
    table = markdown_table(HEADER, list(_rows(counts, taken, spent, paid, served=served)), left=2)
    lines = [f"# Estimate of the run {config.run}", "", *table, "", _sources(config, counts), ""]
    warnings = [
        *_warning("summaries.budget_usd", config.summaries.budget_usd, spent.usd + taken.usd.left),
        *_warning("images.budget_usd", config.images.budget_usd, paid.usd + taken.image_usd.left),
    ]
    return "\n".join([*lines, *warnings])


def _rows(counts: Counts, taken: Costs, spent: Spending, paid: Spending, *, served: bool) -> Iterator[list[str]]:
    yield _row("captions to embed", counts.captions)
    yield _row("groups to summarize", counts.groups)
    yield _row("requests", counts.requests, spent.requests)
    yield _row("requests for repairs", taken.repairs)
    yield _row("prompt tokens", taken.prompt_tokens, spent.prompt_tokens)
    yield _row("answer tokens", taken.answer_tokens, spent.completion_tokens)
    yield _row("USD", taken.usd, spent.usd, digits=2)
    yield _row("hours of requests", taken.request_hours, digits=2)
    yield _row("pictures to draw", counts.pictures)
    if served:
        yield _row("USD for pictures", taken.image_usd, paid.usd, digits=2)
        yield _row("hours of requests for pictures", taken.image_hours, digits=2)
    if counts.scored.total:
        yield _row("pictures to score", counts.scored)
    if counts.comparisons.total:
        yield _row("comparisons of captions and pictures", counts.comparisons)
        yield _row("hours of comparisons on one core", taken.match_hours, digits=2)
    yield _row("pictures to check", counts.checks)
    yield _row("captioners to train", counts.trainings)
    yield _row("pictures that trainings decode", taken.decoded)
    yield _row("hours of decoding on one core", taken.decode_hours, digits=2)
    if counts.judged.total:
        yield _row("captions to judge by CLIPScore", counts.judgements)
    for stage, hours in taken.gpu.items():
        yield _row(f"GPU hours, {stage}", hours, digits=2)
    stages = taken.gpu.values()
    together = Amount(sum(stage.total for stage in stages), sum(stage.done for stage in stages), "sum")
    yield _row("GPU hours", together, digits=2)
    yield _row("GB on disk", taken.disk.times(1 / GIGABYTE), digits=2)


def _row(what: str, amount: Amount, spent: float | None = None, digits: int = 0) -> list[str]:
    values = (amount.total, amount.done, amount.left, spent)
    return [what, amount.source, *("" if value is None else f"{value:,.{digits}f}" for value in values)]


def _sources(config: Config, counts: Counts) -> str:
    rates = config.estimate
    return SOURCES.format(
        k=config.groups.k,
        unusable=rates.unusable_share,
        captions=rates.captions_per_summary,
        repairs=rates.repair_share if config.summaries.repair else 0.0,
        sample=SAMPLED if counts.requests.source == SAMPLE else "",
        arms=", ".join(f"{number:,} of {arm}" for arm, number in counts.drawn.items()) or "none",
        candidates=_candidates(config),
        provider=_provider(config),
        served=_server(config),
        store=config.summaries.store,
        pictures=config.images.store,
    )


def _candidates(config: Config) -> str:
    images = config.images
    if images.candidates == 1:
        return ""
    limit = "" if images.max_images is None else f", and images.max_images={images.max_images:,} of an arm"
    text = f"\n  At most images.candidates={images.candidates} of each sentence{limit}"
    if images.redraw_below is None:
        return f"{text}."
    return (
        f"{text}: an upper bound. Fewer are drawn if an earlier one reaches images.redraw_below={images.redraw_below}."
    )


def _server(config: Config) -> str:
    """The server of pictures and its price; empty where the job draws."""
    if config.images.provider != "openai":
        return ""
    server = config.images.openai
    return f"\n  They come from the server of {server.model}, at {server.usd_per_image:g} USD each; retries cost more."


def _provider(config: Config) -> str:
    summaries, settings = config.summaries, config.summaries.openai
    if summaries.provider == "merge":
        return "merge. It sends no request and costs nothing."
    if summaries.provider == "transformers":
        return "transformers. It costs GPU hours alone. *done* is what the tables have; the store may have more."
    share = PRICE_SHARES[summaries.provider]
    prompt, answer = share * settings.prompt_usd_per_million, share * settings.completion_usd_per_million
    prices = f"{prompt:g} and {answer:g} USD a million prompt and answer tokens"
    return f"{summaries.provider}, {settings.model}, at {prices}.\n  *done* is what {summaries.store} has."


def _warning(setting: str, budget: float | None, usd: float) -> list[str]:
    if budget is None or usd <= budget:
        return []
    return [f"Money spent and left to pay, {usd:,.2f} USD together, is more than {setting}={budget:g}.", ""]
