"""What the merger leaves out: texts that describe no scene, grammar that it does not know, scenes that differ."""

from pathlib import Path

import pytest

from icsd.merger import Limits, merge, why_nothing
from icsd.merger.markers import description_problem
from icsd.merger.reading import read_description, understand
from icsd.merger.tagging import tag

NO_SCENES = Path(__file__).parents[2] / "data" / "no_scenes.tsv"  # made up: titles, news, advice, first person, credits
LIMITS = Limits()


def _lines() -> list[str]:
    return [line.split("\t")[1] for line in NO_SCENES.read_text().splitlines()]


# --- Texts that describe no scene -------------------------------------------------------------------------------------
def test_titles_news_advice_and_credits_are_not_selected() -> None:
    lines = _lines()
    assert len(lines) == 150
    assert [line for line in lines if read_description(line) is not None] == []
    merged = merge([*lines[::6], "a red ball on the beach"], LIMITS)
    assert merged is not None and merged.sentence == "A red ball on the beach." and merged.selected == (25,)


def test_most_lines_written_after_the_rules_are_left_out() -> None:
    lines = NO_SCENES.with_name("no_scenes_later.txt").read_text().splitlines()
    assert len(lines) == 40
    assert len([line for line in lines if read_description(line) is not None]) <= 5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("I love this picture of my dog", "first or second person"),
        ("You should always wear a helmet", "first or second person"),
        ("The president said that talks continue", "news"),
        ("The Art of the Perfect Sandwich", "advice"),
        ("The Long Way Home", "a title"),
        ("Stock photo of a man", "title or credit"),
        ("a street in 1962", "a year"),
        ("10 dogs", "a list"),
        ("A dog. A cat is there", "more than one sentence"),
        ('a sign that reads "stop"', "marks that the merger would lose"),
        ("A man riding a wave.", None),
        ("A man in a New York Yankees cap", None),
        ("A MAN ON A BENCH", None),
    ],
)
def test_signs_of_no_description_are_named(text: str, problem: str | None) -> None:
    assert description_problem(text) == problem


def test_dropped_group_says_what_its_captions_are() -> None:
    captions = ["We went home", "How to tie a scarf", "The team won", "a dog a cat"]
    assert merge(captions, LIMITS) is None
    assert why_nothing(captions, LIMITS) == (
        "no caption describes a scene in words that the merger understands: "
        "2 a grammar that the merger does not know, 1 first or second person, 1 advice"
    )
    assert why_nothing(["a small dog on a couch"], Limits(max_words=3)) == (
        "no caption that describes a scene has at most 3 words"
    )


# --- Grammar ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "caption",
    [
        "A maple leaves on the ground",
        "Two birds perch on a branch",
        "People on the beach look at a plane",
        "A man in white talks to a group of men",
        "A doll heads on a table",
        "The sky is blue",
        "A man who is riding a wave",
        "A man riding a bike while he smiles",
        "The team scored a goal",
        "A young female dancing",
        "Dog on table",
        "A two dogs on a bench",
        "Three dog on a bench",
        "A great idea for a cake",
        "A stove over under a microwave",
        "A man holding",
        "A cat or a dog on a couch",
        "A sign in and urban street",
        "Ein Hund läuft über die Wiese.",
    ],
)
def test_grammar_in_doubt_is_left_out(caption: str) -> None:
    assert read_description(caption) is None


@pytest.mark.parametrize(
    "caption",
    [
        "A group of people with umbrellas on a road",
        "A man and a woman sitting on a bench, eating a sandwich",
        "Two dogs playing with a ball in the grass",
        "A white plate topped with a slice of pizza",
        "A red and white bus parked next to a tall building",
        "A man taking a picture while standing on a boat",
        "indoors there is a black cup",
        "A dog with a stick in its mouth",
    ],
)
def test_plain_descriptions_are_understood(caption: str) -> None:
    assert read_description(caption) is not None


@pytest.mark.parametrize(
    ("caption", "phrase"),
    [
        ("There 's a woman 's hat on a table", "a woman's hat on a table"),
        ("the boys' hats on a bench", "the boys' hats on a bench"),
        ("a dog’s toy", "a dog's toy"),
        ("A orange cat", "an orange cat"),
        ("a man near an SUV", "a man near an SUV"),
    ],
)
def test_apostrophes_are_kept_and_articles_right(caption: str, phrase: str) -> None:
    reading = understand(tag(caption))
    assert reading is not None and reading.text() == phrase


# --- One scene --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Two skiers moving along a trail", "several people on skis on the mountain"),
        ("A man riding a wave", "a surfer on a surfboard in the sea"),
        ("A plate of food on a table", "a meal with a fork"),
        ("A kitchen with a stove", "a room with a sink"),
        ("A man riding a skateboard up a ramp", "a man down the sidewalk"),
        ("A toilet in a bathroom", "a toilet in a restroom stall"),
        ("A bike parked on a street", "a person riding the bike on a street"),
        ("A boy wearing a black t-shirt", "a boy in the red shirt"),
        ("A cat on a lawn chair", "a cat on top of a car tire"),
        ("A woman playing volleyball", "a woman looking at a balloon"),
        ("A man flying a kite", "a man holding a skateboard"),
        ("The backend of a car", "an old traffic signal sitting on a table"),
        ("A dog looking out of a window", "a cat with its paw on it"),
    ],
)
def test_what_may_be_another_scene_or_the_same_thing_is_left_out(first: str, second: str) -> None:
    merged = merge((first, second), LIMITS)
    assert merged is not None and merged.selected == (0,)


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ("A dog on the beach", "a man flying a kite on the beach",
         "A dog on the beach and a man flying a kite."),
        ("A woman sitting on a sofa", "a woman wearing a red hat", "A woman sitting on a sofa and wearing a red hat."),
        ("A woman sitting on a bench", "a woman in a red hat", "A woman in a red hat sitting on a bench."),
        ("A horse eating grass", "a woman standing next to a horse",
         "A horse eating grass and a woman standing next to the horse."),
    ],
)  # fmt: skip
def test_what_is_surely_one_scene_is_joined(first: str, second: str, sentence: str) -> None:
    merged = merge((first, second), LIMITS)
    assert merged is not None and merged.sentence == sentence and merged.selected == (0, 1)
