"""Dataset: an arm's training pairs, and a ledger of all kept and dropped items with reasons."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icsd.config.arms import ARMS, METHOD
from icsd.core import tables
from icsd.core.errors import InputError, check_drop_share
from icsd.core.ids import drawing_order, drawn_image_id, image_number, real_image_id

Row = Mapping[str, Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrawnTables:
    """The tables that the dataset of an arm with drawn pictures is made of.

    `balance` is the PAIRS of the method, where the arm is to have as many pictures.
    """

    captions: Path
    summaries: Sequence[Path]
    sentences: Path
    images: Sequence[Path]
    safety: Sequence[Path]
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


def build_dataset(arm: str, paths: DrawnTables, pairs: Path, ledger: Path, max_drop_share: float) -> None:
    """Write the PAIRS of an arm with drawn pictures, by image and caption id, and its LEDGER.

    TooManyDroppedError if the checks drop a larger share of the pictures than `max_drop_share`. InputError if no pair
    is left, or if the tables do not belong together.
    """
    sentences = tables.read(paths.sentences, tables.SENTENCES).to_pylist()
    captions = _captions(paths.captions)
    steps = _steps(arm, paths, sentences, captions)
    kept = set(steps[-1].kept)
    rows = [row for row in sentences if row["image_id"] in kept]
    found = [
        _pair(row["image_id"], caption_id, captions, paths.sentences)
        for row in rows
        for caption_id in _captions_of(row, ARMS[arm].captions)
    ]
    safety = next(step for step in steps if step.stage == "safety")
    check_drop_share(
        safety.dropped,
        len(safety.entered),
        items=f"pictures of the arm {arm}",
        setting="dataset.max_drop_share",
        limit=max_drop_share,
        hint=f"Look at the contact sheets in {paths.images[0].parent}",
    )
    _write(arm, steps, found, pairs, ledger)


def _captions_of(row: Row, limit: int | None) -> Sequence[int]:
    """The captions that go with a picture: all of its sentence, or at most `limit`, the group's anchor first."""
    if limit is None:
        return list(row["caption_ids"])
    anchor = [] if row["group_id"] is None else [row["group_id"]]
    return list(dict.fromkeys([*anchor, *row["caption_ids"]]))[:limit]


def build_real_dataset(pictures: Path, captions: Path, pairs: Path, ledger: Path) -> None:
    """Write the PAIRS of the real pictures, each with all its captions, and the LEDGER, from that of `pictures`.

    InputError if no pair is left.
    """
    read = {row["item_id"]: row["reason"] for row in tables.read(pictures, tables.LEDGER).to_pylist()}
    rows = tables.read(captions, tables.CAPTIONS).to_pylist()
    described = {real_image_id(row["image_id"]) for row in rows}
    _check_same(captions, "pictures", described - {item for item, reason in read.items() if reason is None}, set())
    dropped = {item: reason or "has no caption" for item, reason in read.items() if reason or item not in described}
    step = Step("pictures", sorted(read), dropped)
    found = [
        {
            "image_id": real_image_id(row["image_id"]),
            "caption_id": row["caption_id"],
            "caption": row["caption"],
        }
        for row in rows
    ]
    _write("real", [step], found, pairs, ledger)


def _steps(arm: str, paths: DrawnTables, sentences: Sequence[Row], captions: Mapping[int, str]) -> list[Step]:
    """Return the steps to the arm's pictures; what one keeps enters the next."""
    drawn = {row["image_id"] for row in sentences}
    first, candidates = _candidates(arm, paths, captions)
    _check_same(paths.sentences, "the captions or summaries", drawn - set(candidates), set())
    reason = _REASONS[ARMS[arm].drawn_by.sentences or ""].format(count=f"{len(drawn):,}")
    images = Step("images", candidates, {item: reason for item in candidates if item not in drawn})
    made = set(tables.concat(paths.images, tables.IMAGES, columns=["image_id"])["image_id"].to_pylist())
    _check_same(paths.images[0].parent, "the sentences", made, set(images.kept))
    checks = {row["image_id"]: row for row in tables.concat(paths.safety, tables.SAFETY).to_pylist()}
    _check_same(paths.safety[0].parent, "the images", set(checks), made)
    dropped = {image_id: _drop_reason(row) for image_id, row in checks.items() if row["verdict"] != "safe"}
    safety = Step("safety", images.kept, dropped)
    balance = [_balance(arm, safety.kept, paths)] if ARMS[arm].balanced else []
    return [*first, images, safety, *balance]


_REASONS = {  # why an item was not drawn, by what the arm's sentences are
    "summaries": "not among the first {count} of images.max_summaries",
    "captions": f"not among the first {{count}}: as many as {METHOD} draws, and images.spare more",
    "pairs": f"in no pair of {METHOD}",
}


def _balance(arm: str, safe: Sequence[str], paths: DrawnTables) -> Step:
    """Keep as many pictures as the method has, those that were chosen first."""
    if paths.balance is None:
        raise ValueError(f"the arm {arm} needs the pairs of {METHOD}")
    wanted = len(set(tables.read(paths.balance, tables.PAIRS, columns=["image_id"])["image_id"].to_pylist()))
    if len(safe) < wanted:
        problem = f"{len(safe):,} safe pictures are fewer than the {wanted:,} that {METHOD} has"
        hint = "raise images.spare in config/config.yaml, or lower images.max_summaries if all captions are drawn"
        raise InputError(paths.safety[0].parent, arm, problem, hint)
    in_order = sorted(safe, key=lambda image_id: drawing_order(image_number(image_id)))
    reason = f"not among the first {wanted:,} safe ones, as many as {METHOD} has"
    return Step("balance", safe, dict.fromkeys(in_order[wanted:], reason))


def _candidates(arm: str, paths: DrawnTables, captions: Mapping[int, str]) -> tuple[list[Step], list[str]]:
    """Return the steps before sentences were chosen, and the ids of all images that could have been drawn."""
    drawn_by = ARMS[arm].drawn_by
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
