"""Who answers: the provider that summaries.provider names."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from icsd.config import SummariesConfig
from icsd.core.logs import Progress, progress
from icsd.core.text import shown
from icsd.llm.budget import Budget, Prices, Purse
from icsd.llm.cache import CacheWriter, ResponseCache
from icsd.llm.request import Failure, Outcome, Request, Response, Sampling
from icsd.merger import Limits, merge
from icsd.stages.summaries.answers import BadAnswer, Rules, parse_answer
from icsd.stages.summaries.prompts import Prompt
from icsd.stages.summaries.quality import Group, Judge, Summary, dropped

_log = logging.getLogger(__name__)
Receive = Callable[[Request, Outcome], None]
Send = Callable[[Iterable[Request], Receive], None]
Known = dict[str, Outcome]


@dataclass(frozen=True)
class Asking:
    """How to ask: `send` gives the provider requests, and it calls back with each one's outcome, in any order."""

    prompt: Prompt
    sampling: Sampling
    repair: bool
    judge: Judge
    store: ResponseCache
    send: Send

    def summaries(self, groups: Sequence[Group]) -> Iterator[Summary]:
        """One summary a group, in their order."""
        keys = [self._first(group).key for group in groups]
        known = self._outcomes(keys, lambda place: self._first(groups[place]), "summaries")
        read = [self._read(group, known[key]) for group, key in zip(groups, keys, strict=True)]
        places = [place for place, summary in enumerate(read) if self.repair and summary.repairable]

        def repaired(number: int) -> Request:
            place = places[number]
            return self._repair(groups[place], known[keys[place]], read[place])

        repair_keys = [repaired(number).key for number in range(len(places))]
        again = self._outcomes(repair_keys, repaired, "repairs") if places else {}
        for place, key in zip(places, repair_keys, strict=True):
            read[place] = self._read(groups[place], again[key]).after(read[place])
        return iter(read)

    def _first(self, group: Group) -> Request:
        # made anew each time it is needed: a shard's prompts are many times its captions
        return first_request(self.prompt, self.sampling, group)

    def _repair(self, group: Group, outcome: Outcome, summary: Summary) -> Request:
        content = outcome.content if isinstance(outcome, Response) else ""
        return self._first(group).repaired(content, summary.reason or "")

    def _outcomes(self, keys: Sequence[str], request: Callable[[int], Request], what: str) -> Known:
        """The outcome of each request, of which equal ones are sent once."""
        known: Known = dict(self.store.find(set(keys)))
        missing = {key: place for place, key in enumerate(keys) if key not in known}
        _log.info("%s: %s replies are kept, %s requests to send", what, f"{len(known):,}", f"{len(missing):,}")
        told = Progress(len(missing), what)

        def receive(sent: Request, outcome: Outcome) -> None:
            known[sent.key] = outcome
            told.step()

        if missing:
            self.send((request(place) for place in missing.values()), receive)
            told.end()
        return known

    def _read(self, group: Group, outcome: Outcome) -> Summary:
        return self.judge(group, read_outcome(outcome, len(group.captions), self.prompt.rules))


def first_request(prompt: Prompt, sampling: Sampling, group: Group) -> Request:
    """What a group is asked about at first."""
    message = {"role": "user", "content": prompt.render(group.captions)}
    return Request(sampling, (message,), prompt.rules.json_schema)


def read_outcome(outcome: Outcome, members: int, rules: Rules) -> Summary:
    """The summary in a reply to a prompt of `members` captions, or why there is none."""
    if isinstance(outcome, Failure):
        return dropped(outcome.code, outcome.detail)
    tokens = (outcome.prompt_tokens, outcome.completion_tokens)
    if outcome.refusal:
        return dropped("refusal", shown(outcome.refusal), tokens)
    if outcome.finish_reason == "content_filter":
        return dropped("refusal", "the server's content filter", tokens)
    if outcome.finish_reason == "length":
        return dropped("cut-off", "the answer reached max_tokens", tokens, repairable=True)
    try:
        answer = parse_answer(outcome.content, members, rules)
    except BadAnswer as error:
        return dropped(error.code, error.detail, tokens, repairable=True)
    return Summary(answer.summary, answer.places, None, *tokens)


Asked = tuple[Sampling, Send]


def answer(groups: Sequence[Group], prompt: Prompt, config: SummariesConfig, results: Path) -> Iterator[Summary]:
    """One summary a group, in the order of `groups`; `results` is the run's folder, for its spending."""
    judge = Judge(config.quality)
    if config.provider == "merge":
        limits = Limits(max_words=prompt.rules.max_words, **config.merge.model_dump())
        yield from progress((judge(group, _merged(group, limits)) for group in groups), len(groups), "summaries")
        return
    model, store = getattr(config, config.section).model, ResponseCache(Path(config.store))
    with store.writer(run=results.name, provider=config.provider, model=model) as segment:
        asked = _asked_here if config.provider == "transformers" else _asked_there
        with asked(config, store, segment, results) as (sampling, send):
            yield from Asking(prompt, sampling, config.repair, judge, store, send).summaries(groups)


def model_name(config: SummariesConfig) -> str:
    """What the table calls the provider's model."""
    return "merge" if config.provider == "merge" else getattr(config, config.section).model


@contextmanager
def _asked_there(config: SummariesConfig, store: ResponseCache, segment: CacheWriter, results: Path) -> Iterator[Asked]:
    """By a server."""
    from icsd.llm import (
        batch,  # late: the merger does not pay for the client's import
        batch_records,
        client,
    )
    from icsd.llm.openai_api import Endpoint

    asked = config.openai
    endpoint = Endpoint(
        asked.base_url, asked.api_key_env, asked.timeout_s, asked.retries, asked.concurrency, asked.structured_output
    )
    prices = Prices(asked.prompt_usd_per_million, asked.completion_usd_per_million)
    with Purse(Budget(results / "budget", config.budget_usd)) as purse:

        def send(requests: Iterable[Request], receive: Receive) -> None:
            if config.provider == "openai-batch":
                accounts = batch_records.Accounts(prices, purse, store, segment, results.name)
                batch.ask(requests, endpoint, config.batch, accounts, receive)
            else:
                client.ask(requests, endpoint, prices, purse, segment, receive)

        yield Sampling(asked.model, asked.temperature, asked.max_tokens), send


@contextmanager
def _asked_here(config: SummariesConfig, store: ResponseCache, segment: CacheWriter, results: Path) -> Iterator[Asked]:
    """By a model in this process."""
    from icsd.llm.local import LocalModel, ask  # late: the other providers do not pay for torch's import

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
