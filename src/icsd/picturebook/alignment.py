"""Score pairs of picture and caption by the probe, which sees what a picture shows; measure any scores against it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icsd.config.arms import captions_with_anchor
from icsd.core import tables
from icsd.core.errors import AGAIN, InputError
from icsd.core.files import atomic_path
from icsd.core.text import markdown_table
from icsd.picturebook.mentions import Objects, count_objects
from icsd.picturebook.probe import detect_in_tables

DROPPED = (0.0, 0.1, 0.2, 0.3, 0.4)  # shares of an arm's pairs

Row = Mapping[str, Any]
Pair = tuple[str, int | None]  # an image and a caption; None: the sentence that the image was drawn from


@dataclass(frozen=True)
class ProbedPairs:
    """Pairs in the order of their ids: their images, their scores, and whether the images show their texts."""

    images: np.ndarray  # [n], ids
    scores: np.ndarray  # [n]
    true: np.ndarray  # [n], bool

    @property
    def auc(self) -> float:
        """How well the scores tell true pairs from false ones."""
        return area_under_curve(self.scores, self.true)

    def without_lowest(self, share: float) -> "ProbedPairs":
        """Return the pairs without this share of them, those with the lowest scores; of equal ones the first."""
        kept = np.argsort(self.scores, kind="stable")[int(share * len(self.scores)) :]
        return ProbedPairs(self.images[kept], self.scores[kept], self.true[kept])


def score_pairs_by_probe(
    sentences: str, images: str, captions: str, probe: str, alignment: str, shard: str | None = None
) -> None:
    """Write the ALIGNMENT of a shard's IMAGES by the probe: the share of a text's objects that the image shows.

    An object counts if it is seen, in the colour that the text gives, if any. A text that names no object scores 1.
    The captions of an image are those of its row of SENTENCES and its group's anchor.
    """
    rows = tables.read(sentences, tables.SENTENCES, shard=shard).to_pylist()
    texts = _texts(rows, captions, anchors=True)
    named, true = _named_and_true(texts, [images], probe).T
    scores = np.divide(true, named, out=np.ones_like(true), where=named > 0)
    found = [{"image_id": image, "caption_id": caption} for image, caption in texts]
    tables.write(
        alignment, tables.ALIGNMENT, [row | {"score": score} for row, score in zip(found, scores, strict=True)]
    )


def measure_alignment(
    alignment: Sequence[str],
    sentences: Sequence[str],
    images: Sequence[str],
    captions: str,
    probe: str,
    score: str,
    table: str,
    page: str,
) -> None:
    """Write how well the scores of ALIGNMENT tell true pairs from false ones, as QUALITY and as a page.

    A pair is true if the probe sees all objects that its text names. The captions of an image are those of its row of
    SENTENCES. `score` names the kind of score on the page. InputError for a pair without a score.
    """
    rows = tables.concat(sentences, tables.SENTENCES).to_pylist()
    texts = dict(sorted(_texts(rows, captions, anchors=False).items(), key=lambda item: (item[0][0], item[0][1] or 0)))
    named, true = _named_and_true(texts, images, probe).T
    scored = ProbedPairs(
        np.array([image for image, _ in texts]), _scores(texts, alignment), named == true
    )  # fmt: skip
    of_captions = np.array([caption is not None for _, caption in texts])
    arm_of = {row["image_id"]: row["arm"] for row in rows}
    arms = np.array([arm_of[image] for image, _ in texts])
    found = {
        (arm, kind): _part(scored, (arms == arm) & chosen)
        for arm in dict.fromkeys(arms.tolist())
        for kind, chosen in (("captions", of_captions), ("sentences", ~of_captions))
    }
    tables.write(table, tables.QUALITY, [row for key, pairs in found.items() for row in _quality(*key, pairs)])
    with atomic_path(page) as unfinished:
        unfinished.write_text(alignment_page(found, score), encoding="utf-8")


def area_under_curve(scores: np.ndarray, true: np.ndarray) -> float:
    """Return how often a true item scores higher than a false one, of all such pairs of items; ties count half.

    It is the area under the ROC curve, by ranks (Hanley and McNeil, 1982, doi:10.1148/radiology.143.1.7063747). NaN if
    all items are true or all are false.
    """
    positives, negatives = int(true.sum()), int((~true).sum())
    if not positives or not negatives:
        return float("nan")
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # equal scores share the mean of their ranks
    return float((ranks[true].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def alignment_page(found: Mapping[tuple[str, str], ProbedPairs], score: str) -> str:
    """Return a Markdown page: the AUC of each arm's captions and sentences, and what is left above a threshold."""
    areas = [[*key, f"{len(each.scores):,}", _share(each.true), f"{each.auc:.3f}"] for key, each in found.items()]
    left = [
        [arm, f"{100 * share:.0f}%", *_kept_cells(pairs.without_lowest(share), share)]
        for (arm, kind), pairs in found.items()
        for share in (DROPPED if kind == "captions" else ())
    ]
    return "\n".join([
        "# Scores of pairs beside the probe",
        "",
        f"The score of a picture and a text: {score}. A pair is true if the probe sees all objects that the text "
        "names, in the colour that it gives. AUC: how often a true pair scores higher than a false one; ties count "
        "half.",
        "",
        *markdown_table(["arm", "texts", "pairs", "true, %", "AUC"], areas, left=2),
        "",
        "Without the pairs of captions that score lowest:",
        "",
        *markdown_table(["arm", "dropped", "lowest score", "true, %", "pairs", "pictures"], left),
        "",
    ])  # fmt: skip


def _kept_cells(kept: ProbedPairs, share: float) -> list[str]:
    lowest = f"{kept.scores.min():.3f}" if share and len(kept.scores) else "–"
    return [lowest, _share(kept.true), f"{len(kept.scores):,}", f"{len(set(kept.images.tolist())):,}"]


def _share(true: np.ndarray) -> str:
    return f"{100 * true.mean():.1f}" if len(true) else "–"


def _quality(arm: str, kind: str, pairs: ProbedPairs) -> list[Row]:
    count = len(pairs.scores)
    share = float(pairs.true.mean()) if count else float("nan")
    measures = {f"true {kind}": share, f"AUC of {kind}": pairs.auc}
    return [{"model": arm, "measure": name, "value": value, "items": count} for name, value in measures.items()]


def _part(pairs: ProbedPairs, chosen: np.ndarray) -> ProbedPairs:
    return ProbedPairs(pairs.images[chosen], pairs.scores[chosen], pairs.true[chosen])


def _texts(rows: Iterable[Row], captions: str, anchors: bool) -> dict[Pair, str]:
    """Return the sentence and the captions of each row of SENTENCES, with `anchors` its group's anchor too."""
    known = tables.read(captions, tables.CAPTIONS, ["caption_id", "caption"])
    text_of = dict(zip(known["caption_id"].to_pylist(), known["caption"].to_pylist(), strict=True))
    texts: dict[Pair, str] = {}
    for row in rows:
        texts[row["image_id"], None] = row["sentence"]
        caption_ids = captions_with_anchor(row) if anchors else row["caption_ids"]
        texts |= {(row["image_id"], caption): text_of[caption] for caption in caption_ids}
    return texts


def _named_and_true(texts: Mapping[Pair, str], images: Sequence[str], probe: str) -> np.ndarray:
    """Count the objects that each text names, and those of them that its image shows: [n, 2]."""
    ids = list(dict.fromkeys(image for image, _ in texts))
    if not ids:
        return np.empty((0, 2))
    seen: dict[str, Objects] = dict(zip(ids, detect_in_tables(images, ids, Path(probe)), strict=True))
    return count_objects(list(texts.values()), [seen[image] for image, _ in texts])


def _scores(texts: Iterable[Pair], alignment: Sequence[str]) -> np.ndarray:
    rows = tables.concat(alignment, tables.ALIGNMENT).to_pylist()
    scores = {(row["image_id"], row["caption_id"]): row["score"] for row in rows}
    for image, caption in texts:
        if (image, caption) not in scores:
            what = "the sentence" if caption is None else f"caption {caption}"
            raise InputError(Path(alignment[0]).parent, image, f"{what} has no score", AGAIN)
    return np.array([scores[pair] for pair in texts])
