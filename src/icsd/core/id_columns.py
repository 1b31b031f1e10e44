"""Ids of whole columns: what `core.ids` gives for one item, for all items of a table at once."""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from icsd.core.ids import IMAGE_ID, SEED_BITS, no_image_id

AT_ONCE = 8192  # items that are Python's objects at a time


def drawn_image_ids(arm: str, numbers: pa.Array) -> pa.Array:
    """The ids of the images that the arm draws from the groups or captions with these numbers."""
    return pc.binary_join_element_wise(arm, numbers.cast(pa.string()), "-")


def first_candidate_ids(image_ids: pa.Array) -> pa.Array:
    """The ids of the first candidates for the sentences that these images were drawn from."""
    return _part(image_ids, "first")


def image_numbers(image_ids: pa.Array) -> NDArray[np.int64]:
    """The numbers in the ids: of groups, captions, or photographs in the corpus."""
    return _whole(_part(image_ids, "number"))


def candidate_numbers(image_ids: pa.Array) -> NDArray[np.int64]:
    """The numbers of the images among the candidates for their sentences, from 0."""
    further = _part(image_ids, "candidate")
    return _whole(pc.if_else(pc.equal(further, ""), "0", further))


def _part(image_ids: pa.Array, name: str) -> pa.Array:
    """The named group of IMAGE_ID in each id; ValueError, naming the first that is no id."""
    parts = pc.extract_regex(image_ids, f"^{IMAGE_ID}$")
    if parts.null_count:
        raise no_image_id(image_ids[pc.index(parts.is_null(), True).as_py()].as_py())
    return pc.struct_field(parts, name)


def real_image_ids(image_ids: pa.Array) -> pa.Array:
    """The ids that photographs of the corpus have in the IMAGES tables."""
    return drawn_image_ids("real", image_ids)


def corpus_image_ids(image_ids: pa.Array) -> NDArray[np.int64]:
    """The ids that the corpus gave to the photographs with these ids in the IMAGES tables."""
    return _whole(pc.replace_substring(image_ids, "real-", "", max_replacements=1))


def _whole(texts: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(texts.cast(pa.int64()))


def drawing_places(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of groups or captions in the order of `ids.drawing_order`: the first one's, the second one's, …"""
    seeds = item_seeds((f"order of {number}" for number in numbers.tolist()), 0)
    return np.lexsort((numbers, seeds))


def item_seeds(item_ids: Iterable[str], seed: int) -> NDArray[np.int64]:
    """The seed of each item in a run with the seed `seed`."""
    return (_hashes(f"seed {seed} of {each}" for each in item_ids) >> np.uint64(64 - SEED_BITS)).astype(np.int64)


def shards_of(item_ids: Iterable[int | str], shards: int) -> NDArray[np.int64]:
    """The number of the shard, from 0, of each item."""
    return (_hashes(f"shard of {each}" for each in item_ids) % np.uint64(shards)).astype(np.int64)


def texts(column: pa.Array | pa.ChunkedArray) -> Iterator[str]:
    """Yield the texts of a column; some are in memory at a time."""
    for start in range(0, len(column), AT_ONCE):
        yield from column.slice(start, AT_ONCE).to_pylist()


def _hashes(items: Iterable[str]) -> NDArray[np.uint64]:
    digests = (hashlib.blake2b(item.encode(), digest_size=8).digest() for item in items)
    return np.fromiter((int.from_bytes(digest, "big") for digest in digests), np.uint64)
