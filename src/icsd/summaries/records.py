"""A group as the providers see it, and what they make of it."""

from dataclasses import dataclass, replace

from icsd.summaries.quality import Quality


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
    counts them. `repairable`: the model answered, and may do better when told what was wrong. `quality`: of a text that
    was read, though it may be dropped for it.
    """

    text: str | None = None
    places: tuple[int, ...] = ()
    reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    repairable: bool = False
    quality: Quality | None = None

    def after(self, first: "Summary") -> "Summary":
        """This one, with the tokens of the first try added."""
        return replace(
            self,
            prompt_tokens=_sum(self.prompt_tokens, first.prompt_tokens),
            completion_tokens=_sum(self.completion_tokens, first.completion_tokens),
        )


def dropped(
    code: str, detail: str = "", tokens: tuple[int | None, int | None] = (None, None), *, repairable: bool = False
) -> Summary:
    """A group without a summary. Codes are few and stable, so that they can be counted; the detail is for people."""
    return Summary(None, (), f"{code}: {detail}" if detail else code, *tokens, repairable)


def _sum(left: int | None, right: int | None) -> int | None:
    return None if left is None and right is None else (left or 0) + (right or 0)
