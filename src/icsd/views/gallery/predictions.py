"""What the trained captioners write for the test pictures, beside what people said, each with its CIDEr-D."""

from collections.abc import Sequence
from dataclasses import dataclass

from icsd.core import tables
from icsd.core.metrics import cider, plain_tokens
from icsd.core.references import read_references
from icsd.views.gallery.run import Run, Shelf


@dataclass(frozen=True)
class Predictions:
    """Pictures [n] of a test set: what people said of each, and what each captioner wrote [captioners][n].

    `scores` [captioners][n] is CIDEr-D, of plain tokens and without Java: what ranks pictures, no score to report.
    """

    name: str
    ids: Sequence[str]
    references: Sequence[Sequence[str]]
    captioners: Sequence[str]
    captions: Sequence[Sequence[str]]
    scores: Sequence[Sequence[float]]


def read_predictions(run: Run, shelf: Shelf, name: str) -> Predictions:
    """A test set and what there is of predictions of it."""
    paths = shelf.there(run.file(f"pictures/{name}/captions"))
    references = read_references(paths[0]) if paths else {}
    ids = sorted(references, key=lambda image_id: int(image_id.rpartition("-")[2]))
    found = {}
    for arm, seed in run.captioners:
        path = run.file(f"evaluation/{arm}/seed-{seed}/{name}/predictions")
        rows = shelf.read(path, tables.PREDICTIONS).to_pylist()
        if rows:
            written = {row["image_id"]: row["caption"] for row in rows}
            found[_label(run, arm, seed)] = [written.get(image_id, "") for image_id in ids]
    true = [references[image_id] for image_id in ids]
    tokens = [[plain_tokens(text) for text in texts] for texts in true]
    scores = [cider(tokens, [plain_tokens(text) for text in texts]).round(3).tolist() for texts in found.values()]
    return Predictions(name, ids, true, list(found), list(found.values()), scores)


def _label(run: Run, arm: str, seed: int) -> str:
    return arm if len(run.seeds) == 1 else f"{arm}, seed {seed}"
