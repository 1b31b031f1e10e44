"""Who answers: the provider that summaries.provider names."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from icsd.config import SummariesConfig
from icsd.logs import progress
from icsd.summaries.asking import Asking, Receive, Send
from icsd.summaries.budget import Budget, Prices, Purse
from icsd.summaries.judge import Judge
from icsd.summaries.merge import Limits, merge
from icsd.summaries.prompts import Prompt
from icsd.summaries.records import Group, Summary, dropped
from icsd.summaries.replies import Replies, Segment
from icsd.summaries.requests import Request, Sampling

Asked = tuple[Sampling, Send]


def answer(groups: Sequence[Group], prompt: Prompt, config: SummariesConfig, results: Path) -> Iterator[Summary]:
    """One summary a group, in the order of `groups`; `results` is the run's folder, for its spending."""
    judge = Judge(config.quality)
    if config.provider == "merge":
        limits = Limits(max_words=prompt.rules.max_words, **config.merge.model_dump())
        yield from progress((judge(group, _merged(group, limits)) for group in groups), len(groups), "summaries")
        return
    model, store = getattr(config, config.section).model, Replies(Path(config.store))
    with store.writer(run=results.name, provider=config.provider, model=model) as segment:
        asked = _asked_here if config.provider == "transformers" else _asked_there
        with asked(config, store, segment, results) as (sampling, send):
            yield from Asking(prompt, sampling, config.repair, judge, store, send).summaries(groups)


def model_name(config: SummariesConfig) -> str:
    """What the table calls the provider's model."""
    return "merge" if config.provider == "merge" else getattr(config, config.section).model


@contextmanager
def _asked_there(config: SummariesConfig, store: Replies, segment: Segment, results: Path) -> Iterator[Asked]:
    """By a server."""
    from icsd.summaries import batch, batch_accounts, online  # late: the merger does not pay for the client's import
    from icsd.summaries.openai_api import Endpoint

    asked = config.openai
    endpoint = Endpoint(
        asked.base_url, asked.api_key_env, asked.timeout_s, asked.retries, asked.concurrency, asked.structured_output
    )
    prices = Prices(asked.prompt_usd_per_million, asked.completion_usd_per_million)
    with Purse(Budget(results / "budget", config.budget_usd)) as purse:

        def send(requests: Iterable[Request], receive: Receive) -> None:
            if config.provider == "openai-batch":
                accounts = batch_accounts.Accounts(prices, purse, store, segment, results.name)
                batch.ask(requests, endpoint, config.batch, accounts, receive)
            else:
                online.ask(requests, endpoint, prices, purse, segment, receive)

        yield Sampling(asked.model, asked.temperature, asked.max_tokens), send


@contextmanager
def _asked_here(config: SummariesConfig, store: Replies, segment: Segment, results: Path) -> Iterator[Asked]:
    """By a model in this process."""
    from icsd.summaries.local import LocalModel, ask  # late: the other providers do not pay for torch's import

    asked = config.transformers
    model = LocalModel(asked.model)

    def send(requests: Iterable[Request], receive: Receive) -> None:
        ask(requests, model, asked.batch_size, segment, receive)

    yield Sampling(model.digest, asked.temperature or 0.0, asked.max_tokens), send


def _merged(group: Group, limits: Limits) -> Summary:
    merged = merge(group.captions, limits)
    if merged is None:
        return dropped("nothing-to-merge", f"no caption names a thing in at most {limits.max_words} words")
    return Summary(merged.sentence, merged.selected)
