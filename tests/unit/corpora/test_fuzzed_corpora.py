"""1,000 corpora with broken records, values and bytes: each is read, or refused with one message."""

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from icsd.core.errors import ICSDError
from icsd.corpora import Corpus
from icsd.stages.captions import read_captions

IMAGES = [{"id": n, "file_name": f"COCO_{n}.jpg", "domain": "in-domain"} for n in range(1, 5)]
ANNOTATIONS = [{"id": 10 + n, "image_id": 1 + n % 4, "caption": f"a dog {n}"} for n in range(6)]
KARPATHY = {
    "images": [
        {"cocoid": n, "split": "train", "filename": f"{n}.jpg", "sentences": [{"sentid": n, "raw": f"a cat {n}"}]}
        for n in range(5)
    ]
}
BLIP = [{"image": f"coco_{n // 2}.jpg", "caption": f"a bird {n}"} for n in range(6)]
ROWS = [{"caption": f"a boat {n}", "caption_id": n, "image_id": n // 2, "image": f"{n // 2}.jpg"} for n in range(6)]
ODD: list[Any] = [
    None, True, -1, 0, 1.0, 1.5, float("nan"), float("inf"), 2**63, -(2**63), 10**30, "", " ", "1", "1.0", "x",
    "\ud800", "\u0000", "&amp;", "a" * 3_000, [], [None], ["a", 1], {}, {"bytes": None}, [[[]]], "../x", "a\nb",
]  # fmt: skip


def _table(separator: str) -> str:
    lines = [separator.join(ROWS[0]), *(separator.join(map(str, row.values())) for row in ROWS)]
    return "\n".join(lines) + "\n"


def _documents() -> dict[str, Any]:
    return {
        "coco.json": {"images": IMAGES, "annotations": ANNOTATIONS},
        "karpathy.json": KARPATHY,
        "blip.json": BLIP,
        "rows.jsonl": ROWS,
        "rows.parquet": ROWS,
    }


TEXTS = {
    "a.txt": "".join(f"a dog {n}\n" for n in range(8)),
    "flickr.txt": "".join(f"{n // 2}.jpg#{n % 2}\ta dog {n}\n" for n in range(6)),
    "cc3m.tsv": "".join(f"a dog {n}\thttp://x/{n}\n" for n in range(6)),
    "rows.csv": _table(","),
    "rows.tsv": _table("\t"),
}


def _mutate(rng: np.random.Generator, value: Any) -> Any:
    """Replace, remove or double one value somewhere in a document."""
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.1:
        return ODD[rng.integers(len(ODD))]
    key = list(value)[rng.integers(len(value))] if isinstance(value, dict) else int(rng.integers(len(value)))
    kind, changed = rng.random(), value.copy()
    if kind < 0.1:
        del changed[key]
    elif kind < 0.2 and isinstance(changed, list):
        changed.append(changed[key])
    else:
        changed[key] = _mutate(rng, value[key])
    return changed


def _written(name: str, document: Any) -> bytes:
    if name.endswith(".parquet"):
        try:
            table = pa.Table.from_pylist([row for row in document if isinstance(row, dict)])
        except (pa.ArrowException, TypeError, UnicodeEncodeError, OverflowError, AttributeError):
            table = pa.table({"caption": [1]})  # what Arrow itself does not write
        file = io.BytesIO()
        pq.write_table(table, file)
        return file.getvalue()
    if name.endswith(".jsonl"):
        rows = document if isinstance(document, list) else [document]
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    return json.dumps(document).encode()


def _damaged(rng: np.random.Generator, whole: bytes) -> bytes:
    data = bytearray(whole)
    for _ in range(int(rng.integers(1, 6))):
        place = int(rng.integers(len(data)))
        new = rng.choice([0, 9, 10, 13, 34, 44, 92, 123, 0xD8, 0xFF, int(rng.integers(256))])
        data[place : place + int(rng.integers(0, 3))] = bytes([new])
    return bytes(data if rng.random() < 0.8 else data[: int(rng.integers(len(data)))])


def _fuzzed(rng: np.random.Generator) -> tuple[str, bytes]:
    documents = _documents()
    names = [*documents, *TEXTS]
    name = names[rng.integers(len(names))]
    if name in TEXTS:
        return name, _damaged(rng, TEXTS[name].encode())
    document = documents[name]
    for _ in range(int(rng.integers(1, 4))):
        document = _mutate(rng, document)
    data = _written(name, document)
    return name, _damaged(rng, data) if rng.random() < 0.2 else data


def _problem(use: Callable[[], object]) -> str:
    try:
        use()
    except ICSDError as error:
        return str(error)
    return ""


def test_1000_broken_corpora_are_read_or_refused_with_one_message(tmp_path: Path) -> None:
    rng = np.random.default_rng(17)
    out, refused = tmp_path / "out" / "all.parquet", 0
    for _ in range(1_000):
        name, data = _fuzzed(rng)
        (tmp_path / name).write_bytes(data)
        corpus = Corpus((tmp_path / name,), split="train")
        of_captions = _problem(partial(read_captions, corpus, 1_000, out, 2, max_drop_share=1.0))
        of_pictures = _problem(lambda corpus=corpus: list(corpus.pictures(lambda _: None)))
        for problem in (of_captions, of_pictures):
            assert len(problem) < 900 and "\n" not in problem, (name, problem)
        assert not list(out.parent.glob(".*"))
        refused += bool(of_captions)
    assert 100 < refused < 600
