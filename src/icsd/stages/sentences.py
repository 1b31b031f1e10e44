"""The sentences that an arm draws: they depend on summaries, captions and the config, not on shards or batches."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from icsd.config.arms import ARMS
from icsd.core import lists, tables
from icsd.core.errors import AGAIN, InputError
from icsd.core.id_columns import (  # fmt: skip
    drawing_places,
    drawn_image_ids,
    first_candidate_ids,
    image_numbers,
    item_seeds,
    shards_of,
    texts,
)

_log = logging.getLogger(__name__)


def select_sentences(
    arm: str,
    summaries: Sequence[Path],
    captions: Path,
    sentences: Path,
    shards: int,
    pictures: int,
    spare: float,
    seed: int,
) -> None:
    """Write the SENTENCES of an arm that draws summaries or captions, each in the shard that the image's id names.

    At most `pictures` summaries are drawn. An arm of captions draws as many of them and a share `spare` more, so that
    as many pictures are left after unsafe ones are dropped.
    """
    if ARMS[arm].sentences == "summaries":
        rows = _of_groups(arm, _usable(summaries, pictures), seed)
    else:
        groups = min(pictures, _count_usable(summaries))
        corpus = _corpus(captions)
        chosen = drawing_places(np.asarray(corpus["caption_id"]))[: math.ceil(groups * (1 + spare))]
        rows = _of_captions(arm, corpus.take(pa.array(chosen)), seed)
    _write_sentences(arm, rows, sentences, shards)


def select_anchor_captions(
    arm: str, groups: Path, captions: Path, sentences: Path, shards: int, pictures: int, seed: int
) -> None:
    """Write the SENTENCES of an arm that draws the anchor captions of GROUPS, at most `pictures` of them."""
    rows = tables.read(groups, tables.GROUPS, columns=["group_id", "caption_ids"])
    rows = rows.take(pa.array(drawing_places(np.asarray(rows["group_id"]))[:pictures])).combine_chunks()
    anchors, corpus = rows["group_id"].combine_chunks(), _corpus(captions)
    places = pc.index_in(anchors, value_set=corpus["caption_id"])
    if places.null_count:
        missing = anchors.filter(places.is_null())[0]
        raise InputError(groups, f"group_id {missing}", f"its anchor is not in {captions}", AGAIN)
    found = _sentences(arm, anchors, corpus["caption"].take(places), _captions_of(arm, rows), seed, groups=anchors)
    _write_sentences(arm, found, sentences, shards)


def _captions_of(arm: str, groups: pa.Table) -> pa.ListArray:
    """The captions that go with the picture of each group."""
    own, anchors = groups["caption_ids"].combine_chunks(), groups["group_id"].combine_chunks()
    row, caption = lists.limited(own, anchors, ARMS[arm].captions)
    return lists.to_column(row, caption, len(groups))


@dataclass(frozen=True)
class Drawn:
    """The tables of an arm's candidates: their SENTENCES, those of the first ones at the front, ALIGNMENT and SAFETY.

    `alignment` and `safety` may be empty where no score decides.
    """

    sentences: Sequence[Path]
    alignment: Sequence[Path] = ()
    safety: Sequence[Path] = ()


def select_matched_sentences(
    arm: str, method: Path | Drawn, captions: Path, sentences: Path, shards: int, seed: int
) -> None:
    """Write the SENTENCES of an arm that draws each different caption of the method's pairs by itself.

    `method` is the method's PAIRS. Where scores drop some of these it is what the method has drawn: the captions of its
    safe images are those of its pairs before any is dropped, whatever the thresholds.
    """
    if isinstance(method, Drawn):
        paired = _captions_of_safe(method)
    else:
        paired = tables.read(method, tables.PAIRS, columns=["caption_id"])["caption_id"]
    corpus = _corpus(captions)
    chosen = corpus.filter(pc.is_in(corpus["caption_id"], value_set=paired))
    _write_sentences(arm, _of_captions(arm, chosen, seed), sentences, shards)


def _captions_of_safe(drawn: Drawn) -> pa.ChunkedArray:
    rows = tables.concat(drawn.sentences, tables.SENTENCES, columns=["image_id", "caption_ids"])
    return pc.list_flatten(rows.filter(pc.is_in(rows["image_id"], value_set=_safe(drawn)))["caption_ids"])


@dataclass(frozen=True)
class Candidates:
    """Which sentences get one more candidate, candidate `number`, from 1.

    With `redraw_below` only sentences get one whose captions no earlier, safe candidate shows with that mean score. No
    further one is drawn once the arm has drawn `max_images`, first candidates included.
    """

    number: int
    redraw_below: float | None
    max_images: int | None


def select_candidates(drawn: Drawn, selected: Path, shards: int, seed: int, which: Candidates) -> None:
    """Write the SENTENCES of which a further candidate is drawn, each with a seed of its own.

    Where `max_images` leaves room for a part, those without a safe candidate and the lowest scores come first.
    """
    rows = tables.read(drawn.sentences[0], tables.SENTENCES).combine_chunks()
    best = _best_means(rows, drawn)
    if which.redraw_below is not None:
        low = best < which.redraw_below
        rows, best = rows.filter(pa.array(low)).combine_chunks(), best[low]
    order = drawing_places(image_numbers(rows["image_id"].combine_chunks()))
    order = order[np.argsort(best[order], kind="stable")]
    if which.max_images is not None:
        already = sum(tables.count(path, tables.SENTENCES) for path in drawn.sentences)
        order = order[: max(0, which.max_images - already)]
    found = _candidates(rows.take(pa.array(order)), which.number, seed)
    _write_sentences(f"candidate {which.number}", found, selected, shards)


def _best_means(rows: pa.Table, drawn: Drawn) -> NDArray[np.float64]:
    """The highest mean score of the captions over the safe candidates of each sentence, rounded; -inf without one."""
    best = np.full(len(rows), -np.inf)
    if not drawn.alignment:
        return best
    scored = tables.concat(drawn.alignment, tables.ALIGNMENT)
    scored = scored.filter(
        pc.and_(scored["caption_id"].is_valid(), pc.is_in(scored["image_id"], value_set=_safe(drawn)))
    )
    place = pc.index_in(first_candidate_ids(scored["image_id"]), value_set=rows["image_id"].combine_chunks())
    row, caption = np.asarray(place.fill_null(-1)).astype(np.int64), np.asarray(scored["caption_id"])
    own = _is_own(row, caption, *lists.flat(rows["caption_ids"].combine_chunks()))
    image = np.asarray(scored["image_id"].combine_chunks().dictionary_encode().indices)[own]
    row, score = row[own], np.asarray(scored["score"])[own].astype(np.float64)
    order = np.argsort(image, kind="stable")
    starts = np.flatnonzero(np.diff(image[order], prepend=-1))
    for values in np.split(order, starts[1:]) if len(order) else ():
        mean = round(math.fsum(score[values]) / len(values), 6)
        best[row[values[0]]] = max(best[row[values[0]]], mean)
    return best


def _is_own(
    row: NDArray[np.int64], caption: NDArray[np.int64], own_row: NDArray[np.int64], own_caption: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """True for each pair of a row and a caption that is among those of `own_row` and `own_caption`."""
    captions = np.unique(own_caption)
    place = np.searchsorted(captions, caption)
    known = (row >= 0) & np.isin(caption, captions)
    keys = own_row * len(captions) + np.searchsorted(captions, own_caption)
    return known & np.isin(row * len(captions) + place, keys)


def _safe(drawn: Drawn) -> pa.ChunkedArray:
    """The ids of the safe images."""
    rows = tables.concat(drawn.safety, tables.SAFETY, ["image_id", "verdict"])
    return rows.filter(pc.equal(rows["verdict"], "safe"))["image_id"]


def _candidates(rows: pa.Table, number: int, seed: int) -> pa.Table:
    """The rows with the ids and seeds of candidate `number`, from 1: see `ids.candidate_id`."""
    image_ids = pc.binary_join_element_wise(rows["image_id"], str(number), "_")
    columns = {name: rows[name] for name in rows.column_names}
    return pa.table(columns | {"image_id": image_ids, "seed": item_seeds(texts(image_ids), seed)})


def _usable(summaries: Sequence[Path], pictures: int) -> pa.Table:
    """The first `pictures` usable SUMMARIES, in an order that does not depend on their content."""
    columns = ["group_id", "summary", "selected", "status", "prompt_hash"]
    rows = tables.concat(summaries, tables.SUMMARIES, columns)
    rows = rows.filter(pc.equal(rows["status"], "ok"))
    return rows.take(pa.array(drawing_places(np.asarray(rows["group_id"]))[:pictures]))


def _count_usable(summaries: Sequence[Path]) -> int:
    status = tables.concat(summaries, tables.SUMMARIES, ["status"])["status"]
    return pc.sum(pc.equal(status, "ok")).as_py() or 0


def _corpus(captions: Path) -> pa.Table:
    return tables.read(captions, tables.CAPTIONS, columns=["caption_id", "caption"])


def _write_sentences(arm: str, rows: pa.Table, sentences: Path, shards: int) -> None:
    _log.info("%s: %s sentences to draw", arm, f"{len(rows):,}")
    tables.write_batches(sentences, tables.SENTENCES, _by_shard(rows, shards))


def _by_shard(rows: pa.Table, shards: int) -> Iterator[pa.Table]:
    """Yield the rows of each shard, in their order."""
    shard = shards_of(texts(rows["image_id"]), shards)
    order = np.argsort(shard, kind="stable")
    for some in np.split(order, np.searchsorted(shard[order], np.arange(1, shards))):
        yield rows.take(pa.array(some))


def _of_groups(arm: str, groups: pa.Table, seed: int) -> pa.Table:
    """The SENTENCES of usable SUMMARIES."""
    ids, selected = groups["group_id"], groups["selected"]
    return _sentences(arm, ids, groups["summary"], selected, seed, groups=ids, hashes=groups["prompt_hash"])


def _of_captions(arm: str, rows: pa.Table, seed: int) -> pa.Table:
    """The SENTENCES of CAPTIONS that are drawn by themselves."""
    own = lists.to_column(np.arange(len(rows)), np.asarray(rows["caption_id"]), len(rows))
    return _sentences(arm, rows["caption_id"], rows["caption"], own, seed)


def _sentences(
    arm: str,
    numbers: pa.ChunkedArray | pa.Array,
    written: pa.ChunkedArray,
    captions: pa.ChunkedArray | pa.Array,
    seed: int,
    groups: pa.ChunkedArray | pa.Array | None = None,
    hashes: pa.ChunkedArray | None = None,
) -> pa.Table:
    image_ids = drawn_image_ids(arm, numbers)
    columns = {
        "image_id": image_ids,
        "arm": pa.repeat(pa.scalar(arm), len(numbers)),
        "sentence": written,
        "group_id": pa.nulls(len(numbers), tables.ID) if groups is None else groups,
        "caption_ids": captions,
        "seed": item_seeds(texts(image_ids), seed),
        "prompt_hash": pa.nulls(len(numbers), tables.TEXT) if hashes is None else hashes,
    }
    return pa.table(columns)
