"""Providers of summaries, chosen by summaries.provider: a server, a model in this process or the merger.

An unusable answer is requested once more here.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from icsd.config import OpenAIConfig, SummariesConfig
from icsd.core.languages import ENGLISH
from icsd.core.lock import locked
from icsd.core.logs import Progress, progress
from icsd.llm.budget import Budget, Prices, Reservation
from icsd.llm.cache import CacheWriter, ResponseCache
from icsd.llm.request import Outcome, Receive, Request, Response, Sampling
from icsd.merger import Limits, merge, why_nothing
from icsd.stages.summaries.answers import read_outcome
from icsd.stages.summaries.prompts import Prompt
from icsd.stages.summaries.quality import Group, QualityFilter, Summary, dropped

_log = logging.getLogger(__name__)
Send = Callable[[Iterable[Request], Receive], None]
Model = tuple[Sampling, Send]


def summarize(
    groups: Sequence[Group], prompt: Prompt, config: SummariesConfig, results: Path, language: str = ENGLISH
) -> Iterator[Summary]:
    """Yield one summary for each group, in order; `results` is the run's folder, which has its budget."""
    quality_filter = QualityFilter(config.quality, language)
    if config.provider == "merge":
        limits = Limits(max_words=prompt.rules.max_words, **config.merge.model_dump())
        merged = (quality_filter(group, _merged(group, limits)) for group in groups)
        yield from progress(merged, len(groups), "summaries")
        return
    cache = ResponseCache(Path(config.store))
    with cache.writer(run=results.name, provider=config.provider, model=model_name(config)) as segment:
        opened = _local_model if config.provider == "transformers" else _served_model
        with opened(config, cache, segment, results) as (sampling, send):
            requester = _SummaryRequester(prompt, sampling, config, quality_filter, cache, send)
            yield from requester.summaries(groups)


def model_name(config: SummariesConfig) -> str:
    """The name of the provider's model in the table."""
    return "merge" if config.provider == "merge" else getattr(config, config.section).model


def endpoint_sampling(settings: OpenAIConfig) -> Sampling:
    """The sampling of a model behind an endpoint."""
    return Sampling(
        settings.model,
        settings.temperature,
        settings.max_tokens,
        settings.max_reasoning_tokens,
        settings.reasoning_effort,
    )


def first_request(prompt: Prompt, sampling: Sampling, group: Group, *, bounded: bool = False) -> Request:
    """The request of a group, before any repair; with the prompt's schema, or with one `bounded` by the group."""
    message, rules = {"role": "user", "content": prompt.render(group.captions)}, prompt.rules
    schema = rules.bounded_schema(len(group.captions)) if bounded else rules.json_schema
    return Request(sampling, (message,), schema)


@dataclass(frozen=True)
class _SummaryRequester:
    """Requests the summaries of groups: those that the cache lacks, and a repair of each unusable answer."""

    prompt: Prompt
    sampling: Sampling
    config: SummariesConfig
    quality_filter: QualityFilter
    cache: ResponseCache
    send: Send

    def summaries(self, groups: Sequence[Group]) -> Iterator[Summary]:
        """One summary for each group, in order."""
        keys = [self._first(group).key for group in groups]
        outcomes = self._outcomes(keys, lambda index: self._first(groups[index]), "summaries")
        summaries = [self._read(group, outcomes[key]) for group, key in zip(groups, keys, strict=True)]
        unusable = [index for index, summary in enumerate(summaries) if self.config.repair and summary.repairable]

        def repair(number: int) -> Request:
            index = unusable[number]
            return self._repair(groups[index], outcomes[keys[index]], summaries[index])

        repair_keys = [repair(number).key for number in range(len(unusable))]
        repaired = self._outcomes(repair_keys, repair, "repairs") if unusable else {}
        for index, key in zip(unusable, repair_keys, strict=True):
            summaries[index] = self._read(groups[index], repaired[key]).after(summaries[index])
        return iter(summaries)

    def _first(self, group: Group) -> Request:
        # rendered each time it is needed: the prompts of a shard are many times its captions
        return first_request(self.prompt, self.sampling, group, bounded=self.config.bounded)

    def _repair(self, group: Group, outcome: Outcome, summary: Summary) -> Request:
        content = outcome.content if isinstance(outcome, Response) else ""
        return self._first(group).repaired(content, summary.reason or "")

    def _outcomes(self, keys: Sequence[str], request: Callable[[int], Request], what: str) -> dict[str, Outcome]:
        """The outcome of each request by key; equal requests are sent once."""
        # of two runs that share the cache, the jobs of equal shards wait for each other
        with locked(self.cache.folder / _hash(keys)):
            outcomes: dict[str, Outcome] = dict(self.cache.find(set(keys)))
            missing = {key: index for index, key in enumerate(keys) if key not in outcomes}
            _log.info(
                "%s: %s responses are cached, %s requests to send", what, f"{len(outcomes):,}", f"{len(missing):,}"
            )
            sending = Progress(len(missing), what)

            def receive(sent: Request, outcome: Outcome) -> None:
                outcomes[sent.key] = outcome
                sending.step()

            if missing:
                self.send((request(index) for index in missing.values()), receive)
                sending.end()
        return outcomes

    def _read(self, group: Group, outcome: Outcome) -> Summary:
        rules, accepted = self.prompt.rules, self.config.answers
        language = self.quality_filter.language
        return self.quality_filter(group, read_outcome(outcome, len(group.captions), rules, accepted, language))


def _hash(keys: Iterable[str]) -> str:
    return hashlib.sha256("".join(sorted(set(keys))).encode()).hexdigest()[:32]


@contextmanager
def _served_model(
    config: SummariesConfig, cache: ResponseCache, segment: CacheWriter, results: Path
) -> Iterator[Model]:
    """A model behind OpenAI's API."""
    from icsd.llm import client  # late: the merger does not pay for the import of openai
    from icsd.llm.batch import requester
    from icsd.llm.batch.ledger import BatchLedger
    from icsd.llm.endpoint import Endpoint

    settings = config.openai
    endpoint = Endpoint(
        settings.base_url,
        settings.api_key_env,
        settings.timeout_s,
        settings.retries,
        settings.concurrency,
        settings.structured_output,
        limit_name=settings.token_parameter,
    )
    hidden = settings.max_hidden_tokens
    prices = Prices(settings.prompt_usd_per_million, settings.completion_usd_per_million, hidden)
    with Reservation(Budget(results / "budget", config.budget_usd)) as reservation:

        def send(requests: Iterable[Request], receive: Receive) -> None:
            if config.provider == "openai-batch":
                ledger = BatchLedger(prices, reservation, cache, segment, results.name)
                requester.complete_requests(requests, endpoint, config.batch, ledger, receive)
            else:
                client.complete_requests(requests, endpoint, prices, reservation, segment, receive)

        yield endpoint_sampling(settings), send


@contextmanager
def _local_model(config: SummariesConfig, cache: ResponseCache, segment: CacheWriter, results: Path) -> Iterator[Model]:
    """A model in this process."""
    from icsd.llm.local import LocalModel, complete_requests  # late: other providers do not pay for torch's import

    settings = config.transformers
    model = LocalModel(settings.model, settings.constrained)

    def send(requests: Iterable[Request], receive: Receive) -> None:
        complete_requests(requests, model, settings.batch_size, segment, receive)

    yield Sampling(model.digest, settings.temperature or 0.0, settings.max_tokens), send


def _merged(group: Group, limits: Limits) -> Summary:
    merged = merge(group.captions, limits)
    if merged is None:
        return dropped("nothing-to-merge", why_nothing(group.captions, limits))
    return Summary(merged.sentence, merged.selected)
