"""Who answers: the provider that summaries.provider names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from icsd.config import SummariesConfig
from icsd.logs import progress
from icsd.summaries.asking import Asking
from icsd.summaries.budget import Budget, Prices, Purse
from icsd.summaries.judge import Judge
from icsd.summaries.merge import Limits, merge
from icsd.summaries.prompts import Prompt
from icsd.summaries.records import Group, Summary, dropped
from icsd.summaries.replies import Replies
from icsd.summaries.requests import Sampling


def answer(groups: Sequence[Group], prompt: Prompt, config: SummariesConfig, results: Path) -> Iterator[Summary]:
    """One summary a group, in the order of `groups`; `results` is the run's folder, for its spending."""
    judge = Judge(config.quality)
    if config.provider == "merge":
        limits = Limits(max_words=prompt.rules.max_words, **config.merge.model_dump())
        yield from progress((judge(group, _merged(group, limits)) for group in groups), len(groups), "summaries")
        return
    if config.provider == "transformers":
        yield from _asked_here(groups, prompt, config, results, judge)
        return
    from icsd.summaries import batch, batch_accounts, online  # late: the merger does not pay for the client's import
    from icsd.summaries.openai_api import Endpoint

    settings = config.openai
    endpoint = Endpoint(
        settings.base_url, settings.api_key_env, settings.timeout_s, settings.retries, settings.concurrency,
        settings.structured_output,
    )  # fmt: skip
    prices = Prices(settings.prompt_usd_per_million, settings.completion_usd_per_million)
    sampling = Sampling(settings.model, settings.temperature, settings.max_tokens)
    store, purse = Replies(Path(config.store)), Purse(Budget(results / "budget", config.budget_usd))
    with store.writer(run=results.name, provider=config.provider, model=settings.model) as segment, purse:
        if config.provider == "openai-batch":
            accounts = batch_accounts.Accounts(prices, purse, store, segment, results.name)
            send = lambda requests, receive: batch.ask(requests, endpoint, config.batch, accounts, receive)  # noqa: E731
        else:
            send = lambda requests, receive: online.ask(requests, endpoint, prices, purse, segment, receive)  # noqa: E731
        yield from Asking(prompt, sampling, config.repair, judge, store, send).summaries(groups)


def model_name(config: SummariesConfig) -> str:
    """What the table calls the provider's model."""
    return "merge" if config.provider == "merge" else getattr(config, config.section).model


def _asked_here(
    groups: Sequence[Group], prompt: Prompt, config: SummariesConfig, results: Path, judge: Judge
) -> Iterator[Summary]:
    from icsd.summaries.local import LocalModel, ask  # late: the other providers do not pay for torch's import

    settings, store = config.transformers, Replies(Path(config.store))
    model = LocalModel(settings.model)
    sampling = Sampling(model.digest, settings.temperature or 0.0, settings.max_tokens)
    with store.writer(run=results.name, provider=config.provider, model=settings.model) as segment:
        send = lambda requests, receive: ask(requests, model, settings.batch_size, segment, receive)  # noqa: E731
        yield from Asking(prompt, sampling, config.repair, judge, store, send).summaries(groups)


def _merged(group: Group, limits: Limits) -> Summary:
    merged = merge(group.captions, limits)
    if merged is None:
        return dropped("nothing-to-merge", f"no caption names a thing in at most {limits.max_words} words")
    return Summary(merged.sentence, merged.selected)
