"""The tables of an arm to its training pairs, step by step; a ledger has all kept and dropped items with reasons."""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icsd.config import AlignmentConfig
from icsd.config.arms import ARMS, METHOD, Arm
from icsd.core import tables
from icsd.core.errors import InputError, check_drop_share
from icsd.core.ids import (  # fmt: skip
    corpus_image_id,
    drawing_order,
    drawn_image_id,
    first_candidate_id,
    image_number,
    real_image_id,
)
from icsd.stages.dataset.alignment import (  # fmt: skip
    Pair,
    Scores,
    Unmatched,
    losing_candidates,
    low_pairs,
    matched_pairs,
    read_scores,
    unshown_sentences,
    weights,
)

Row = Mapping[str, Any]
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


@dataclass(frozen=True)
class Step:
    """The items that entered a stage; `dropped` has the reason of each that it dropped."""

    stage: str
    entered: Sequence[str]
    dropped: Mapping[str, str]

    def __post_init__(self) -> None:
        if len(set(self.entered)) != len(self.entered) or not set(self.dropped) <= set(self.entered):
            raise ValueError(f"{self.stage}: input must be kept + dropped, each item once")

    @property
    def kept(self) -> list[str]:
        """The items that the stage kept, in their order."""
        return [item for item in self.entered if item not in self.dropped]

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of LEDGER."""
        reasons = ((item, self.dropped.get(item)) for item in self.entered)
        return [
            {"stage": self.stage, "item_id": item, "kept": reason is None, "reason": reason} for item, reason in reasons
        ]

    def __str__(self) -> str:
        kept = len(self.entered) - len(self.dropped)
        return f"{self.stage}: {kept:,} of {len(self.entered):,} kept"


def build_dataset(
    arm: str, paths: DrawnTables, pairs: Path, ledger: Path, max_drop_share: float, settings: AlignmentConfig
) -> None:
    """Write the PAIRS of an arm with drawn pictures, by image and caption id, and its LEDGER.

    `settings` tell which pairs the scores drop, add and weigh. TooManyDroppedError if the checks drop a larger share of
    the pictures than `max_drop_share`. InputError if no pair is left, or if the tables do not belong together.
    """
    sentences = tables.concat(paths.sentences, tables.SENTENCES).to_pylist()
    captions = _captions(paths.captions)
    by_image = {row["image_id"]: ARMS[arm].captions_of(row) for row in sentences}
    scores = read_scores(paths.alignment, paths.matches) if paths.alignment else None
    steps = _steps(arm, paths, by_image, captions, scores, settings)
    safety = next(step for step in steps if step.stage == "safety")
    check_drop_share(
        safety.dropped,
        len(safety.entered),
        items=f"pictures of the arm {arm}",
        setting="dataset.max_drop_share",
        limit=max_drop_share,
        hint=f"Look at the contact sheets in {paths.images[0].parent}",
    )
    found: dict[Pair, float | None] = {
        (image_id, caption_id): None for image_id in steps[-1].kept for caption_id in by_image[image_id]
    }
    if scores and settings.selects:
        more, found = _aligned(ARMS[arm], list(found), steps[-1].kept, scores, settings)
        steps += more
    rows = [
        _pair(image_id, caption_id, captions, paths.sentences[0]) | {"weight": weight}
        for (image_id, caption_id), weight in found.items()
    ]
    _write(arm, steps, rows, pairs, ledger)


def _aligned(
    arm: Arm, pairs: Sequence[Pair], images: Sequence[str], scores: Scores, settings: AlignmentConfig
) -> tuple[list[Step], dict[Pair, float | None]]:
    """The steps that follow from the scores, and the pairs that are left or made, with their weights."""
    shown = Step("alignment", images, unshown_sentences(images, scores, settings))
    entered = [pair for pair in pairs if pair[0] not in shown.dropped]
    dropped, limits = low_pairs(entered, scores, settings)
    reasons = {_name(pair): why for pair, why in dropped.items()}
    steps = [shown, Step("pairs", [_name(pair) for pair in entered], reasons)]
    found = {pair: scores.of(*pair) for pair in entered if pair not in dropped}
    if settings.rematch:
        lost = _lost_captions(pairs, found, scores)
        without = Unmatched(lost, set(shown.kept), set(pairs), set(found), arm.captions, settings.rematch)
        made, unmatched = matched_pairs(without, scores, limits)
        reasons = {f"caption {caption_id}": why for caption_id, why in unmatched.items()}
        steps.append(Step("rematch", [f"caption {caption_id}" for caption_id in lost], reasons))
        found |= dict(made)
    return steps, dict(zip(found, weights(list(found.values()), settings.weight_temperature), strict=True))


def _lost_captions(pairs: Sequence[Pair], left: Mapping[Pair, float], scores: Scores) -> dict[int, float]:
    """The captions of `pairs` that have none `left`, in order, each with its best score."""
    kept = {caption_id for _, caption_id in left}
    lost = dict[int, float]()
    for image_id, caption_id in sorted(pairs, key=lambda pair: pair[1]):
        if caption_id not in kept:
            lost[caption_id] = max(lost.get(caption_id, -math.inf), scores.of(image_id, caption_id))
    return lost


def _name(pair: Pair) -> str:
    """The id of a pair in the ledger."""
    return f"{pair[0]}/{pair[1]}"


def build_real_dataset(pictures: Path, captions: Path, pairs: Path, ledger: Path, share: float = 1.0) -> None:
    """Write the PAIRS of the real pictures, each with all its captions, and the LEDGER, from that of `pictures`.

    A `share` of them is used, at least one, in an order of their ids that is the same for every share. InputError if
    no pair is left.
    """
    read = {row["item_id"]: row["reason"] for row in tables.read(pictures, tables.LEDGER).to_pylist()}
    rows = tables.read(captions, tables.CAPTIONS).to_pylist()
    described = {real_image_id(row["image_id"]) for row in rows}
    _check_same(captions, "pictures", described - {item for item, reason in read.items() if reason is None}, set())
    dropped = {item: reason or "has no caption" for item, reason in read.items() if reason or item not in described}
    steps = [Step("pictures", sorted(read), dropped)]
    if share < 1:
        steps.append(_part("share", steps[-1].kept, share))
    kept = set(steps[-1].kept)
    found = [
        {
            "image_id": real_image_id(row["image_id"]),
            "caption_id": row["caption_id"],
            "caption": row["caption"],
        }
        for row in rows
        if real_image_id(row["image_id"]) in kept
    ]
    _write("real", steps, found, pairs, ledger)


def _part(name: str, images: Sequence[str], share: float) -> Step:
    """Keep the first images of the drawing order."""
    in_order = sorted(images, key=lambda image_id: drawing_order(corpus_image_id(image_id)))
    count = max(1, round(share * len(images)))
    reason = f"not among the first {count:,} of dataset.real_share={share:g}"
    return Step(name, images, dict.fromkeys(in_order[count:], reason))


def _steps(
    arm: str,
    paths: DrawnTables,
    by_image: Mapping[str, Sequence[int]],
    captions: Mapping[int, str],
    scores: Scores | None,
    settings: AlignmentConfig,
) -> list[Step]:
    """Return the steps to the arm's pictures; what one keeps enters the next.

    `by_image` has the captions of each drawn image. Without `scores` no sentence has several candidates.
    """
    drawn, firsts = set(by_image), {first_candidate_id(image_id) for image_id in by_image}
    first, possible = _possible_images(arm, paths, captions)
    _check_same(paths.sentences[0], "the captions or summaries", firsts - set(possible), set())
    reason = _REASONS[ARMS[arm].drawn_by.sentences or ""].format(count=f"{len(firsts):,}")
    made = _made_images(paths.images)
    _check_same(paths.images[0].parent, "the sentences", set(made), drawn)
    dropped = {item: reason for item in possible if item not in drawn} | {
        item: why for item, why in made.items() if why
    }
    images = Step("images", [*possible, *sorted(drawn - firsts)], dropped)
    checks = {row["image_id"]: row for row in tables.concat(paths.safety, tables.SAFETY).to_pylist()}
    _check_same(paths.safety[0].parent, "the images", set(checks), set(made))
    dropped = {item: _drop_reason(checks[item]) for item in images.kept if checks[item]["verdict"] != "safe"}
    steps = [*first, images, Step("safety", images.kept, dropped)]
    if scores and len(paths.sentences) > 1:
        safe = steps[-1].kept
        steps.append(Step("candidates", safe, losing_candidates({each: by_image[each] for each in safe}, scores)))
    return [*steps, _balance(arm, steps[-1].kept, paths, settings)] if ARMS[arm].balanced else steps


def _made_images(images: Sequence[Path]) -> dict[str, str | None]:
    """Return the ids of the images, with the reason of each that was not drawn."""
    rows = tables.concat(images, tables.IMAGES, columns=["image_id", "reason"])
    return dict(zip(rows["image_id"].to_pylist(), rows["reason"].to_pylist(), strict=True))


_REASONS = {  # why an item was not drawn, by what the arm's sentences are
    "summaries": "not among the first {count} of images.max_summaries",
    "groups": "not among the first {count} of images.max_summaries",
    "captions": f"not among the first {{count}}: as many as {METHOD} draws, and images.spare more",
    "pairs": f"in no pair of {METHOD}",
}


def _balance(arm: str, safe: Sequence[str], paths: DrawnTables, settings: AlignmentConfig) -> Step:
    """Keep as many pictures as the method has, those that were chosen first."""
    if paths.balance is None:
        raise ValueError(f"the arm {arm} needs the pairs or the ledger of {METHOD}")
    wanted = _pictures_before_scores(paths.balance) if settings.selects else _pictures_of(paths.balance)
    if len(safe) < wanted:
        problem = f"{len(safe):,} safe pictures are fewer than the {wanted:,} that {METHOD} has"
        hint = "raise images.spare in config/config.yaml, or lower images.max_summaries if all captions are drawn"
        raise InputError(paths.safety[0].parent, arm, problem, hint)
    in_order = sorted(safe, key=lambda image_id: drawing_order(image_number(image_id)))
    reason = f"not among the first {wanted:,} safe ones, as many as {METHOD} has"
    return Step("balance", safe, dict.fromkeys(in_order[wanted:], reason))


def _pictures_of(pairs: Path) -> int:
    return len(set(tables.read(pairs, tables.PAIRS, columns=["image_id"])["image_id"].to_pylist()))


def _pictures_before_scores(ledger: Path) -> int:
    """The pictures of the arm of this LEDGER that are safe and used, before their scores drop any."""
    kept = Counter(row["stage"] for row in tables.read(ledger, tables.LEDGER).to_pylist() if row["kept"])
    return kept["candidates"] or kept["safety"]


def _possible_images(arm: str, paths: DrawnTables, captions: Mapping[int, str]) -> tuple[list[Step], list[str]]:
    """Return the steps before sentences were chosen, and the ids of all images that could have been drawn."""
    drawn_by = ARMS[arm].drawn_by
    if paths.groups:
        anchors = tables.read(paths.groups, tables.GROUPS, columns=["group_id"])["group_id"].to_pylist()
        return [], [drawn_image_id(drawn_by.name, group_id) for group_id in sorted(anchors)]
    if drawn_by.sentences != "summaries":
        return [], [drawn_image_id(drawn_by.name, caption_id) for caption_id in sorted(captions)]
    columns = ["group_id", "status", "reason"]
    rows = tables.concat(paths.summaries, tables.SUMMARIES, columns=columns).sort_by("group_id").to_pylist()
    dropped = {str(row["group_id"]): row["reason"] or "no reason" for row in rows if row["status"] != "ok"}
    step = Step("summaries", [str(row["group_id"]) for row in rows], dropped)
    return [step], [drawn_image_id(drawn_by.name, int(group_id)) for group_id in step.kept]


def _drop_reason(check: Row) -> str:
    if check["verdict"] == "blank":
        return "blank"
    return f"{check['verdict']}: the safety checker's score is {check['score']:.3f}"


def _captions(path: Path) -> dict[int, str]:
    rows = tables.read(path, tables.CAPTIONS, columns=["caption_id", "caption"]).to_pylist()
    return {row["caption_id"]: row["caption"] for row in rows}


def _pair(image_id: str, caption_id: int, captions: Mapping[int, str], path: Path) -> dict[str, Any]:
    if caption_id not in captions:
        problem = f"caption {caption_id} is not among the captions"
        raise InputError(path, image_id, problem, "delete it and run snakemake again")
    return {"image_id": image_id, "caption_id": caption_id, "caption": captions[caption_id]}


def _check_same(path: Path, other: str, ids: set[str], expected: set[str]) -> None:
    differing = sorted(ids ^ expected)
    if differing:
        problem = f"{len(differing):,} images are in only one of this table and {other}"
        raise InputError(path, differing[0], problem, "delete it and run snakemake again")


def _write(arm: str, steps: Sequence[Step], found: list[dict[str, Any]], pairs: Path, ledger: Path) -> None:
    _log.info("%s: %s; %s pairs", arm, "; ".join(map(str, steps)), f"{len(found):,}")
    if not found:
        reasons = _counts(reason for step in steps for reason in step.dropped.values())
        problem = f"the arm {arm} has no pair: {'; '.join(map(str, steps))} (reasons: {reasons or 'none'})"
        raise InputError(pairs, "", problem, "mend the stage that keeps nothing and run snakemake again")
    rows = sorted(found, key=lambda row: (row["image_id"], row["caption_id"]))
    tables.write(pairs, tables.PAIRS, rows)
    tables.write(ledger, tables.LEDGER, [row for step in steps for row in step.rows()])


def _counts(words: Iterable[str]) -> str:
    return ", ".join(f"{number:,} {word}" for word, number in Counter(words).most_common(3))
