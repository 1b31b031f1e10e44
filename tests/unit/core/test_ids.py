from collections import Counter

import pytest

from icsd.core.ids import (
    candidate_id,
    candidate_number,
    corpus_image_id,
    drawn_image_id,
    first_candidate_id,
    image_number,
    item_seed,
    real_image_id,
    shard_names,
    shard_of,
    shards_of_part,
)


def test_shard_is_the_same_on_every_machine() -> None:
    assert [shard_of(item, 4) for item in (0, 1, 2, 3, 391895, "multi-12")] == [3, 1, 0, 3, 0, 0]
    assert [item_seed(item, 0) for item in ("multi-12", "single-12")] == [3441631219118103976, 526059906247709201]


@pytest.mark.parametrize("shards", [1, 4, 7])
def test_every_shard_gets_a_like_share(shards: int) -> None:
    counts = Counter(shard_of(number, shards) for number in range(7_000))
    assert set(counts) == set(range(shards))
    assert all(abs(count - 7_000 / shards) < 200 for count in counts.values())


def test_a_number_and_its_text_are_of_one_shard() -> None:
    assert shard_of(12, 1_000) == shard_of("12", 1_000)


@pytest.mark.parametrize(("shards", "parts"), [(8, 8), (600, 64), (5, 2), (7, 1)])
def test_each_shard_is_in_one_part_and_parts_are_of_like_size(shards: int, parts: int) -> None:
    names = shard_names(shards)
    divided = [shards_of_part(names, part) for part in shard_names(parts)]
    assert [name for part in divided for name in part] == names
    assert max(map(len, divided)) - min(map(len, divided)) <= 1


def test_shard_names_sort_as_they_count() -> None:
    names = shard_names(1_000)
    assert names[:2] == ["0000-of-1000", "0001-of-1000"]
    assert names == sorted(set(names))


def test_seeds_differ_by_item_and_by_run() -> None:
    seeds = {item_seed(f"multi-{number}", seed) for number in range(500) for seed in range(2)}
    assert len(seeds) == 1_000
    assert min(seeds) >= 0
    assert 2**60 < max(seeds) < 2**62


def test_negative_numbers_are_read_back() -> None:
    image_id = candidate_id(drawn_image_id("multi", -1), 3)
    assert (image_number(image_id), candidate_number(image_id)) == (-1, 3)
    assert first_candidate_id(image_id) == "multi--1"
    assert image_number(real_image_id(-7)) == corpus_image_id("real--7") == -7


def test_a_candidate_has_the_number_of_its_group_and_its_own() -> None:
    for candidate, image_id in enumerate(["multi_head-12", "multi_head-12_1"]):
        assert candidate_id(drawn_image_id("multi_head", 12), candidate) == image_id
        assert (image_number(image_id), candidate_number(image_id)) == (12, candidate)
        assert first_candidate_id(image_id) == "multi_head-12"
