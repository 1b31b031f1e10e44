import inspect
import random
import subprocess
import sys

import pytest
from shared_data import SHARED, needs

from icsd.merger import Limits, merge
from icsd.merger import words as closed_classes
from icsd.merger.reading import understand
from icsd.merger.tagging import tag

COCO = "coco_val2017_captions.parquet"
LIMITS = Limits()


def _sentence(*captions: str, limits: Limits = LIMITS) -> str:
    merged = merge(captions, limits)
    assert merged is not None
    return merged.sentence


def _selected(*captions: str) -> tuple[int, ...]:
    merged = merge(captions, LIMITS)
    assert merged is not None
    return merged.selected


def test_captions_in_the_sentence_are_selected_before_those_that_only_agree() -> None:
    merged = merge(["a red ball"] * 12 + ["a house"], LIMITS)
    assert merged is not None and merged.sentence == "A red ball and a house."
    assert merged.selected == (*range(9), 12)


# --- From a caption to a phrase ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("caption", "phrase"),
    [
        ("A man is riding a wave.", "a man riding a wave"),
        ("A man rides a wave.", "a man riding a wave"),
        ("Two men ride a wave", "two men riding a wave"),
        ("A man sits and eats a sandwich.", "a man sitting and eating a sandwich"),
        ("A cat and a dog sit on a couch", "a cat and a dog sitting on a couch"),
        ("A group of people are walking in the rain", "a group of people walking in the rain"),
        ("there is a yellow star in the sky", "a yellow star in the sky"),
        ("In the meadow there is a big house.", "a big house in the meadow"),
        ("In the park, a dog runs", "a dog running in the park"),
        ("A picture of a bus next to a tree", "a bus next to a tree"),
        ("a red ball can be seen on the beach", "a red ball on the beach"),
        ("A bathroom has a white toilet.", "a bathroom with a white toilet"),
        ("THIS IS A DOG", "a dog"),
        ("A row of motor bikes parked outside", "a row of motor bikes parked outside"),
        ("The sky is blue", "the sky is blue"),
    ],
)
def test_caption_becomes_a_phrase(caption: str, phrase: str) -> None:
    reading = understand(tag(caption))
    assert reading is not None
    assert reading.text() == phrase


def test_tags_tell_nouns_from_verbs() -> None:
    assert tag("A red and white bus is parked near the living room of two tall men").tags == "DACANVPDNNFQAN"


# --- Agreement --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A red ball on the grass", "A blue ball next to a tree"),
        ("A small dog near a fence", "A large dog with a stick"),
        ("Two dogs near a fence", "Three dogs with a stick"),
        ("A dog near a fence", "Several dogs with a stick"),
        ("A black and white cat on a chair", "An orange cat near a lamp"),
        ("A man flying a kite on the beach", "A pot on the stove in a kitchen"),
        ("A street at night", "A bench on a sunny day"),
        ("A dog outdoors", "A lamp indoors"),
        ("A toilet next to a sink", "A bus near a truck"),
        ("A man holding an umbrella", "A woman reading a book"),
        ("A cat sleeping on a couch", "A dog sleeping on a couch"),
        ("A man standing near a fence", "A man sitting near a fence"),
        ("A cat on a table", "A cat under a table"),
        ("A cat on a table", "A cat on a chair"),
        ("A ball above a box", "A ball below a box"),
        ("A table with food", "A table with no plates"),
        ("A tennis player on a court", "A baseball player on a court"),
        ("An open umbrella", "A closed umbrella near a door"),
    ],
)
def test_contradicting_captions_are_not_merged(first: str, second: str) -> None:
    assert _selected(first, second) == (0,)


@pytest.mark.parametrize(
    ("captions", "sentence"),
    [
        (
            ("a red ball on the beach", "a small dog near the water"),
            "A red ball on the beach and a small dog near the water.",
        ),
        (("A man riding a wave", "A man on a yellow surfboard"), "A man riding a wave on a yellow surfboard."),
        (("a ball on the grass", "there is a red ball on the grass"), "A red ball on the grass."),
        (
            ("a red ball on the beach", "on the beach there is a green kite"),
            "A red ball on the beach and a green kite.",
        ),
        (
            ("a red ball on the sand", "a big house with a red ball to the left of it"),
            "A red ball on the sand and a big house with the red ball to the left of it.",
        ),
        (("A person holding a bat", "a man wearing a red hat"), "A person holding a bat."),
        (("a man holding a bat", "a person wearing a red hat"), "A man holding a bat and wearing a red hat."),
        (
            ("a small blue car next to a green tree", "a yellow star in the sky", "a boy with a dog"),
            "A small blue car next to a green tree, a yellow star in the sky, and a boy with a dog.",
        ),
    ],
)
def test_agreeing_captions_make_one_natural_sentence(captions: tuple[str, ...], sentence: str) -> None:
    assert _sentence(*captions) == sentence


# --- Selection: all that a selected caption says stands in the sentence -----------------------------------------------
def test_selected_captions_are_covered_by_the_sentence() -> None:
    captions = (
        "a red ball next to a tall tree",
        "there is a red ball next to a tall tree",
        "a ball",
        "a ball next to a tree",
        "a green ball",
        "a ball on a car",
        "two balls",
        "a small red ball",
        "a red tree next to a ball",
    )
    merged = merge(captions, LIMITS)
    assert merged is not None
    assert merged.sentence == "A small red ball next to a tall tree."
    assert merged.selected == (0, 1, 2, 3, 7)


@pytest.mark.parametrize(
    ("sentence", "claim"),
    [
        ("a boy next to a dog on a couch", "a boy on a couch"),
        ("a man running with a dog", "a dog running"),
        ("a house to the left of a tree", "a tree to the left of a house"),
        ("a man in a red car", "a man in a red hat"),
        ("a man in a blue car", "a blue man"),
        ("dogs in a field", "two dogs in a field"),
        ("a dog near a cat", "a dog chasing a cat"),
    ],
)
def test_caption_that_claims_more_is_not_selected(sentence: str, claim: str) -> None:
    assert _selected(sentence, claim) == (0,) or claim.split()[-1] in _sentence(sentence, claim)
    assert merge((sentence, claim), Limits(max_phrases=1)).selected == (0,)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "claim", ["a person riding a bike", "a man on a bicycle riding", "people", "a man", "a man riding down a street"]
)
def test_broader_and_equal_words_are_covered(claim: str) -> None:
    covered = (0,) if claim == "people" else (0, 1)
    assert merge(("a man riding a bicycle down a street", claim), Limits(max_phrases=1)).selected in (covered, (0,))  # type: ignore[union-attr]
    assert merge(("a man riding a bike", "a person riding a bicycle"), Limits(max_phrases=1)).selected == (0, 1)  # type: ignore[union-attr]


def test_at_most_ten_captions_are_selected() -> None:
    assert _selected(*["A dog on a couch."] * 30) == tuple(range(10))


# --- Limits and bad input ---------------------------------------------------------------------------------------------
def test_sentence_stays_within_the_words_and_things_allowed() -> None:
    captions = [f"a {noun} near the water" for noun in ("dog", "cup", "lamp", "hat", "drum", "vase", "fork")]
    assert _sentence(*captions).count(" near the water") == LIMITS.max_phrases
    assert len(_sentence(*captions, limits=Limits(max_words=9)).split()) <= 9
    assert _sentence(*captions, limits=Limits(max_objects=1)) == "A dog near the water."
    assert merge(["a dog near the water"], Limits(max_words=3)) is None
    assert merge(["one two three four five six", "a dog"], Limits(max_words=3)).selected == (1,)  # type: ignore[union-attr]


@pytest.mark.parametrize("captions", [[""], ["..."], ["  \n"], ["?!"], ["of"], ["is"], ["and, or"]])
def test_captions_that_name_nothing_give_no_sentence(captions: list[str]) -> None:
    assert merge(captions, LIMITS) is None


@pytest.mark.parametrize(
    "caption",
    [
        "Ein Hund läuft über die Wiese.",
        "狗在草地上",
        "<b>dog</b> & 'cat' {{ x }}",
        "a " * 200,
        "dog's",
        "A, B, C, D",
        "\x00dog",
    ],
)
def test_any_text_is_taken_without_an_error(caption: str) -> None:
    merge([caption, "A dog on the grass", caption], LIMITS)


# --- Properties on made-up captions -----------------------------------------------------------------------------------
def _made_up(rng: random.Random) -> list[str]:
    nouns = "dog cat man woman ball car tree cup table boat kite horse people children bus".split()
    colours = ["red ", "blue ", "black and white ", "", ""]
    places = ["on the beach", "in a kitchen", "on the grass", ""]
    links = ["next to", "on", "under", "with", "riding", "holding", "is near", "and"]
    pairs = [rng.sample(nouns, 2) for _ in range(30)]
    return [
        f"a {rng.choice(['small ', 'big ', ''])}{rng.choice(colours)}{first} {rng.choice(links)} "
        f"a {rng.choice(colours)}{second} {rng.choice(places)}"
        for first, second in pairs
    ]


@pytest.mark.parametrize("seed", range(60))
def test_merge_keeps_its_limits_and_one_colour_a_noun(seed: int) -> None:
    captions = _made_up(random.Random(seed))
    limits = Limits(max_words=12 + seed % 39)
    merged = merge(captions, limits)
    assert merged is not None
    assert len(merged.sentence.split()) <= limits.max_words
    assert 1 <= len(merged.selected) <= limits.max_selected
    assert list(merged.selected) == sorted(set(merged.selected)) and set(merged.selected) <= set(range(30))
    _assert_one_colour_a_noun(merged.sentence)
    for position in merged.selected:
        missing = set(captions[position].split()) - set(merged.sentence.lower().replace(",", "").rstrip(".").split())
        assert missing <= {"a", "is", "and", "on", "the", "in", "with", "next", "to", "near"}, captions[position]


def _assert_one_colour_a_noun(sentence: str) -> None:
    reading = understand(tag(sentence))
    assert reading is not None
    for one in reading.mentions:
        for two in reading.mentions:
            if one.noun == two.noun and {"colour"} <= one.kinds.keys() & two.kinds.keys():
                assert one.kinds["colour"] == two.kinds["colour"], sentence


def test_merge_is_the_same_in_another_process() -> None:
    captions = _made_up(random.Random(7))
    code = f"from icsd.merger import merge, Limits; print(merge({captions!r}, Limits()))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in (1, 2)
    }  # fmt: skip
    assert runs == {str(merge(captions, LIMITS))}


def test_merger_knows_nothing_of_the_picture_book() -> None:
    source = "".join(inspect.getsource(sys.modules[name]) for name in sys.modules if name.startswith("icsd.merger"))
    assert "merge" in source and "picturebook" not in source
    assert not {"ghost", "phantom", "balloon", "cottage", "sailboat"} & closed_classes.SYNONYMS.keys()


# --- Real captions ----------------------------------------------------------------------------------------------------
@needs(COCO)
def test_real_captions_are_merged_within_the_limits() -> None:
    import pyarrow.parquet as pq

    captions = sorted(pq.read_table(SHARED / COCO, columns=["caption"])["caption"].to_pylist())
    words, dropped = [], 0
    for start in range(0, len(captions) - 30, 400):
        merged = merge(captions[start : start + 30], LIMITS)  # neighbours by alphabet begin alike
        if merged is None:
            dropped += 1
            continue
        assert 1 <= len(merged.selected) <= LIMITS.max_selected
        words.append(len(merged.sentence.split()))
        _assert_one_colour_a_noun(merged.sentence)
    assert max(words) <= LIMITS.max_words
    assert dropped <= len(words) // 10
    assert sum(words) / len(words) > 9
