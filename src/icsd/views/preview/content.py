"""What a preview shows, in the terminal and on its page."""

from collections.abc import Sequence
from dataclasses import dataclass

from icsd.views.preview.drawing import DrawnPictures
from icsd.views.preview.reckoning import Line
from icsd.views.preview.trying import SampledGroup, TriedPrompt

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class PreviewContent:
    """The sampled groups, each prompt's summaries of them, the whole run reckoned by each, pictures, and notes."""

    run: str
    model: str
    groups: Sequence[SampledGroup]
    tried: Sequence[TriedPrompt]
    reckoned: Sequence[Sequence[Line]]
    notes: Sequence[str]
    drawn: DrawnPictures | None = None

    @property
    def several(self) -> bool:
        """True if prompts stand beside each other."""
        return len(self.tried) > 1


def marks(tried: Sequence[TriedPrompt], number: int, index: int, single: str) -> str:
    """Mark the caption `index` of a group where it is selected: by `single`, or by the letters of several prompts."""
    letters = LETTERS if len(tried) > 1 else single
    return "".join(
        letter for letter, each in zip(letters, tried, strict=False) if index in each.summaries[number].selected
    )
