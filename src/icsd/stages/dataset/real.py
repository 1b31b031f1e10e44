"""The dataset of the arm real: photographs with the captions that people gave them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from icsd.core import tables
from icsd.core.id_columns import corpus_image_ids, real_image_ids
from icsd.stages.dataset.building import all_but_first, check_same, write_dataset
from icsd.stages.dataset.pairs import Pairs
from icsd.stages.dataset.steps import Step, whole


def build_real_dataset(pictures: Path, captions: Path, pairs: Path, ledger: Path, share: float = 1.0) -> None:
    """Write the PAIRS of the real pictures, each with all its captions, and the LEDGER, from that of `pictures`.

    A `share` of them is used, at least one, in an order of their ids that is the same for every share. InputError if
    no pair is left.
    """
    read = tables.read(pictures, tables.LEDGER, columns=["item_id", "reason"]).sort_by("item_id").combine_chunks()
    items, reasons = whole(read["item_id"]), whole(read["reason"])
    rows = tables.read(captions, tables.CAPTIONS).combine_chunks()
    described = real_image_ids(whole(rows["image_id"]))
    known = pc.is_in(described, value_set=items.filter(reasons.is_null()))
    check_same(captions, "pictures", described.filter(pc.invert(known)), described.slice(0, 0))
    bare = pc.invert(pc.is_in(items, value_set=described))
    reasons = pc.if_else(pc.equal(reasons.fill_null(""), ""), pc.if_else(bare, "has no caption", None), reasons)
    steps = [Step("pictures", items, reasons)]
    if share < 1:
        steps.append(_part(steps[-1].kept, share))
    images = steps[-1].kept
    places = pc.index_in(described, value_set=images)
    used = np.asarray(places.is_valid())
    found = Pairs(images, np.asarray(places.drop_null()).astype(np.int64), np.asarray(rows["caption_id"])[used])
    write_dataset("real", steps, found, None, captions, pairs, ledger, source=captions)


def _part(images: pa.Array, share: float) -> Step:
    """Keep the first images of the drawing order."""
    count = max(1, round(share * len(images)))
    reason = f"not among the first {count:,} of dataset.real_share={share:g}"
    return Step("share", images, all_but_first(corpus_image_ids(images), count, reason))
