"""The tables of a made-up run: pictures of the same anchor captions in the arms multi and single, and a test set."""

import io
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from icsd.core import tables
from icsd.core.ids import shard_names, shard_of

TESTS = 30  # test pictures
ODD = "</script><img src=x onerror=alert(1)> ' \" & \u2028\u2029 \u202e\u05e9\u05dc\u05d5\u05dd \u202c {{ 7*7 }}"

Row = dict[str, Any]


def flat_png(number: int, side: int = 16) -> bytes:
    pixels = np.full((side, side, 3), (number * 7 % 256, number * 3 % 256, 90), dtype=np.uint8)
    pixels[: side // 2, : 1 + number % side] = 255
    return png_of(pixels)


def png_of(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def plain(number: int) -> str:
    return f"a {'red' if number % 2 else 'blue'} boat number {number}"


@dataclass(frozen=True)
class Made:
    """Size of a made-up run: `anchors` captions, each the anchor of a group of `k` and also drawn alone."""

    anchors: int
    shards: int = 2
    k: int = 4
    caption: Callable[[int], str] = plain
    png: Callable[[int], bytes] = flat_png

    def members(self, anchor: int) -> list[int]:
        """The caption ids of a group."""
        return [(anchor + step) % self.anchors for step in range(min(self.k, self.anchors))]

    def selected(self, anchor: int) -> list[int]:
        """The caption ids that a group's summary is of."""
        return self.members(anchor)[: (self.k + 1) // 2]


def write_run(folder: Path, made: Made) -> None:
    """The tables that the gallery shows, of the arms multi and single.

    Every fifth picture of multi is unsafe. The captioner of multi repeats a reference of test picture 7, single's says
    nothing right.
    """
    ids, caption = list(range(made.anchors)), made.caption
    captions = [{"caption_id": i, "image_id": i // 5, "caption": caption(i), "split": "train"} for i in ids]
    tables.write(folder / "captions" / "all.parquet", tables.CAPTIONS, captions)
    near = [1.0, *(0.9 - 0.8 * step / made.k for step in range(1, made.k))][: made.anchors]
    groups = [{"group_id": i, "caption_ids": made.members(i), "similarities": near} for i in ids]
    tables.write(folder / "groups" / "all.parquet", tables.GROUPS, groups)
    summaries = [_summary(i, made) for i in ids]
    _write_shards(folder / "summaries", tables.SUMMARIES, "group_id", summaries, made.shards)
    of_groups = {"prompt_hash": "abc", "arm": "multi"}
    multi = [of_groups | {"sentence": f"Together: {caption(i)}", "group_id": i} for i in ids]
    single = [{"arm": "single", "sentence": caption(i), "group_id": None, "prompt_hash": None} for i in ids]
    _write_arm(folder, made, multi)
    _write_arm(folder, made, single)
    write_tests(folder, made)


def add_scores(folder: Path, made: Made) -> None:
    """Score the pictures of `write_run`, of 12 anchors or more, and let the scores drop and add pairs of multi.

    A picture scores 0.01 by its number, more by 0.3 with its own caption or anchor, 0.2 with another one and 0.5 with
    its sentence. multi-3 and multi-4 have a second candidate, which shows all of it better by 0.4 and worse by 0.1. The
    pairs multi-6/7, multi-7/7 and multi-7/8 are dropped, and caption 1 is added to multi-8 with 0.75.
    """
    arms = {arm: tables.read(folder / f"images/{arm}/sentences.parquet", tables.SENTENCES).to_pylist() for arm in ARMS}
    second = [row | {"image_id": f"{row['image_id']}_1"} for row in arms["multi"] if row["image_id"] in SECOND]
    drawings = arms | {"multi/candidate-1": second, "single/candidate-1": []}
    for drawing, rows in drawings.items():
        scores = [each for row in rows for each in _scores(row)]
        _write_shards(folder / "alignment" / drawing, tables.ALIGNMENT, "image_id", scores, made.shards)
    for arm in ARMS:
        drawing = f"{arm}/candidate-1"
        ids = [row["image_id"] for row in drawings[drawing]]
        images = [_image(each, made.png(1)) for each in ids]
        _write_shards(folder / "images" / drawing, tables.IMAGES, "image_id", images, made.shards)
        _write_shards(folder / "safety" / drawing, tables.SAFETY, "image_id", _checks(ids, set()), made.shards)
        tables.write(folder / "images" / drawing / "sentences.parquet", tables.SENTENCES, drawings[drawing])
    match = {"image_id": "multi-8", "caption_id": 1, "score": 0.75}
    _write_shards(folder / "alignment/multi/matches", tables.ALIGNMENT, "caption_id", [match], made.shards)
    _select(folder / "dataset/multi", made)


ARMS = ("multi", "single")
SECOND = {"multi-3": 0.4, "multi-4": -0.1}  # how much better the second candidate is


def _scores(row: Row) -> list[Row]:
    image_id = row["image_id"]
    first = image_id.removesuffix("_1")
    base = int(first.partition("-")[2]) / 100 + (SECOND[first] if first != image_id else 0)
    captions = {None: 0.5} | {each: 0.2 if number else 0.3 for number, each in enumerate(row["caption_ids"])}
    return [{"image_id": image_id, "caption_id": each, "score": base + more} for each, more in captions.items()]


def _select(dataset: Path, made: Made) -> None:
    """Let the scores of `add_scores` drop and add pairs of multi."""
    pairs = tables.read(dataset / "pairs.parquet", tables.PAIRS).to_pylist()
    ledger = tables.read(dataset / "ledger.parquet", tables.LEDGER).to_pylist()
    used = [row["item_id"] for row in ledger if row["kept"] and row["item_id"] != "multi-3"] + ["multi-3_1"]
    steps = [("candidates", each, None) for each in used]
    for each, mean in (("multi-3", "0.280, multi-3_1 has 0.680"), ("multi-4_1", "0.190, multi-4 has 0.290")):
        steps.append(("candidates", each, f"another candidate is used: its captions' mean is {mean}"))
    dropped = {
        f"multi-{pair}": f"below alignment.min_score=0.28: its score is {score}"
        for pair, score in {"6/7": "0.260", "7/7": "0.370", "7/8": "0.270"}.items()
    }
    for row in pairs:
        row["image_id"] = "multi-3_1" if row["image_id"] == "multi-3" else row["image_id"]
    items = {f"{row['image_id']}/{row['caption_id']}": row for row in pairs}
    steps += [("pairs", item, dropped.get(item)) for item in items]
    kept = [row for item, row in items.items() if item not in dropped]
    kept.append({"image_id": "multi-8", "caption_id": 1, "caption": made.caption(1)})
    ledger += [{"stage": stage, "item_id": item, "kept": why is None, "reason": why} for stage, item, why in steps]
    tables.write(dataset / "pairs.parquet", tables.PAIRS, kept)
    tables.write(dataset / "ledger.parquet", tables.LEDGER, ledger)


def write_tests(folder: Path, made: Made) -> None:
    """A test set, and the captions that two captioners wrote of it."""
    pictures = folder / "pictures" / "test"
    images = [_image(f"real-{i}", made.png(i)) for i in range(TESTS)]
    tables.write(pictures / "images.parquet", tables.IMAGES, images)
    captions = [
        {"caption_id": 5 * i + j, "image_id": i, "caption": f"test picture {i} said in {j} ways", "split": "test"}
        for i in range(TESTS)
        for j in range(2)
    ]
    tables.write(pictures / "captions.parquet", tables.CAPTIONS, captions)
    written = {
        "multi": [f"test picture {i} said in 0 ways" if i == 7 else f"picture {i}" for i in range(TESTS)],
        "single": ["nothing of it"] * TESTS,
    }
    for arm, texts in written.items():
        rows = [{"image_id": f"real-{i}", "caption": text} for i, text in enumerate(texts)]
        tables.write(folder / "evaluation" / arm / "seed-0" / "test" / "predictions.parquet", tables.PREDICTIONS, rows)


def _summary(number: int, made: Made) -> Row:
    row = {"group_id": number, "summary": f"Together: {made.caption(number)}", "selected": made.selected(number)}
    row |= {"status": "ok", "reason": None, "prompt_tokens": 500, "completion_tokens": 40, "model": "gpt"}
    return row | {"prompt_hash": "abc", "unsupported": [], "covered": [], "image_tokens": 9}


def _write_arm(folder: Path, made: Made, rows: Sequence[Row]) -> None:
    """The n-th row is of the n-th caption."""
    arm = rows[0]["arm"]
    ids = [f"{arm}-{number}" for number in range(made.anchors)]
    captions = [made.selected(number) if arm == "multi" else [number] for number in range(made.anchors)]
    given = zip(ids, captions, rows, range(made.anchors), strict=True)
    sentences = [row | {"image_id": one, "caption_ids": of, "seed": 2**61 + number} for one, of, row, number in given]
    tables.write(folder / "images" / arm / "sentences.parquet", tables.SENTENCES, sentences)
    images = [_image(image_id, made.png(number)) for number, image_id in enumerate(ids)]
    _write_shards(folder / "images" / arm, tables.IMAGES, "image_id", images, made.shards)
    unsafe = set(ids[::5]) if arm == "multi" else set()
    _write_shards(folder / "safety" / arm, tables.SAFETY, "image_id", _checks(ids, unsafe), made.shards)
    pairs = [
        {"image_id": one, "caption_id": number, "caption": made.caption(number)}
        for one, of in zip(ids, captions, strict=True)
        for number in of
        if one not in unsafe
    ]
    reasons = {one: "unsafe: the safety checker's score is 0.500" if one in unsafe else None for one in ids}
    ledger = [{"stage": "safety", "item_id": one, "kept": not reasons[one], "reason": reasons[one]} for one in ids]
    tables.write(folder / "dataset" / arm / "pairs.parquet", tables.PAIRS, pairs)
    tables.write(folder / "dataset" / arm / "ledger.parquet", tables.LEDGER, ledger)


def _checks(ids: Sequence[str], unsafe: Set[str]) -> list[Row]:
    verdicts = ["unsafe" if one in unsafe else "safe" for one in ids]
    return [{"image_id": one, "score": n / 100, "verdict": verdicts[n]} for n, one in enumerate(ids)]


def _image(image_id: str, data: bytes) -> Row:
    image = {"bytes": data, "path": f"{image_id}.png"}
    return {"image_id": image_id, "image": image, "sentence": "", "seed": 0, "model": "a model"}


def _write_shards(folder: Path, table: tables.Table, key: str, rows: Sequence[Row], shards: int) -> None:
    for number, name in enumerate(shard_names(shards)):
        own = [row for row in rows if shard_of(row[key], shards) == number]
        tables.write(folder / f"{name}.parquet", table, own)
