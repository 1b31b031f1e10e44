"""The arms of the comparison, as data: a new arm is an entry of ARMS and its test.

An arm whose sentences come from elsewhere than summaries, groups, captions or pairs needs a new value of
`Arm.sentences`, also in `uses_groups`, `uses_summaries` and `needs`. Four more places branch on that value: the choice
in `stages.sentences` with its rule in rules/images.smk, the possible images and the reason of those not drawn in
`stages.dataset.building`, and the number of images in `views.estimate.counts`. An image's id is the arm and the number
of its group or caption (`core.ids.drawn_image_id`): an arm that draws a caption twice needs another id for the second
image, which `core.ids.image_number` must read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

METHOD = "multi"  # the arm that the others are compared with


@dataclass(frozen=True)
class Arm:
    """An arm: what is drawn for it, and which captions go with each picture.

    Its pictures are its own, drawn from `sentences`; or those of the arm `pictures`; or photographs of the corpus.
    `sentences` are the "summaries" of groups; or the anchor captions of "groups"; or "captions" of the corpus, as many
    as summaries are drawn; or each caption of the method's "pairs", before scores drop any. `captions` limits the
    captions that go with one picture, the group's anchor first; None: all that its sentence came from. A `balanced` arm
    has as many pictures as the method.
    """

    name: str
    about: str
    sentences: Literal["summaries", "groups", "captions", "pairs"] | None = None
    pictures: str | None = None
    captions: int | None = None
    balanced: bool = False
    photographs: bool = False

    @property
    def drawn_by(self) -> "Arm":
        """The arm whose pictures these are."""
        return ARMS[self.pictures] if self.pictures else self

    @property
    def uses_groups(self) -> bool:
        """True if its pictures depend on groups."""
        return self.uses_summaries or self.drawn_by.sentences == "groups"

    @property
    def uses_summaries(self) -> bool:
        """True if its pictures depend on the summaries of groups."""
        return self.drawn_by.sentences in ("summaries", "pairs")

    @property
    def needs(self) -> set[str]:
        """The other arms without whose tables it cannot be made."""
        needed = {self.drawn_by.name} | ({METHOD} if self.balanced or self.sentences == "pairs" else set())
        return needed - {self.name}


def captions_with_anchor(sentence: Mapping[str, Any]) -> list[int]:
    """The captions of a row of SENTENCES, its group's anchor first, which need not be among those selected."""
    anchor = [] if sentence["group_id"] is None else [sentence["group_id"]]
    return list(dict.fromkeys([*anchor, *sentence["caption_ids"]]))


ARMS = {
    arm.name: arm
    for arm in (
        Arm(
            "multi",
            "Pictures drawn from sentences that each put several captions together, with each of those captions.",
            sentences="summaries",
        ),
        Arm(
            "single",
            "Pictures drawn from one caption each, with that caption; as many as the arm multi has.",
            sentences="captions",
            balanced=True,
        ),
        Arm(
            "single_matched",
            "A picture drawn from each caption that the arm multi uses, with that caption.",
            sentences="pairs",
        ),
        Arm(
            "multi_head",
            "The pictures of the arm multi, drawn from sentences of several captions, with one caption each.",
            pictures="multi",
            captions=1,
        ),
        Arm(
            "neighbors",
            "Pictures drawn from the anchor caption of each group, with it and its four nearest captions: without LLM.",
            sentences="groups",
            captions=5,
        ),
        Arm("real", "Photographs with the captions that people gave them.", photographs=True),
    )
}

# the config's type of an arm: its names, for messages and for the schema
if TYPE_CHECKING:
    ArmName = str
else:
    ArmName = Literal[tuple(ARMS)]


def drawn_arms(arms: Iterable[str]) -> list[str]:
    """The arms that pictures are drawn for in a run of these `arms`, which may need those of others."""
    found, new = set[str](), set(arms)
    while new:
        found |= new
        new = {needed for name in new for needed in ARMS[name].needs} - found
    return [name for name, arm in ARMS.items() if name in found and arm.sentences]


def arms_with_pictures_of(name: str) -> list[str]:
    """The arms that have the pictures of the arm `name`: itself, and those that share them."""
    return [name, *(arm.name for arm in ARMS.values() if arm.pictures == name)]


def drawing_names(arm: str, candidates: int) -> list[str]:
    """The names of an arm's drawings: the first candidates of its sentences, and each number of further candidates.

    They are paths, as its images, verdicts and scores have them below their stage's folder: multi, multi/candidate-1.
    """
    return [arm, *(f"{arm}/candidate-{number}" for number in range(1, candidates))]
