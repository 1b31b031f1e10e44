"""Pairs of images and captions as columns."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from icsd.config.arms import Arm
from icsd.core import lists, tables

AT_ONCE = 1 << 20  # rows whose texts are in memory


@dataclass(frozen=True)
class Pairs:
    """n pairs: of each the place of its image in `images`, ids that differ, and the id of its caption, int64 [n]."""

    images: pa.Array
    image: NDArray[np.int64]
    caption: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)

    @property
    def image_ids(self) -> pa.Array:
        """The id of the image of each pair."""
        return self.images.take(pa.array(self.image))

    @property
    def names(self) -> pa.Array:
        """The ids of the pairs in the ledger."""
        return pc.binary_join_element_wise(self.image_ids, pa.array(self.caption).cast(pa.string()), "/")

    def where(self, chosen: NDArray[np.bool_]) -> "Pairs":
        """The pairs for which `chosen` [n] is true."""
        return Pairs(self.images, self.image[chosen], self.caption[chosen])

    def with_more(self, other: "Pairs") -> "Pairs":
        """These pairs, then others of the same images."""
        image, caption = np.concatenate([self.image, other.image]), np.concatenate([self.caption, other.caption])
        return Pairs(self.images, image, caption)

    def of(self, images: pa.Array) -> "Pairs":
        """The pairs of these images, in their order."""
        place = pc.index_in(self.images, value_set=images).fill_null(-1).to_numpy().astype(np.int64)[self.image]
        order = np.argsort(place, kind="stable")[int((place < 0).sum()) :]
        return Pairs(images, place[order], self.caption[order])

    def by_ids(self) -> NDArray[np.int64]:
        """The places of the pairs in the order of image and caption ids."""
        rank = np.empty(len(self.images), np.int64)
        rank[pc.array_sort_indices(self.images).to_numpy()] = np.arange(len(self.images))
        return np.lexsort((self.caption, rank[self.image]))


def pairs_of_sentences(arm: Arm, sentences: pa.Table) -> Pairs:
    """The captions that go with each image of these SENTENCES, each once."""
    own, anchors = sentences["caption_ids"].combine_chunks(), sentences["group_id"].combine_chunks()
    image, caption = lists.limited(own, anchors, arm.captions)
    return Pairs(sentences["image_id"].combine_chunks(), image, caption)


def rows_of_pairs(
    pairs: Pairs, texts: pa.ChunkedArray, text: NDArray[np.int64], weights: NDArray[np.float32] | None
) -> Iterator[pa.Table]:
    """Yield the rows of PAIRS in the order of ids; `text` [n] is the place of each pair's caption in `texts`."""
    order = pairs.by_ids()
    for start in range(0, len(order), AT_ONCE):
        some = order[start : start + AT_ONCE]
        columns = [
            pairs.images.take(pa.array(pairs.image[some])),
            pa.array(pairs.caption[some]),
            texts.take(pa.array(text[some])),
            pa.nulls(len(some), pa.float32()) if weights is None else pa.array(weights[some]),
        ]
        yield pa.Table.from_arrays(columns, schema=tables.PAIRS.schema)
