"""A group as the providers see it, and what they make of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """A group's captions, the head first, then by falling similarity."""

    group_id: int
    caption_ids: tuple[int, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a provider answered: `reason` is None, or says why there is no usable summary ("code: detail").

    `places` are those of the selected captions in the group, 0-based and ascending. Tokens are None where nothing
    counts them.
    """

    text: str | None = None
    places: tuple[int, ...] = ()
    reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def dropped(code: str, detail: str = "", tokens: tuple[int | None, int | None] = (None, None)) -> Summary:
    """A group without a summary. Codes are few and stable, so that they can be counted; the detail is for people."""
    return Summary(None, (), f"{code}: {detail}" if detail else code, *tokens)
