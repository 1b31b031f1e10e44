"""The tables of a made-up run of any size, as the stages that need a model or a network would leave them.

They depend on their size alone: what differs from row to row is a hash of the row's number. Shares are those of COCO's
run: one caption in eighty has the group of the one before it, a group in twenty no usable summary, a picture in a
hundred is unsafe.
"""

import io
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from icsd.core import tables
from icsd.core.ids import shard_of, shards_of_part
from icsd.core.store import Store
from icsd.core.vectors import to_lists, unit_on_grid
from icsd.views.run import Run

WORDS = np.array([a + b + c for a in ("ba", "de", "ki") for b in "lmnrst" for c in ("", "a", "ing", "ow", "er", "ast")])
SIDE, PICTURES = 16, 64  # pixels, and different pictures
AT_ONCE = 64  # records of a store that are written together
REASONS = ["cannot be read: no list", "refused: not safe to describe", "cannot be read: two summaries"]


def hashed(numbers: np.ndarray, salt: int) -> np.ndarray:
    """A whole number from 0 to 2^31 for each of `numbers`, of any shape; the same on every machine."""
    mixed = (numbers.astype(np.uint64) + np.uint64(salt)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(33)).astype(np.int64)


def write_captions(run: Run, count: int, width: int) -> None:
    """Write CAPTIONS and EMBEDDINGS of `count` captions, numbered from 1."""
    ids = np.arange(1, count + 1)
    rows = {"caption_id": ids, "image_id": (ids + 4) // 5, "caption": sentences(ids, 11), "split": ["train"] * count}
    tables.write(run.captions.paths[0], tables.CAPTIONS, pa.table(rows))
    for path, some in zip(run.embeddings.paths, by_shard(ids, len(run.shards)), strict=True):
        tables.write(path, tables.EMBEDDINGS, _vectors(some, width), {"encoder": "made up"})
    whole = run.embeddings.paths[0].with_name("all.parquet")
    tables.gather(run.embeddings.paths, tables.EMBEDDINGS, whole)


def write_neighbors(run: Run, count: int, k: int) -> None:
    """Write the NEIGHBORS of `count` captions."""
    shards = dict(zip(run.shards, by_shard(np.arange(1, count + 1), len(run.shards)), strict=True))
    for path in run.neighbors.paths:
        some = np.concatenate([shards[name] for name in shards_of_part(run.shards, path.stem)])
        members, similarities = neighbors(some, count, k)
        lists = {"neighbor_ids": to_lists(members), "similarities": to_lists(similarities)}
        tables.write(path, tables.NEIGHBORS, pa.table({"caption_id": some, **lists}))


def write_groups(run: Run, count: int, k: int) -> None:
    """Write the GROUPS that `form_groups` makes of these neighbours: those of all captions but one in eighty."""
    ids = np.arange(1, count + 1)
    batches = []
    for some in by_shard(ids[~_is_twin(ids)], len(run.shards)):
        members, similarities = neighbors(some, count, k)
        lists = {"caption_ids": to_lists(members), "similarities": to_lists(similarities)}
        batches.append(pa.table({"group_id": some, **lists}))
    tables.write_batches(run.groups.paths[0], tables.GROUPS, batches)


def write_summaries(run: Run, model: str, prompt_hash: str) -> None:
    """Write the SUMMARIES of the groups."""
    for shard, path in zip(run.shards, run.summaries.paths, strict=True):
        groups = tables.read(run.groups.paths[0], tables.GROUPS, ["group_id", "caption_ids"], shard=shard)
        tables.write(path, tables.SUMMARIES, _summaries(groups, model, prompt_hash))


def write_pictures(run: Run, arm: str) -> None:
    """Write the IMAGES and SAFETY of an arm's SENTENCES."""
    files = pa.array([_png(number) for number in range(PICTURES)], pa.binary())
    for shard, images, safety in zip(run.shards, run.images(arm).paths, run.safety(arm).paths, strict=True):
        rows = tables.read(run.sentences(arm).paths[0], tables.SENTENCES, ["image_id", "sentence", "seed"], shard=shard)
        rows = rows.combine_chunks()
        names = pc.binary_join_element_wise(rows["image_id"], ".png", "").combine_chunks()
        number = np.arange(len(rows))
        image = pa.StructArray.from_arrays([files.take(pa.array(number % PICTURES)), names], ["bytes", "path"])
        model = pa.array(["made up"] * len(rows), pa.string())
        drawn = rows.append_column("image", image).append_column("model", model)
        drawn = drawn.append_column("reason", pa.nulls(len(rows), pa.string()))
        tables.write(images, tables.IMAGES, drawn)
        tables.write(safety, tables.SAFETY, _verdicts(rows))


def write_scores(run: Run) -> None:
    """Write the HISTORY of each training and the SCORES on each test set: a few rows, as in any run."""
    for arm, seed in run.captioners:
        steps = range(100, 2001, 100)
        loss = [
            {"step": step, "loss": 300 / step, "learning_rate": 1e-5, "metric": None, "value": None} for step in steps
        ]
        tables.write(run.history(arm, seed).paths[0], tables.HISTORY, loss)
        for test in run.tests:
            row = {"arm": arm, "seed": seed, "test": test, "metric": "CIDEr", "value": 0.5, "low": 0.4, "high": 0.6}
            tables.write(run.test_scores(arm, seed, test).paths[0], tables.SCORES, [row])


def write_replies(run: Run, folder: Path) -> None:
    """Write a store with the reply to each group, a segment for each shard."""
    store = Store(folder, ".replies")
    for shard in run.shards:
        ids = tables.read(run.groups.paths[0], tables.GROUPS, ["group_id"], shard=shard)["group_id"].to_pylist()
        texts = sentences(np.array(ids, np.int64), 14).to_pylist()
        _append(store, [(reply_key(each), _event(each, text, run)) for each, text in zip(ids, texts, strict=True)])


def write_picture_store(run: Run, arm: str, store: Store) -> None:
    """Write a store with each picture of an arm, a segment for each shard."""
    for path in run.images(arm).paths:
        rows = tables.read(path, tables.IMAGES, ["image_id", "image"])
        data = pc.struct_field(rows["image"].combine_chunks(), "bytes").to_pylist()
        _append(store, [(picture_key(each), png) for each, png in zip(rows["image_id"].to_pylist(), data, strict=True)])


def reply_key(group_id: int) -> str:
    """The key of the reply to a group."""
    return sha256(f"reply {group_id}".encode()).hexdigest()


def picture_key(image_id: str) -> str:
    """The key of a picture."""
    return sha256(f"picture {image_id}".encode()).hexdigest()


def by_shard(ids: np.ndarray, shards: int) -> list[np.ndarray]:
    """The ids of each shard, in their order."""
    shard = np.fromiter((shard_of(each, shards) for each in ids.tolist()), np.int64, len(ids))
    order = np.argsort(shard, kind="stable")
    return np.split(ids[order], np.searchsorted(shard[order], np.arange(1, shards)))


def sentences(ids: np.ndarray, words: int) -> pa.Array:
    """A sentence of so many made-up words, four letters long in the mean, for each id."""
    chosen = hashed(ids[:, None] * words + np.arange(words), 1) % len(WORDS)
    texts = pa.array(WORDS)
    columns = [texts.take(pa.array(chosen[:, column])) for column in range(words)]
    return pc.binary_join_element_wise(*columns, " ")


def neighbors(ids: np.ndarray, count: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Members [n, k], the caption itself first, and their falling similarities [n, k], float32.

    A twin has the members of the caption before it.
    """
    twin = _is_twin(ids)
    anchors = ids - twin
    steps = 1 + hashed(anchors[:, None] * k + np.arange(k), 2) % max(1, (count - 1) // k)
    steps[:, 0], steps[:, 1] = 0, 1
    members = (anchors[:, None] - 1 + np.minimum(steps, 50).cumsum(axis=1)) % count + 1
    members[twin, :2] = members[twin, 1::-1]
    falling = 1 - np.sort(hashed(ids[:, None] * k + np.arange(k), 3) % 1000, axis=1) / 2000
    falling[:, 0] = 1
    return members, falling.astype(np.float32)


def _is_twin(ids: np.ndarray) -> np.ndarray:
    return ids % 80 == 79


def _vectors(ids: np.ndarray, width: int) -> pa.Table:
    """Unit vectors near one of some centres, as those of captions are."""
    parts = []
    for some in np.array_split(ids, max(1, len(ids) // 50_000)):
        near = hashed(some[:, None] * width + np.arange(width), 4) % 1000
        centre = hashed((some[:, None] // 50) * width + np.arange(width), 5) % 1000
        parts.append(to_lists(unit_on_grid((near + 2 * centre - 1498).astype(np.float32))))
    return pa.table({"caption_id": ids, "embedding": pa.chunked_array(parts)})


def _summaries(groups: pa.Table, model: str, prompt_hash: str) -> pa.Table:
    ids, count = groups["group_id"].to_numpy(), len(groups)
    dropped = hashed(ids, 6) % 20 == 0
    selected = _first_members(groups["caption_ids"].combine_chunks(), np.where(dropped, 0, 4 + hashed(ids, 7) % 9))
    reasons = pa.array(REASONS).take(pa.array(hashed(ids, 8) % len(REASONS)))
    columns = {
        "group_id": ids,
        "summary": pc.if_else(pa.array(dropped), None, sentences(ids, 14)),
        "selected": selected,
        "status": pc.if_else(pa.array(dropped), "dropped", "ok"),
        "reason": pc.if_else(pa.array(dropped), reasons, None),
        "prompt_tokens": 400 + hashed(ids, 9) % 100,
        "completion_tokens": 20 + hashed(ids, 10) % 40,
        "model": [model] * count,
        "prompt_hash": [prompt_hash] * count,
        "unsupported": pa.array([[]] * count, pa.list_(pa.string())),
        "covered": selected,
        "image_tokens": 10 + hashed(ids, 11) % 20,
    }
    schema = tables.SUMMARIES.schema
    return pa.table({name: pa.nulls(count, schema.field(name).type) for name in schema.names} | columns, schema=schema)


def _first_members(lists: pa.ListArray, counts: np.ndarray) -> pa.ListArray:
    """The first of each list, as many as `counts` says, or all if there are fewer."""
    lengths = pc.list_value_length(lists).to_numpy()
    counts = np.minimum(counts, lengths)
    place = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
    flat = lists.flatten().to_numpy()[place < np.repeat(counts, lengths)]
    return pa.ListArray.from_arrays(np.concatenate([[0], counts.cumsum()]).astype(np.int32), pa.array(flat))


def _verdicts(rows: pa.Table) -> pa.Table:
    seeds = rows["seed"].to_numpy()
    part = hashed(seeds, 12) % 1000
    verdict = np.where(part < 10, "unsafe", np.where(part < 13, "blank", "safe"))
    score = (part < 10) * 0.5 + (hashed(seeds, 13) % 400) / 1000
    return pa.table({"image_id": rows["image_id"], "score": score.astype(np.float32), "verdict": verdict})


def _png(number: int) -> bytes:
    file = io.BytesIO()
    pixels = hashed(np.arange(SIDE * SIDE * 3) + number * SIDE * SIDE * 3, 14) % 256
    Image.fromarray(pixels.astype(np.uint8).reshape(SIDE, SIDE, 3)).save(file, "PNG")
    return file.getvalue()


def _event(group_id: int, text: str, run: Run) -> bytes:
    reply = {"content": text, "refusal": None, "finish_reason": "stop", "prompt_tokens": 400, "completion_tokens": 30}
    event = {"key": reply_key(group_id), "reply": reply, "run": run.name, "provider": "openai", "usd": 1e-4, "at": 0.0}
    return json.dumps(event).encode()


def _append(store: Store, records: Sequence[tuple[str, bytes]]) -> None:
    with store.writer() as segment:
        for start in range(0, len(records), AT_ONCE):
            segment.append(records[start : start + AT_ONCE])
