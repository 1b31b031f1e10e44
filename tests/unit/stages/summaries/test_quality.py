import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from shared_data import SHARED, needs

from icsd.core.errors import ModelError
from icsd.merger import Limits, merge
from icsd.models.prompt_tokenizer import count_tokens, token_limit
from icsd.picturebook.splits import WORLD_SEED, captions, split_scenes
from icsd.stages.summaries.quality import Quality, covered, measure, unsupported_words

ROOT = Path(__file__).parents[4]
COCO = "coco_val2017_captions.parquet"
MODEL = str(ROOT / "resources" / "picturebook" / "stable-diffusion")
PLANTED = ("umbrella", "giraffe", "pizza", "laptop", "purple", "seven", "wooden", "sleeping")
GROUP = 30


# --- Unsupported words ------------------------------------------------------------------------------------------------
def test_word_of_no_caption_is_reported_in_order_and_once() -> None:
    summary = "A Clown with a red ball, a blue balloon, and another clown."
    assert unsupported_words(summary, ["a red ball", "a big ball"]) == ["clown", "blue", "balloon"]


@pytest.mark.parametrize(
    ("summary", "caption"),
    [
        ("Two dogs ran.", "2 dog is running"),
        ("A man stands", "men standing"),
        ("a cup held by children", "a child holding a cup"),
        ("He carried it, lying there.", "someone carries, and lies"),
        ("skate boards and a T-shirt", "a skateboard, a tshirt"),
        ("a skateboard and a t shirt", "a skate board, a T-shirt"),
        ("A sofa and a gray bike", "the couch with a grey bicycle"),
        ("A surfer.", "a man surfing"),
        ("A man surfing.", "a man who is a surfer"),
        ("A person with an animal", "a woman and a cat"),
        ("The dog’s paw isn't seen", "paws of a dog"),
    ],
)
def test_forms_and_synonyms_of_a_caption_are_supported(summary: str, caption: str) -> None:
    assert unsupported_words(summary, [caption]) == []


def test_glue_is_not_reported() -> None:
    prose = (
        "In this scene, there is a variety of dogs next to a group of dogs, while the image features a close-up of "
        "several more in the background, and some can't be seen."
    )
    assert unsupported_words(prose, ["a dog"]) == []


@pytest.mark.parametrize(
    ("summary", "caption", "reported"),
    [
        ("A car.", "a carried tray", ["car"]),
        ("A man.", "a person", ["man"]),  # narrower than what the caption says
        ("Three dogs.", "two dogs", ["three"]),
        ("A board.", "a skateboard", ["board"]),
        ("A dog.", "", ["dog"]),
    ],
)
def test_what_no_caption_says_is_reported(summary: str, caption: str, reported: list[str]) -> None:
    assert unsupported_words(summary, [caption]) == reported


# --- Covered captions -------------------------------------------------------------------------------------------------
def test_caption_is_covered_if_all_its_content_words_stand_in_the_summary() -> None:
    selected = ["the red balls", "a person is on the sand", "a blue ball", "a person and a dog", "it is here"]
    assert covered("A red ball on the sand beside a man.", selected) == [0, 1]


def test_measure_gathers_all() -> None:
    quality = measure("A red ball and a kite.", ["a ball", "a dog"], 9)
    assert quality == Quality(words=3, unsupported=("red", "kite"), covered=(0,), image_tokens=9)
    assert measure("", [], None) == Quality(0, (), (), None)


# --- Merged captions: the merger invents nothing ----------------------------------------------------------------------
def _merged(corpus: Sequence[str], step: int) -> list[tuple[str, list[str]]]:
    """Summaries with their selected captions; neighbours by alphabet begin alike."""
    alphabetical = sorted(set(corpus))
    found = []
    for start in range(0, len(alphabetical) - GROUP, step):
        group = alphabetical[start : start + GROUP]
        merged = merge(group, Limits())
        if merged is not None:
            found.append((merged.sentence, [group[place] for place in merged.selected]))
    return found


def _assert_true_of(merged: Sequence[tuple[str, list[str]]]) -> None:
    """Few false alarms, nearly all planted words found, most selected captions covered (not a beach by sand)."""
    assert len(merged) > 50
    reported = [summary for summary, selected in merged if unsupported_words(summary, selected)]
    assert len(reported) < 0.01 * len(merged), reported
    rng = random.Random(0)
    planted = [(*pair, word) for pair in merged if (word := rng.choice(PLANTED)) not in " ".join(pair[1]).lower()]
    found = [word in unsupported_words(f"{summary[:-1]} {word}.", selected) for summary, selected, word in planted]
    assert sum(found) > 0.99 * len(found)
    assert sum(len(covered(*pair)) for pair in merged) > 0.9 * sum(len(selected) for _, selected in merged)


def test_merged_captions_of_the_picture_book_are_supported_and_covered() -> None:
    scenes = split_scenes("text", 600)
    _assert_true_of(_merged([caption for scene in scenes for caption in captions(scene, WORLD_SEED)], step=15))


@needs(COCO)
def test_merged_real_captions_are_supported_and_covered() -> None:
    import pyarrow.parquet as pq

    _assert_true_of(_merged(pq.read_table(SHARED / COCO, columns=["caption"])["caption"].to_pylist(), step=200))


# --- Tokens of the image model ----------------------------------------------------------------------------------------
def test_tokens_are_counted_with_both_marks_and_uncut() -> None:
    limit = token_limit(MODEL)
    assert limit == 64
    assert count_tokens(MODEL, ["a dog", "a red ball", ""]) == [5, 5, 2]  # "dog" is no word of the picture book
    assert count_tokens(MODEL, ["ball " * limit]) == [limit + 2]
    assert count_tokens(MODEL, []) == []


def test_limit_is_that_of_the_model(stable_diffusion_folder: Path) -> None:
    assert token_limit(str(stable_diffusion_folder)) == 24


def test_model_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"quality\.image_model=.*tokenizer holds no tokenizer\.json or vocab\.json"):
        token_limit(str(tmp_path))


def test_tokenizer_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"quality\.image_model=.*no CLIPTokenizer"):
        count_tokens(str(tmp_path), ["a dog"])


def test_tokenizer_without_a_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    vocabulary = Path(MODEL) / "tokenizer" / "tokenizer.json"
    (tmp_path / "tokenizer" / "tokenizer.json").write_bytes(vocabulary.read_bytes())
    with pytest.raises(ModelError, match=r"quality\.image_model=.*model_max_length"):
        token_limit(str(tmp_path))
