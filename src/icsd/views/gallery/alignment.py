"""The scores of the pictures that the gallery shows, and what the scores did to their pairs, from a run's tables."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from icsd.config.arms import captions_with_anchor
from icsd.core.id_columns import first_candidate_ids
from icsd.core.ids import first_candidate_id
from icsd.views.run import Run

Row = Mapping[str, Any]
ADDED = "added, since this picture shows it better than its own (alignment.rematch)"


@dataclass(frozen=True)
class AlignmentRows:
    """What is known of pictures by their ids: scores of sentences and of captions, and the fate of pairs.

    `notes` has the reason of each pair that was dropped, or that it was added; `added` the texts of added captions;
    `unused` the pictures that no arm uses, as it uses another candidate.
    """

    sentences: Mapping[str, float] = field(default_factory=dict)
    captions: Mapping[tuple[str, int], float] = field(default_factory=dict)
    notes: Mapping[tuple[str, int], str] = field(default_factory=dict)
    added: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    unused: Set[str] = frozenset()


def read_alignment(run: Run, arm: str, arms: Sequence[str], shown: Sequence[Row]) -> AlignmentRows:
    """Read what the tables say of the pictures of these SENTENCES of `arm`; `arms` are those that have them."""
    if not run.aligned:
        return AlignmentRows()
    own = {row["image_id"]: set(captions_with_anchor(row)) for row in shown}
    sentences, captions = dict[str, float](), dict[tuple[str, int], float]()
    for row in run.alignment(arm).select(own).to_pylist():
        if row["caption_id"] is None:
            sentences[row["image_id"]] = row["score"]
        else:
            captions[row["image_id"], row["caption_id"]] = row["score"]
    notes: dict[tuple[str, int], list[str]] = defaultdict(list)
    added: dict[str, dict[int, str]] = defaultdict(dict)
    used = set[str]()
    for each in arms:
        name = f"{each}: " if len(arms) > 1 else ""
        ledger = run.ledger(each).rows()
        for pair, reason in _dropped_pairs(ledger, own):
            notes[pair].append(f"{name}dropped, {reason}")
        for row in run.pairs(each).select(own, key="image_id").to_pylist():
            if row["caption_id"] not in own[row["image_id"]]:
                added[row["image_id"]][row["caption_id"]] = row["caption"]
                notes[row["image_id"], row["caption_id"]].append(f"{name}{ADDED}")
        used |= _used(ledger, own)
    if added:
        found = run.matches(arm).select(added, key="image_id").to_pylist()
        captions |= {(row["image_id"], row["caption_id"]): row["score"] for row in found}
    firsts = {first_candidate_id(each) for each in used}
    unused = {each for each in own if each not in used and first_candidate_id(each) in firsts}
    return AlignmentRows(sentences, captions, {pair: "; ".join(of) for pair, of in notes.items()}, added, unused)


def _dropped_pairs(ledger: pa.Table, image_ids: Iterable[str]) -> list[tuple[tuple[str, int], str]]:
    """The pairs of these pictures that were dropped, with their reasons."""
    rows = ledger.filter(pc.and_(pc.equal(ledger["stage"], "pairs"), pc.invert(ledger["kept"])))
    images = pc.replace_substring_regex(rows["item_id"], "/.*", "")
    found = rows.filter(pc.is_in(images, value_set=pa.array(image_ids, pa.string()))).to_pylist()
    return [(_pair(row["item_id"]), row["reason"] or "no reason") for row in found]


def _pair(item_id: str) -> tuple[str, int]:
    image_id, _, caption_id = item_id.partition("/")
    return image_id, int(caption_id)


def _used(ledger: pa.Table, image_ids: Iterable[str]) -> set[str]:
    """The candidates that are used of the sentences of these images; none where no candidate is chosen yet."""
    rows = ledger.filter(pc.and_(pc.equal(ledger["stage"], "candidates"), ledger["kept"]))
    firsts = first_candidate_ids(pa.array(image_ids, pa.string()))
    return set(rows.filter(pc.is_in(first_candidate_ids(rows["item_id"]), value_set=firsts))["item_id"].to_pylist())
