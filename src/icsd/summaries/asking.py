"""From groups to summaries by a chat model, whatever the provider.

What the store has is not asked again; what cannot be used is asked for once more.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from icsd.logs import Progress
from icsd.summaries.answers import BadAnswer, Rules, parse_answer, shown
from icsd.summaries.judge import Judge
from icsd.summaries.prompts import Prompt
from icsd.summaries.records import Group, Summary, dropped
from icsd.summaries.replies import Replies
from icsd.summaries.requests import Failure, Outcome, Reply, Request, Sampling

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
    store: Replies
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
        content = outcome.content if isinstance(outcome, Reply) else ""
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
