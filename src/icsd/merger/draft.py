"""The draft of a merged sentence: the phrases of one scene, which cover a caption or contradict it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from icsd.merger import words as w
from icsd.merger.inflection import implied, stem
from icsd.merger.mentions import Mention, contradict, covers
from icsd.merger.reading import Reading


@dataclass(frozen=True, slots=True)
class Draft:
    """The phrases of one scene, in the order of the sentence."""

    phrases: tuple[Reading, ...]

    def sentence(self) -> str:
        """Return the phrases as one sentence: "A red ball on the beach, a man flying a kite, and a dog."."""
        texts = [phrase.text() for phrase in self.phrases]
        joined = texts[0] if len(texts) == 1 else _join_phrases(texts)
        return joined[0].upper() + joined[1:] + "."

    def mentions(self) -> Iterator[Mention]:
        """Yield the noun phrases of all phrases."""
        return (mention for phrase in self.phrases for mention in phrase.mentions)

    def objects(self) -> int:
        """Count the different things that the draft names, without settings."""
        return len({mention.noun for mention in self.mentions() if not mention.is_setting})

    def places(self) -> frozenset[str]:
        """Return the places that the draft names."""
        return frozenset().union(*(phrase.settings.get("place", frozenset()) for phrase in self.phrases))

    def covers(self, caption: Reading) -> bool:
        """Tell whether one phrase says all that `caption` says. Its place may be named by any phrase."""
        return any(_phrase_covers(phrase, caption, self) for phrase in self.phrases)

    def contradicts(self, caption: Reading) -> bool:
        """Tell whether `caption` cannot be true of the same picture, as far as the words tell."""
        return caption.is_negative or any(_phrases_contradict(phrase, caption) for phrase in self.phrases)


def _join_phrases(texts: list[str]) -> str:
    plain = len(texts) == 2 and not any(" and " in text or "," in text for text in texts)
    return " and ".join(texts) if plain else ", ".join(texts[:-1]) + ", and " + texts[-1]


# --- Cover ------------------------------------------------------------------------------------------------------------
def _phrase_covers(phrase: Reading, caption: Reading, draft: Draft) -> bool:
    adverbs = phrase.others.union(*(other.others & w.SIDE_ADVERBS for other in draft.phrases))
    if not (caption.verbs <= phrase.verbs and caption.others <= adverbs):
        return False
    if caption.is_negative and caption.tokens != phrase.tokens:
        return False
    matches = [match for claim in caption.mentions if (match := _match(claim, phrase, draft)) is not None]
    if len(matches) < len(caption.mentions):
        return False
    subject = matches[0]
    if subject.noun != phrase.mentions[0].noun and caption.verbs:
        return False  # "a dog running" is not said by "a man running with a dog"
    return all(map(_relation_holds, caption.mentions, matches))


def _match(claim: Mention, phrase: Reading, draft: Draft) -> Mention | None:
    """Return the noun phrase that says all that `claim` says."""
    found = next((mention for mention in phrase.mentions if covers(mention, claim)), None)
    if found is None and claim.is_setting and claim.place is not None:
        return next((mention for mention in draft.mentions() if same_place(mention, claim)), None)
    return found


def same_place(mention: Mention, claim: Mention) -> bool:
    """Tell whether `mention` names the place of `claim`, with at least its adjectives."""
    same = mention.place == claim.place
    return same and all(values <= mention.kinds.get(kind, frozenset()) for kind, values in claim.kinds.items())


def _relation_holds(claim: Mention, mention: Mention) -> bool:
    """Tell whether `mention` has the relation of `claim` to the same noun: "a cat under the table"."""
    if claim.relation is None or claim.is_setting and claim.place is not None:
        return True
    return claim.relation == mention.relation and bool(claim.related & mention.related)


# --- Contradiction ----------------------------------------------------------------------------------------------------
def _phrases_contradict(phrase: Reading, caption: Reading) -> bool:
    if _settings_differ(phrase, caption) or _things_differ(phrase.mentions, caption.mentions):
        return True
    if same_subject(phrase, caption):
        postures = {phrase.posture, caption.posture}
        return len(postures) == 2 and None not in postures or _is_elsewhere(phrase, caption)
    return _say_the_same(phrase, caption) or _are_different_people(phrase, caption)


def _is_elsewhere(phrase: Reading, caption: Reading) -> bool:
    """Tell whether the common subject is on, in or under two different things."""
    subject = phrase.mentions[0].noun
    for mention in phrase.mentions:
        for claim in caption.mentions:
            alike = mention.relation == claim.relation and mention.relation is not None
            apart = mention.noun != claim.noun and mention.place is None and claim.place is None
            if alike and apart and subject in mention.related and claim.related & {subject, caption.mentions[0].noun}:
                return True
    return False


def _settings_differ(phrase: Reading, caption: Reading) -> bool:
    named = phrase.settings
    return any(axis in named and not (named[axis] & values) for axis, values in caption.settings.items())


def _things_differ(mentions: Iterable[Mention], claims: tuple[Mention, ...]) -> bool:
    """Tell whether a noun has another colour, number or size, or another relation to the same noun."""
    for mention in mentions:
        for claim in claims:
            if claim.noun == mention.noun:
                if contradict(mention, claim):
                    return True
                related = claim.relation and mention.relation and claim.related & mention.related
                if related and claim.relation != mention.relation:
                    return True
    return False


def same_subject(phrase: Reading, caption: Reading) -> bool:
    """Tell whether both have the same subjects. "A person" in the caption may be "a man" in the phrase."""
    if phrase.subjects != caption.subjects:
        return False
    pairs = zip(phrase.mentions[: phrase.subjects], caption.mentions[: caption.subjects], strict=True)
    return all(mention.noun == claim.noun or _may_be_same_person(mention, claim) for mention, claim in pairs)


def _may_be_same_person(mention: Mention, claim: Mention) -> bool:
    """Tell whether a vague word for a person, such as "someone", may mean the person of `mention`."""
    return claim.noun in w.VAGUE_PEOPLE and mention.noun in w.PEOPLE_WORDS and not contradict(mention, claim)


def _say_the_same(phrase: Reading, caption: Reading) -> bool:
    """Tell whether both say the same of different subjects, as "a cat on the sofa" and "a dog on the sofa" do."""
    both = (*caption.mentions[: caption.subjects], *phrase.mentions[: phrase.subjects])
    rest = caption.content - {mention.noun for mention in both}
    doing = caption.verbs & phrase.verbs - _POSING
    return bool(doing) or bool(rest) and 2 * len(rest & phrase.content) >= len(rest)


_POSING = frozenset(stem(verb) for verb in w.POSING)


def _are_different_people(phrase: Reading, caption: Reading) -> bool:
    """Tell whether the subjects are two different people in the same number: a man and a woman."""
    people = [reading.mentions[0] for reading in (phrase, caption)]
    if people[0].noun in implied(people[1].noun) or people[1].noun in implied(people[0].noun):
        return not {person.noun for person in people} & w.VAGUE_PEOPLE or people[0].number == people[1].number
    return all(person.noun in w.PEOPLE_WORDS for person in people) and (
        people[0].noun != people[1].noun
        and (people[0].number == people[1].number or _may_be_same_person(people[0], people[1]))
    )
