"""Ids of columns are those that `core.ids` gives for each item."""

import re

import numpy as np
import pyarrow as pa
import pytest

from icsd.core import id_columns, ids

NUMBERS = [-3, 0, 7, 12, 407, 2**53 - 1]
IDS = [
    ids.candidate_id(ids.drawn_image_id(arm, number), candidate)
    for arm in ("multi", "single_matched")
    for number in NUMBERS
    for candidate in (0, 1, 12)
]


def test_parts_of_image_ids() -> None:
    column = pa.array(IDS)
    assert id_columns.first_candidate_ids(column).to_pylist() == list(map(ids.first_candidate_id, IDS))
    assert id_columns.image_numbers(column).tolist() == list(map(ids.image_number, IDS))
    assert id_columns.candidate_numbers(column).tolist() == list(map(ids.candidate_number, IDS))


@pytest.mark.parametrize("wrong", ["multi", "multi-", "multi-1\n", "a multi-1_", None])
def test_a_text_that_is_no_id_is_named(wrong: str | None) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{wrong!r} is no id of an image")):
        id_columns.image_numbers(pa.chunked_array([["multi-1"], ["multi-2", wrong]], pa.string()))


def test_ids_of_numbers() -> None:
    numbers = pa.array(NUMBERS)
    drawn, real = id_columns.drawn_image_ids("multi", numbers), id_columns.real_image_ids(numbers)
    assert drawn.to_pylist() == [ids.drawn_image_id("multi", number) for number in numbers.to_pylist()]
    assert real.to_pylist() == list(map(ids.real_image_id, numbers.to_pylist()))
    assert id_columns.corpus_image_ids(real).tolist() == numbers.to_pylist()


def test_seeds_and_shards() -> None:
    assert id_columns.item_seeds(IDS, 3).tolist() == [ids.item_seed(each, 3) for each in IDS]
    assert id_columns.shards_of(IDS, 7).tolist() == [ids.shard_of(each, 7) for each in IDS]


def test_the_drawing_order() -> None:
    numbers = np.arange(50)
    places = id_columns.drawing_places(numbers)
    assert numbers[places].tolist() == sorted(numbers.tolist(), key=ids.drawing_order)


@pytest.mark.parametrize("count", [0, 1, id_columns.AT_ONCE + 1])
def test_texts_of_a_column_come_in_their_order(count: int) -> None:
    texts = [str(number) for number in range(count)]
    assert list(id_columns.texts(pa.chunked_array([texts[:5], texts[5:]], pa.string()))) == texts
