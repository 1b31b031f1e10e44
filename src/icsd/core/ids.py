"""Ids of items and images. An item's shard, seed and drawing order follow from its id, whatever the order of work.

The seed also depends on the seed of the run, the shard on the number of shards.
"""

import hashlib
import re
from collections.abc import Sequence

# an arm has no hyphen, so that of a negative number is its own; in the syntax that re and Arrow's RE2 share
IMAGE_ID = r"(?P<first>[^-]*-(?P<number>-?[0-9]+))(?:_(?P<candidate>[0-9]+))?"
_IMAGE_ID = re.compile(IMAGE_ID)
SEED_BITS = 62  # a seed fits an int64 column and every generator's seed


def shard_of(item_id: int | str, shards: int) -> int:
    """The shard, 0 to shards - 1, of an item; the same on every machine."""
    return _hash(f"shard of {item_id}") % shards


def shard_names(shards: int) -> list[str]:
    """The names of all shards in order: 0000-of-0004, 0001-of-0004, …"""
    return [f"{number:04d}-of-{shards:04d}" for number in range(shards)]


def shard_number(name: str) -> tuple[int, int]:
    """The number of a shard, from 0, and of all shards: 0001-of-0004 gives 1 and 4."""
    number, _, shards = name.partition("-of-")
    return int(number), int(shards)


def shards_of_part(shards: Sequence[str], part: str) -> Sequence[str]:
    """The shards of a part such as 0001-of-0004: neighbours, and each in one part."""
    number, parts = shard_number(part)
    return shards[number * len(shards) // parts : (number + 1) * len(shards) // parts]


def item_seed(item_id: str, seed: int) -> int:
    """The seed of an item in a run with the seed `seed`, 0 to 2^62 - 1."""
    return _hash(f"seed {seed} of {item_id}") >> (64 - SEED_BITS)


def drawing_order(number: int) -> tuple[int, int]:
    """The sort key by which groups and captions are chosen for drawing; it does not depend on their text.

    It is the same for both, so that the captions of `single` are the anchors of the groups of `multi`, if usable.
    """
    return seeded_order(number, 0)


def seeded_order(number: int, seed: int) -> tuple[int, int]:
    """The sort key of a random order of numbers, another one for each seed; that of seed 0 is the drawing order."""
    return item_seed(f"order of {number}", seed), number


def drawn_image_id(arm: str, number: int) -> str:
    """The id of an image that the arm draws from the group or the caption with this number."""
    return f"{arm}-{number}"


def candidate_id(first: str, candidate: int) -> str:
    """The id of a candidate for the sentence whose `first` one, number 0, has an id like images without candidates."""
    return f"{first}_{candidate}" if candidate else first


def image_number(image_id: str) -> int:
    """The number in an image's id, after the arm: of its group, its caption, or its photograph in the corpus."""
    return int(_parts(image_id)["number"])


def first_candidate_id(image_id: str) -> str:
    """The id of the first candidate for the sentence that this image was drawn from."""
    return _parts(image_id)["first"]


def candidate_number(image_id: str) -> int:
    """The number of an image among the candidates for its sentence, from 0."""
    return int(_parts(image_id)["candidate"] or 0)


def _parts(image_id: str) -> re.Match[str]:
    if found := _IMAGE_ID.fullmatch(image_id):
        return found
    raise no_image_id(image_id)


def no_image_id(text: str | None) -> ValueError:
    """The error of a text that is no image's id."""
    return ValueError(f"{text!r} is no id of an image, such as multi-12 or multi--12_3")


def real_image_id(image_id: int) -> str:
    """The id that a photograph of the corpus has in the IMAGES tables."""
    return f"real-{image_id}"


def corpus_image_id(image_id: str) -> int:
    """The id that the corpus gave to the photograph with this id in the IMAGES tables."""
    return int(image_id.removeprefix("real-"))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
