"""The rows on each picture that the gallery shows, and on each predicted caption, joined from a run's tables."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from icsd.config.arms import arms_with_pictures_of
from icsd.core.id_columns import candidate_numbers, drawing_places, image_numbers
from icsd.core.ids import corpus_image_id, image_number, real_image_id
from icsd.core.metrics import cider, plain_tokens, read_references
from icsd.views.gallery.alignment import AlignmentRows, read_alignment
from icsd.views.run import Run
from icsd.views.run_table import RunTable

Row = Mapping[str, Any]
NOT_DRAWN, NOT_CHECKED, PHOTOGRAPH = "not drawn yet", "not checked yet", "photograph"
KEPT, NO_DATASET, NO_PAIR = "in the dataset", "no dataset yet", "all its pairs are dropped"


def tables_shown(run: Run) -> list[RunTable]:
    """All tables that the gallery is made of."""
    return [*_tables_of_drawn(run), *_tables_of_real(run), *_tables_of_tests(run)]


def _tables_of_drawn(run: Run) -> Iterator[RunTable]:
    if run.drawn:
        yield from (run.captions, run.groups, run.summaries)
    for arm in run.drawn:
        yield from (run.sentences(arm), run.images(arm), run.safety(arm), run.alignment(arm))
    for arm in run.arms:
        yield from (run.pairs(arm), run.ledger(arm))


def _tables_of_real(run: Run) -> Iterator[RunTable]:
    if "real" in run.arms:
        yield from (run.photographs("real"), run.photograph_captions("real"))


def _tables_of_tests(run: Run) -> Iterator[RunTable]:
    for test in run.tests:
        yield from (run.photographs(test), run.photograph_captions(test))
        yield from (run.predictions(arm, seed, test) for arm, seed in run.captioners)


# --- Pictures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GalleryCaption:
    """A caption of a picture's group: its similarity to the anchor, and whether the summary is made of it.

    `score` says how well the picture shows it; `note` why it is in no pair with it, or why it was added.
    """

    caption_id: int
    text: str
    similarity: float | None
    selected: bool
    score: float | None = None
    note: str = ""

    @property
    def in_pairs(self) -> bool:
        """True if the picture may make a pair with it: the sentence is made of it, or it was added."""
        return self.selected or self.note != ""


@dataclass(frozen=True)
class GalleryPicture:
    """A picture, or a sentence still to be drawn; `number` is the id of its anchor caption, or of the photograph.

    `table` is the file with the picture. `sentence_score` says how well it shows the sentence. `unused` is true for a
    candidate in whose place another one is used.
    """

    image_id: str
    arm: str
    number: int
    sentence: str
    table: str = ""
    shard: str = ""
    verdict: str = NOT_CHECKED
    score: float | None = None
    seed: int | None = None
    model: str = ""
    prompt_hash: str = ""
    captions: Sequence[GalleryCaption] = ()
    summary: Row | None = None
    datasets: Mapping[str, str] = field(default_factory=dict)
    sentence_score: float | None = None
    unused: bool = False

    @property
    def reason(self) -> str:
        """The reason why it has no pairs, without numbers, so that many pictures share one; or that it has pairs."""
        state = next(iter(self.datasets.values()), NO_DATASET)
        return KEPT if state.endswith(" pairs") else state.partition(":")[0]

    @property
    def similarity(self) -> float | None:
        """The mean similarity of the selected captions to the anchor, which itself does not count."""
        found = [c.similarity for c in self.captions if c.selected and c.similarity is not None]
        others = found[1:] if self.captions and self.captions[0].selected else found
        return sum(others) / len(others) if others else None


def drawn_pictures(run: Run, arm: str, limit: int) -> tuple[list[GalleryPicture], int]:
    """The first `limit` pictures that the arm draws, in drawing order, and the number of all."""
    found = run.sentences(arm).rows()
    further = np.argsort(candidate_numbers(found["image_id"]), kind="stable")
    order = further[drawing_places(image_numbers(found["image_id"])[further])]
    shown = found.take(pa.array(order[:limit])).to_pylist()
    rows = _arm_rows(run, arm, shown)
    return [_drawn(row, run, rows) for row in shown], len(found)


@dataclass(frozen=True)
class _ArmRows:
    """The rows on an arm's pictures, by the id of the picture, group or caption."""

    models: Mapping[str, str]
    checks: Mapping[str, Row]
    groups: Mapping[int, Row]
    summaries: Mapping[int, Row]
    captions: Mapping[int, str]
    datasets: Mapping[str, Mapping[str, str]]
    alignment: AlignmentRows


def _arm_rows(run: Run, arm: str, shown: Sequence[Row]) -> _ArmRows:
    ids = [row["image_id"] for row in shown]
    images = run.images(arm).select(ids, ["image_id", "model"])
    models = dict(zip(images["image_id"].to_pylist(), images["model"].to_pylist(), strict=True))
    checks = _by(run.safety(arm).select(ids), "image_id")
    group_ids = [row["group_id"] for row in shown if row["group_id"] is not None]  # none of captions drawn alone
    groups = _by(run.groups.select(group_ids), "group_id") if group_ids else {}
    summaries = _by(run.summaries.select(group_ids), "group_id") if group_ids else {}
    caption_ids = {number for row in [*shown, *groups.values()] for number in row["caption_ids"]}
    arms = [each for each in arms_with_pictures_of(arm) if each in run.arms]
    alignment = read_alignment(run, arm, arms, shown)
    return _ArmRows(
        models, checks, groups, summaries, run.caption_texts(caption_ids), _datasets(run, arms, ids), alignment
    )


def _drawn(row: Row, run: Run, rows: _ArmRows) -> GalleryPicture:
    image_id, group_id = row["image_id"], row["group_id"]
    check = rows.checks.get(image_id, {})
    file = run.image_file(row["arm"], image_id) if run.shards else None
    return GalleryPicture(
        image_id,
        row["arm"],
        image_number(image_id),
        row["sentence"],
        file.relative_to(run.folder).as_posix() if file and image_id in rows.models else "",
        file.stem if file else "",
        check.get("verdict", NOT_CHECKED if image_id in rows.models else NOT_DRAWN),
        check.get("score"),
        row["seed"],
        rows.models.get(image_id, ""),
        row["prompt_hash"] or "",
        _captions(row, rows.groups.get(group_id), rows),
        rows.summaries.get(group_id),
        rows.datasets[image_id],
        rows.alignment.sentences.get(image_id),
        image_id in rows.alignment.unused,
    )


def _captions(sentence: Row, group: Row | None, rows: _ArmRows) -> list[GalleryCaption]:
    """The group's captions, the nearest first; without a group, those that the sentence is made of; then added ones."""
    selected = set(sentence["caption_ids"])
    ids = group["caption_ids"] if group else sentence["caption_ids"]
    similarities = group["similarities"] if group else [None] * len(ids)
    image_id, aligned = sentence["image_id"], rows.alignment
    added = aligned.added.get(image_id, {})
    texts = {**rows.captions, **added}
    return [
        GalleryCaption(
            number, texts.get(number, ""), near, number in selected, aligned.captions.get((image_id, number)),
            aligned.notes.get((image_id, number), ""),
        )
        for number, near in [*zip(ids, similarities, strict=True), *((number, None) for number in added)]
    ]  # fmt: skip


def real_pictures(run: Run, limit: int) -> tuple[list[GalleryPicture], int]:
    """The first `limit` photographs of the arm real, by id, with the captions that people gave, and the number of all.

    They are those of the arm's ledger.
    """
    ids = run.ledger("real").rows(["item_id"])["item_id"].to_pylist()
    shown = sorted(ids, key=corpus_image_id)[:limit]
    wanted = [corpus_image_id(image_id) for image_id in shown]
    rows = run.photograph_captions("real").select(wanted, key="image_id").to_pylist()
    captions: dict[str, list[GalleryCaption]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["caption_id"]):
        captions[real_image_id(row["image_id"])].append(GalleryCaption(row["caption_id"], row["caption"], None, True))
    datasets = _datasets(run, [arm for arm in run.arms if arm == "real"], shown)
    return [_photograph(image_id, captions[image_id], datasets[image_id]) for image_id in shown], len(ids)


def _photograph(image_id: str, captions: Sequence[GalleryCaption], datasets: Mapping[str, str]) -> GalleryPicture:
    sentence = captions[0].text if captions else ""
    number = corpus_image_id(image_id)
    return GalleryPicture(image_id, "real", number, sentence, verdict=PHOTOGRAPH, captions=captions, datasets=datasets)


def _datasets(run: Run, arms: Iterable[str], ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return, for each picture and each arm with a dataset, its number of pairs or the reason why it has none."""
    found: dict[str, dict[str, str]] = {image_id: {} for image_id in ids}
    for arm in arms:
        counts = Counter(run.pairs(arm).select(ids, ["image_id"])["image_id"].to_pylist())
        ledger = run.ledger(arm).select(ids, key="item_id").to_pylist()
        reasons = {row["item_id"]: row["reason"] for row in ledger if not row["kept"]}
        if run.pairs(arm).count():
            reasons = {row["item_id"]: NO_PAIR for row in ledger if row["item_id"] not in counts} | reasons
        for image_id in ids:
            if image_id in counts or image_id in reasons:
                found[image_id][arm] = reasons.get(image_id) or f"{counts[image_id]:,} pairs"
    return found


def _by(rows: pa.Table, key: str) -> dict[Any, Row]:
    return {row[key]: row for row in rows.to_pylist()}


# --- Predicted captions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Predictions:
    """The pictures [n] of a test set: the references of each, and the caption of each captioner [captioners][n].

    `scores` [captioners][n] is CIDEr-D on plain tokens, without Java: it ranks pictures and is no score to report.
    """

    name: str
    ids: Sequence[str]
    references: Sequence[Sequence[str]]
    captioners: Sequence[str]
    captions: Sequence[Sequence[str]]
    scores: Sequence[Sequence[float]]


def read_predictions(run: Run, test: str) -> Predictions:
    """A test set with the predictions that are there."""
    paths = run.photograph_captions(test).there
    references = read_references(paths[0]) if paths else {}
    ids = sorted(references, key=image_number)
    found = {}
    for arm, seed in run.captioners:
        rows = run.predictions(arm, seed, test).rows().to_pylist()
        if rows:
            texts = {row["image_id"]: row["caption"] for row in rows}
            found[arm if len(run.seeds) == 1 else f"{arm}, seed {seed}"] = [texts.get(each, "") for each in ids]
    ordered = [references[image_id] for image_id in ids]
    tokens = [[plain_tokens(text, run.language) for text in texts] for texts in ordered]
    predicted = [[plain_tokens(text, run.language) for text in texts] for texts in found.values()]
    scores = [cider(tokens, each).round(3).tolist() for each in predicted]
    return Predictions(test, ids, ordered, list(found), list(found.values()), scores)
