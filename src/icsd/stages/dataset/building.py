"""The tables of an arm to its training pairs, step by step; a ledger has all kept and dropped items with reasons."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from icsd.config import AlignmentConfig
from icsd.config.arms import ARMS, METHOD, Arm
from icsd.core import tables
from icsd.core.errors import AGAIN, InputError, check_drop_share
from icsd.core.id_columns import drawing_places, drawn_image_ids, first_candidate_ids, image_numbers
from icsd.stages.dataset.alignment import (  # fmt: skip
    Floats,
    Scores,
    losing_candidates,
    low_pairs,
    read_scores,
    score_limits,
    unshown_sentences,
    weights,
)
from icsd.stages.dataset.pairs import Pairs, pairs_of_sentences, rows_of_pairs
from icsd.stages.dataset.rematch import Matching, matched_pairs, unmatched
from icsd.stages.dataset.steps import Step, or_no_reason, scattered, whole

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrawnTables:
    """The tables that the dataset of an arm with drawn pictures is made of.

    `summaries` or `groups` tell which images were possible. `sentences` has a file for each number of candidates.
    `alignment` are the scores of pairs, `matches` those of captions with their nearest images; both may be empty.
    `balance` is the PAIRS of the method, or its LEDGER where scores drop some of these: for an arm that is to have as
    many pictures.
    """

    captions: Path
    summaries: Sequence[Path]
    sentences: Sequence[Path]
    images: Sequence[Path]
    safety: Sequence[Path]
    alignment: Sequence[Path] = ()
    matches: Sequence[Path] = ()
    groups: Path | None = None
    balance: Path | None = None


def build_dataset(
    arm: str, paths: DrawnTables, pairs: Path, ledger: Path, max_drop_share: float, settings: AlignmentConfig
) -> None:
    """Write the PAIRS of an arm with drawn pictures, by image and caption id, and its LEDGER.

    `settings` tell which pairs the scores drop, add and weigh. TooManyDroppedError if the checks drop a larger share of
    the pictures than `max_drop_share`. InputError if no pair is left, or if the tables do not belong together.
    """
    sentences = tables.concat(paths.sentences, tables.SENTENCES, ["image_id", "group_id", "caption_ids"])
    drawn = pairs_of_sentences(ARMS[arm], sentences)
    scores = read_scores(paths.alignment) if paths.alignment else None
    steps = _steps(arm, paths, drawn, scores, settings)
    safety = next(step for step in steps if step.stage == "safety")
    check_drop_share(
        safety.dropped,
        len(safety.entered),
        items=f"pictures of the arm {arm}",
        setting="dataset.max_drop_share",
        limit=max_drop_share,
        hint=f"Look at the contact sheets in {paths.images[0].parent}",
    )
    found, values = drawn.of(steps[-1].kept), None
    if scores and settings.selects:
        more, found, values = _aligned(ARMS[arm], found, scores, paths.matches, settings)
        steps += more
    write_dataset(arm, steps, found, values, paths.captions, pairs, ledger, source=paths.sentences[0])


def _aligned(
    arm: Arm, pairs: Pairs, scores: Scores, matches: Sequence[Path], settings: AlignmentConfig
) -> tuple[list[Step], Pairs, NDArray[np.float32] | None]:
    """The steps that follow from the scores, and the pairs that are left or made, with their weights."""
    shown = Step("alignment", pairs.images, unshown_sentences(pairs.images, scores, settings))
    entered = pairs.of(shown.kept)
    values = scores.of(entered)
    limits = score_limits(entered, values, settings)
    reasons = low_pairs(entered, values, limits, settings)
    steps = [shown, Step("pairs", entered.names, reasons)]
    kept = np.asarray(reasons.is_null())
    found, left = entered.where(kept), values[kept]
    if settings.rematch:
        counts = np.bincount(found.image, minlength=len(found.images))
        without = unmatched(pairs, scores, found.caption)
        matching = Matching(found.images, limits, counts, arm.captions, settings.rematch)
        made, scored, lost = matched_pairs(without, matches, matching)
        steps.append(_rematch_step(without.captions, lost))
        found, left = found.with_more(made), np.concatenate([left, scored])
    return steps, found, _weights(left, settings)


def _rematch_step(captions: NDArray[np.int64], lost: dict[int, str]) -> Step:
    names = pc.binary_join_element_wise("caption", pa.array(captions).cast(pa.string()), " ")
    return Step("rematch", names, pa.array([lost.get(each) for each in captions.tolist()], pa.string()))


def _weights(scores: Floats, settings: AlignmentConfig) -> NDArray[np.float32] | None:
    temperature = settings.weight_temperature
    return None if temperature is None or not len(scores) else weights(scores, temperature)


def _steps(arm: str, paths: DrawnTables, drawn: Pairs, scores: Scores | None, settings: AlignmentConfig) -> list[Step]:
    """Return the steps to the arm's pictures; what one keeps enters the next.

    `drawn` has the captions of each drawn image. Without `scores` no sentence has several candidates.
    """
    firsts = pc.unique(first_candidate_ids(drawn.images))
    first, possible = _possible_images(arm, paths)
    unknown = firsts.filter(pc.invert(pc.is_in(firsts, value_set=possible)))
    check_same(paths.sentences[0], "the captions or summaries", unknown, unknown.slice(0, 0))
    images = _images_step(arm, paths, drawn.images, possible, len(firsts))
    steps = [*first, images, _safety_step(paths, drawn.images, images.kept)]
    if scores and len(paths.sentences) > 1:
        safe = drawn.of(steps[-1].kept)
        steps.append(Step("candidates", safe.images, losing_candidates(safe, scores)))
    return [*steps, _balance(arm, steps[-1].kept, paths, settings)] if ARMS[arm].balanced else steps


def _images_step(arm: str, paths: DrawnTables, drawn: pa.Array, possible: pa.Array, chosen: int) -> Step:
    """The images that could have been drawn, then further candidates, by id."""
    made = tables.concat(paths.images, tables.IMAGES, columns=["image_id", "reason"])
    check_same(paths.images[0].parent, "the sentences", whole(made["image_id"]), drawn)
    further = drawn.filter(pc.invert(pc.is_in(drawn, value_set=possible)))
    entered = pa.concat_arrays([possible, further.take(pc.array_sort_indices(further))])
    reason = _REASONS[ARMS[arm].drawn_by.sentences or ""].format(count=f"{chosen:,}")
    places = pc.index_in(entered, value_set=made["image_id"])
    refused = whole(made["reason"]).take(places)
    refused = pc.if_else(pc.equal(refused, ""), None, refused)
    return Step("images", entered, pc.if_else(places.is_null(), reason, refused))


_REASONS = {  # why an item was not drawn, by what the arm's sentences are
    "summaries": "not among the first {count} of images.max_summaries",
    "groups": "not among the first {count} of images.max_summaries",
    "captions": f"not among the first {{count}}: as many as {METHOD} draws, and images.spare more",
    "pairs": f"in no pair of {METHOD}",
}


def _safety_step(paths: DrawnTables, drawn: pa.Array, images: pa.Array) -> Step:
    checks = tables.concat(paths.safety, tables.SAFETY)
    check_same(paths.safety[0].parent, "the images", whole(checks["image_id"]), drawn)
    rows = checks.take(pc.index_in(images, value_set=checks["image_id"]))
    lost = pc.not_equal(rows["verdict"], "safe")
    return Step("safety", images, scattered(list(map(_drop_reason, rows.filter(lost).to_pylist())), whole(lost)))


def _drop_reason(check: dict[str, object]) -> str:
    if check["verdict"] == "blank":
        return "blank"
    return f"{check['verdict']}: the safety checker's score is {check['score']:.3f}"


def _balance(arm: str, safe: pa.Array, paths: DrawnTables, settings: AlignmentConfig) -> Step:
    """Keep as many pictures as the method has, those that were chosen first."""
    if paths.balance is None:
        raise ValueError(f"the arm {arm} needs the pairs or the ledger of {METHOD}")
    wanted = _pictures_before_scores(paths.balance) if settings.selects else _pictures_of(paths.balance)
    if len(safe) < wanted:
        problem = f"{len(safe):,} safe pictures are fewer than the {wanted:,} that {METHOD} has"
        hint = "raise images.spare in config/config.yaml, or lower images.max_summaries if all captions are drawn"
        raise InputError(paths.safety[0].parent, arm, problem, hint)
    reason = f"not among the first {wanted:,} safe ones, as many as {METHOD} has"
    return Step("balance", safe, all_but_first(image_numbers(safe), wanted, reason))


def all_but_first(numbers: NDArray[np.int64], count: int, reason: str) -> pa.Array:
    """The `reason` for each item but the `count` that come first in the drawing order."""
    lost = np.zeros(len(numbers), np.bool_)
    lost[drawing_places(numbers)[count:]] = True
    return pc.if_else(pa.array(lost), reason, pa.scalar(None, pa.string()))


def _pictures_of(pairs: Path) -> int:
    return pc.count_distinct(tables.read(pairs, tables.PAIRS, columns=["image_id"])["image_id"]).as_py()


def _pictures_before_scores(ledger: Path) -> int:
    """The pictures of the arm of this LEDGER that are safe and used, before their scores drop any."""
    rows = tables.read(ledger, tables.LEDGER, columns=["stage", "kept"])
    kept = {row["values"]: row["counts"] for row in pc.value_counts(rows.filter(rows["kept"])["stage"]).to_pylist()}
    return kept.get("candidates") or kept.get("safety", 0)


def _possible_images(arm: str, paths: DrawnTables) -> tuple[list[Step], pa.Array]:
    """Return the steps before sentences were chosen, and the ids of all images that could have been drawn."""
    drawn_by = ARMS[arm].drawn_by
    if paths.groups:
        anchors = tables.read(paths.groups, tables.GROUPS, columns=["group_id"])["group_id"]
        return [], drawn_image_ids(drawn_by.name, whole(anchors).sort())
    if drawn_by.sentences != "summaries":
        captions = tables.read(paths.captions, tables.CAPTIONS, columns=["caption_id"])["caption_id"]
        return [], drawn_image_ids(drawn_by.name, whole(captions).sort())
    rows = tables.concat(paths.summaries, tables.SUMMARIES, columns=["group_id", "status", "reason"])
    rows = rows.sort_by("group_id").combine_chunks()
    dropped = pc.not_equal(whole(rows["status"]), "ok")
    reasons = pc.if_else(dropped, or_no_reason(whole(rows["reason"])), pa.scalar(None, pa.string()))
    step = Step("summaries", whole(rows["group_id"]).cast(pa.string()), reasons)
    return [step], drawn_image_ids(drawn_by.name, step.kept)


def check_same(path: Path, other: str, ids: pa.Array, expected: pa.Array) -> None:
    """Raise an InputError unless both arrays have the same ids."""
    differing = pa.concat_arrays(
        [
            ids.filter(pc.invert(pc.is_in(ids, value_set=expected))),
            expected.filter(pc.invert(pc.is_in(expected, value_set=ids))),
        ]
    )
    if len(differing):
        problem = f"{pc.count_distinct(differing).as_py():,} images are in only one of this table and {other}"
        raise InputError(path, pc.min(differing).as_py(), problem, AGAIN)


def write_dataset(
    arm: str,
    steps: Sequence[Step],
    found: Pairs,
    values: NDArray[np.float32] | None,
    captions: Path,
    pairs: Path,
    ledger: Path,
    source: Path,
) -> None:
    """Write the PAIRS and the LEDGER; `values` are the weights, `source` is the table that named the captions."""
    _log.info("%s: %s; %s pairs", arm, "; ".join(map(str, steps)), f"{len(found):,}")
    if not len(found):
        reasons = _counts(pa.concat_arrays([step.reasons for step in steps]).drop_null())
        problem = f"the arm {arm} has no pair: {'; '.join(map(str, steps))} (reasons: {reasons or 'none'})"
        raise InputError(pairs, "", problem, "mend the stage that keeps nothing and run snakemake again")
    texts = tables.read(captions, tables.CAPTIONS, columns=["caption_id", "caption"])
    places = pc.index_in(pa.array(found.caption), value_set=texts["caption_id"])
    if places.null_count:
        first = int(pc.index(places.is_null(), True).as_py())
        problem = f"caption {found.caption[first]} is not among the captions"
        raise InputError(source, found.images[int(found.image[first])].as_py(), problem, AGAIN)
    rows = rows_of_pairs(found, texts["caption"], np.asarray(places), values)
    tables.write_batches(pairs, tables.PAIRS, rows)
    tables.write(ledger, tables.LEDGER, pa.concat_tables([step.ledger for step in steps]))


def _counts(reasons: pa.Array) -> str:
    return ", ".join(f"{number:,} {word}" for word, number in Counter(reasons.to_pylist()).most_common(3))
