"""Images: which sentences an arm draws, and a picture of each.

sentences   what to draw
drawing     a shard's pictures: those that are kept, and the rest drawn
kept        the store of pictures, shared by runs

An arm's pictures depend on its sentences, the ids and the settings alone: neither on shards nor on batches.
"""

from icsd.images.drawing import Drawing, generate_images, load_generator
from icsd.images.kept import KeptPictures
from icsd.images.sentences import select_matched_sentences, select_sentences

__all__ = [
    "Drawing", "KeptPictures", "generate_images", "load_generator", "select_matched_sentences", "select_sentences",
]  # fmt: skip
