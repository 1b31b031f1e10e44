"""Summaries of real groups that a reader marked. A change asks for new marks (docs/background/merger.md)."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from shared_data import SHARED, needs

from icsd.merger import Limits, merge

DATA = Path(__file__).parents[2] / "data"
MARKS = json.loads((DATA / "merger_marks.json").read_text())  # rows of the corpus; -n is line n of no_scenes.tsv
CORPORA = {"coco": "coco_val2014_captions.parquet", "flickr30k": "flickr30k_captions.parquet"}
FAULTS = {"g": "grammar", "s": "not one scene", "l": "lost", "a": "added", "d": "not drawable"}


def changed_groups(marks: list[dict[str, Any]], captions: Mapping[int, str], made_up: list[str]) -> Iterator[str]:
    """Yield a line for each group whose summary is not the one that was marked."""
    for number, mark in enumerate(marks):
        merged = merge([captions[row] if row >= 0 else made_up[-1 - row] for row in mark["rows"]], Limits())
        summary = hashlib.sha256(merged.sentence.encode()).hexdigest()[:12] if merged else None
        if summary != mark["summary"]:
            was = "dropped" if mark["faults"] is None else f"marked {mark['faults'] or 'good'!r}"
            yield f'{number} ({was}): now "summary": {json.dumps(summary)}, {merged.sentence if merged else "dropped"}'


@pytest.mark.parametrize("corpus", [pytest.param(name, marks=needs(file)) for name, file in CORPORA.items()])
def test_marked_summaries_are_unchanged(corpus: str) -> None:
    captions = pq.read_table(SHARED / CORPORA[corpus], columns=["caption"])["caption"]
    needed = {row for mark in MARKS[corpus] for row in mark["rows"] if row >= 0}
    texts = {row: captions[row].as_py() for row in needed}
    made_up = [line.split("\t")[1] for line in (DATA / "no_scenes.tsv").read_text().splitlines()]
    changed = list(changed_groups(MARKS[corpus], texts, made_up))
    assert not changed, "read these and mark them anew in tests/data/merger_marks.json:\n" + "\n".join(changed)


@pytest.mark.parametrize(("corpus", "drawable"), [("coco", 0.9), ("flickr30k", 0.75)])
def test_marked_summaries_are_drawable(corpus: str, drawable: float) -> None:
    faults = [mark["faults"] for mark in MARKS[corpus] if mark["summary"] is not None]
    assert len(MARKS[corpus]) == 200 and len(faults) >= 190
    assert set("".join(faults)) <= FAULTS.keys()
    assert sum("d" not in fault for fault in faults) / len(faults) >= drawable


def test_a_changed_summary_is_named_with_its_mark() -> None:
    marks: list[dict[str, Any]] = [
        {"rows": [0], "summary": "0" * 12, "faults": ""},
        {"rows": [-1], "summary": None, "faults": None},
    ]
    (line,) = changed_groups(marks, {0: "a red ball"}, ["We went home"])
    assert line.startswith("0 (marked 'good'): now \"summary\": ") and line.endswith("A red ball.")
