"""A sample of groups, and their summaries by a prompt as the run would make them, in none of the run's tables.

Replies go to the store that all runs share, under a name of their own: the run finds them there and does not pay again.
"""

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path

from icsd.config import Config, SummariesConfig
from icsd.core.errors import ConfigError, InputError
from icsd.core.ids import seeded_order
from icsd.core.languages import ENGLISH
from icsd.llm.budget import Budget, OutOfBudget, OverBound, Prices
from icsd.llm.cache import Event, ResponseCache, Spending, spending
from icsd.stages.summaries.prompts import Prompt
from icsd.stages.summaries.providers import summarize
from icsd.stages.summaries.quality import Group, Summary
from icsd.views.estimate.costs import PRICE_SHARES
from icsd.views.run import Run


@dataclass(frozen=True)
class SampledGroup:
    """A group, and the similarity of each of its captions to the anchor."""

    group: Group
    similarities: Sequence[float]


@dataclass(frozen=True)
class TriedPrompt:
    """The summaries of the sampled groups by a prompt, in their order.

    `usd` are the costs of each group's answers by the run's prices, None where the server counts no tokens. `sent` is
    what this preview requested and paid, without replies that were in the store; `seconds` it took. `language` is that
    of the captions.
    """

    name: str
    summaries: Sequence[Summary]
    usd: Sequence[float | None]
    sent: Spending
    seconds: float
    language: str = ENGLISH

    @property
    def usable(self) -> int:
        """The number of groups with a summary."""
        return sum(summary.text is not None for summary in self.summaries)


def sample_groups(run: Run, number: int, seed: int) -> list[SampledGroup]:
    """Return `number` random groups of the run, or all, always the same for a seed; ConfigError if it has none yet."""
    ids = run.groups.rows(["group_id"])["group_id"].to_pylist()
    if not ids:
        raise ConfigError(
            f"{run.groups.paths[0]}: there are no groups yet. They cost nothing: run snakemake up to them, with the "
            "options --configfile and --config of this command, and --until form_groups"
        )
    chosen = nsmallest(number, ids, key=lambda group_id: seeded_order(group_id, seed))
    place = {group_id: number for number, group_id in enumerate(chosen)}
    rows = sorted(run.groups.select(chosen).to_pylist(), key=lambda row: place[row["group_id"]])
    wanted = {caption_id for row in rows for caption_id in row["caption_ids"]}
    captions = run.captions.select(wanted, ["caption_id", "caption"]).to_pylist()
    texts = {row["caption_id"]: row["caption"] for row in captions}
    if missing := wanted - texts.keys():
        hint = "captions and groups are of different runs: delete the groups folder and run snakemake again"
        raise InputError(run.groups.paths[0], "", f"caption {min(missing)} is not among the captions", hint)
    return [_sampled(row["group_id"], row["caption_ids"], row["similarities"], texts) for row in rows]


def _sampled(group_id: int, ids: Sequence[int], similarities: Sequence[float], texts: dict[int, str]) -> SampledGroup:
    return SampledGroup(Group(group_id, tuple(ids), tuple(texts[each] for each in ids)), similarities)


def preview_name(run: Run) -> str:
    """The name that replies and images of previews have in the stores, in place of a run's."""
    return f"preview-of-{run.name}"


def try_prompts(
    config: Config, prompts: Iterable[tuple[str, Prompt]], groups: Sequence[SampledGroup], run: Run
) -> list[TriedPrompt]:
    """Summarize the groups by each prompt, as the stage does; nothing of the run's folder is written.

    Together with all earlier previews of the run, this one spends at most what the run has left of its budget. Requests
    for the Batch API are sent at once, at the full price. Errors as those of the stage.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = _preview_settings(config.summaries, run)
        own = Path(folder) / preview_name(run)  # its budget, gone when the preview ends
        return [_tried(config, settings, name, prompt, groups, own) for name, prompt in prompts]


def _preview_settings(config: SummariesConfig, run: Run) -> SummariesConfig:
    changes: dict[str, object] = {"provider": "openai"} if config.provider == "openai-batch" else {}
    if config.budget_usd is not None:
        changes["budget_usd"] = left_of(config.budget_usd, run.summaries_budget, config.store, run)
    return config.model_copy(update=changes)


def left_of(budget_usd: float, folder: Path, store: str, run: Run) -> float:
    """Return the USD that a preview may spend: the budget without what the run and earlier previews have used.

    `folder` has the run's entries of the budget, `store` the events of previews.
    """
    earlier = spending(ResponseCache(Path(store)).events(), preview_name(run))
    return max(0.0, budget_usd - Budget(folder, budget_usd).used() - earlier.usd - earlier.over_usd)


def _tried(
    config: Config, settings: SummariesConfig, name: str, prompt: Prompt, groups: Sequence[SampledGroup], own: Path
) -> TriedPrompt:
    began, started, language = time.time(), time.monotonic(), config.captions.language
    try:
        summaries = list(summarize([each.group for each in groups], prompt, settings, own, language))
    except (OutOfBudget, OverBound) as error:
        problem = "a preview may spend what the run and earlier previews have left of its budget"
        raise type(error)(f"summaries.budget_usd={config.summaries.budget_usd:g}: {problem}. {error}") from None
    seconds = time.monotonic() - started
    usd = [_usd(config.summaries, summary) for summary in summaries]
    if settings.provider == "merge":
        return TriedPrompt(name, summaries, usd, Spending(), seconds, language)
    events = ResponseCache(Path(settings.store)).events()
    sent = spending(_since(events, began), own.name)
    return TriedPrompt(name, summaries, usd, sent, seconds, language)


def _usd(config: SummariesConfig, summary: Summary) -> float | None:
    """The price of a group's answers in the run; None if their tokens are unknown."""
    share, settings = PRICE_SHARES.get(config.provider, 0.0), config.openai
    if not share:
        return 0.0
    if summary.prompt_tokens is None or summary.completion_tokens is None:
        return None
    prices = Prices(settings.prompt_usd_per_million, settings.completion_usd_per_million)
    return share * prices.cost(summary.prompt_tokens, summary.completion_tokens)


def _since(events: Iterable[Event], began: float) -> Iterable[Event]:
    return (event for event in events if event.get("at", 0.0) >= round(began, 3) - 0.001)
