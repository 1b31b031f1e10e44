"""Who answers: the provider that summaries.provider names."""

from collections.abc import Iterator, Sequence

from icsd.config import SummariesConfig
from icsd.summaries.merge import Limits, merge
from icsd.summaries.prompts import Prompt
from icsd.summaries.records import Group, Summary, dropped


def answer(groups: Sequence[Group], prompt: Prompt, config: SummariesConfig) -> Iterator[Summary]:
    """One summary a group, in the order of `groups`."""
    if config.provider == "merge":
        limits = Limits(max_words=config.max_words, **config.merge.model_dump())
        return (_merged(group, limits) for group in groups)
    from icsd.summaries.endpoint import Endpoint, ask  # late: the merger does not pay for the client's import

    return ask(groups, prompt, Endpoint(**config.openai.model_dump()))


def model_name(config: SummariesConfig) -> str:
    """What the table calls the provider's model."""
    return "merge" if config.provider == "merge" else config.openai.model


def _merged(group: Group, limits: Limits) -> Summary:
    merged = merge(group.captions, limits)
    if merged is None:
        return dropped("nothing-to-merge", f"no caption names a thing in at most {limits.max_words} words")
    return Summary(merged.sentence, merged.selected)
