"""A scene under construction: phrases side by side in one sentence, and whether a caption fits among them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from icsd.merger import words as w
from icsd.merger.inflection import implied, stem
from icsd.merger.mentions import Mention, contradict, covers
from icsd.merger.reading import Reading


@dataclass(frozen=True, slots=True)
class Scene:
    """Phrases of one scene, in the order of the sentence."""

    phrases: tuple[Reading, ...]

    def sentence(self) -> str:
        """The scene as one sentence: "A red ball on the beach, a man flying a kite, and a dog."."""
        texts = [phrase.text() for phrase in self.phrases]
        joined = texts[0] if len(texts) == 1 else _listed(texts)
        return joined[0].upper() + joined[1:] + "."

    def mentions(self) -> Iterator[Mention]:
        """All noun phrases."""
        return (mention for phrase in self.phrases for mention in phrase.mentions)

    def objects(self) -> int:
        """How many different things it names, settings apart."""
        return len({mention.head for mention in self.mentions() if not mention.is_setting})

    def places(self) -> frozenset[str]:
        """The places it names."""
        return frozenset().union(*(phrase.settings.get("place", frozenset()) for phrase in self.phrases))

    def covers(self, caption: Reading) -> bool:
        """Whether all that `caption` says is said by one phrase; its place may be said by any."""
        return any(_phrase_covers(phrase, caption, self) for phrase in self.phrases)

    def contradicts(self, caption: Reading) -> bool:
        """Whether `caption` cannot be true of the same picture, as far as the words tell."""
        return caption.is_negative or any(_phrases_contradict(phrase, caption) for phrase in self.phrases)


def _listed(texts: list[str]) -> str:
    plain = len(texts) == 2 and not any(" and " in text or "," in text for text in texts)
    return " and ".join(texts) if plain else ", ".join(texts[:-1]) + ", and " + texts[-1]


# --- Cover ------------------------------------------------------------------------------------------------------------
def _phrase_covers(phrase: Reading, caption: Reading, scene: Scene) -> bool:
    said = phrase.others.union(*(other.others & w.SIDE_ADVERBS for other in scene.phrases))
    if not (caption.verbs <= phrase.verbs and caption.others <= said):
        return False
    if caption.is_negative and caption.tokens != phrase.tokens:
        return False
    matches = [match for claim in caption.mentions if (match := _match(claim, phrase, scene)) is not None]
    if len(matches) < len(caption.mentions):
        return False
    subject = matches[0]
    if subject.head != phrase.mentions[0].head and caption.verbs:
        return False  # "a dog running" is not said by "a man running with a dog"
    return all(map(_relation_holds, caption.mentions, matches))


def _match(claim: Mention, phrase: Reading, scene: Scene) -> Mention | None:
    """The noun phrase that says what `claim` says."""
    found = next((mention for mention in phrase.mentions if covers(mention, claim)), None)
    if found is None and claim.is_setting and claim.place is not None:
        return next((mention for mention in scene.mentions() if same_place(mention, claim)), None)
    return found


def same_place(mention: Mention, claim: Mention) -> bool:
    """Whether `mention` names the place that `claim` does, in at least as many words."""
    same = mention.place == claim.place
    return same and all(values <= mention.kinds.get(kind, frozenset()) for kind, values in claim.kinds.items())


def _relation_holds(claim: Mention, mention: Mention) -> bool:
    """A caption's "under the table" must be under the table in the phrase, and of the same thing."""
    if claim.relation is None or claim.is_setting and claim.place is not None:
        return True
    return claim.relation == mention.relation and bool(claim.owners & mention.owners)


# --- Contradiction ----------------------------------------------------------------------------------------------------
def _phrases_contradict(phrase: Reading, caption: Reading) -> bool:
    if _settings_differ(phrase, caption) or _things_differ(phrase.mentions, caption.mentions):
        return True
    if same_subject(phrase, caption):
        postures = {phrase.posture, caption.posture}
        return len(postures) == 2 and None not in postures or _elsewhere(phrase, caption)
    return _rivals(phrase, caption) or _other_person(phrase, caption)


def _elsewhere(phrase: Reading, caption: Reading) -> bool:
    """Whether their common subject is on, in or under two different things."""
    subject = phrase.mentions[0].head
    for said in phrase.mentions:
        for claim in caption.mentions:
            alike = said.relation == claim.relation and said.relation is not None
            apart = said.head != claim.head and said.place is None and claim.place is None
            if alike and apart and subject in said.owners and claim.owners & {subject, caption.mentions[0].head}:
                return True
    return False


def _settings_differ(phrase: Reading, caption: Reading) -> bool:
    said = phrase.settings
    return any(axis in said and not (said[axis] & values) for axis, values in caption.settings.items())


def _things_differ(said: Iterable[Mention], claims: tuple[Mention, ...]) -> bool:
    """Whether a noun has another colour, number, size, or stands otherwise to the same neighbour."""
    for mention in said:
        for claim in claims:
            if claim.head == mention.head:
                if contradict(mention, claim):
                    return True
                related = claim.relation and mention.relation and claim.owners & mention.owners
                if related and claim.relation != mention.relation:
                    return True
    return False


def same_subject(phrase: Reading, caption: Reading) -> bool:
    """Whether both are about the same things; "a person" may be "a man"."""
    if phrase.subjects != caption.subjects:
        return False
    pairs = zip(phrase.mentions[: phrase.subjects], caption.mentions[: caption.subjects], strict=True)
    return all(said.head == claim.head or _vague(said, claim) for said, claim in pairs)


def _vague(said: Mention, claim: Mention) -> bool:
    return claim.head in w.VAGUE_PEOPLE and said.head in w.PEOPLE_WORDS and not contradict(said, claim)


def _rivals(phrase: Reading, caption: Reading) -> bool:
    """Whether they say the same of different subjects: "a cat on the sofa", "a dog on the sofa": two pictures."""
    both = (*caption.mentions[: caption.subjects], *phrase.mentions[: phrase.subjects])
    rest = caption.content - {mention.head for mention in both}
    doing = caption.verbs & phrase.verbs - _POSING
    return bool(doing) or bool(rest) and 2 * len(rest & phrase.content) >= len(rest)


_POSING = frozenset(stem(verb) for verb in w.POSING)


def _other_person(phrase: Reading, caption: Reading) -> bool:
    """Whether both have a single person as subject, of a different kind: a man here, a woman there."""
    people = [reading.mentions[0] for reading in (phrase, caption)]
    if people[0].head in implied(people[1].head) or people[1].head in implied(people[0].head):
        return not {person.head for person in people} & w.VAGUE_PEOPLE or people[0].number == people[1].number
    return all(person.head in w.PEOPLE_WORDS for person in people) and (
        people[0].head != people[1].head and (people[0].number == people[1].number or _vague(people[0], people[1]))
    )
