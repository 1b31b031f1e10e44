"""Scores of images with their captions, by a small CLIP model and by made-up vectors."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icsd.core import tables
from icsd.core.errors import InputError, ModelError
from icsd.stages.alignment import ShardTables, gather_picture_vectors, match_captions, score_alignment, score_at_random

CAPTIONS = {1: "a red ball", 2: "a boat", 3: "a tree", 4: "a boat"}
COLOURS = {"multi-1": (200, 30, 30), "multi-2": (30, 30, 200), "multi-3": (30, 200, 30)}
OWN = {"multi-1": [1, 2], "multi-2": [2, 4], "multi-3": [3]}


@pytest.fixture
def shard(tmp_path: Path) -> ShardTables:
    captions = [{"caption_id": i, "image_id": i, "caption": text, "split": "train"} for i, text in CAPTIONS.items()]
    tables.write(tmp_path / "captions.parquet", tables.CAPTIONS, captions)
    return _shard(tmp_path, list(OWN))


def _shard(folder: Path, ids: Sequence[str]) -> ShardTables:
    sentences = [
        {
            "image_id": each, "arm": "multi", "sentence": "a scene", "group_id": int(each[-1]),
            "caption_ids": OWN[each], "seed": 0, "prompt_hash": None,
        }
        for each in ids
    ]  # fmt: skip
    images = [
        {
            "image_id": each, "image": {"bytes": _png(COLOURS[each]), "path": f"{each}.png"}, "sentence": "a scene",
            "seed": 0, "model": "m",
        }
        for each in ids
    ]  # fmt: skip
    name = "-".join(ids) or "empty"
    tables.write(folder / f"{name}-sentences.parquet", tables.SENTENCES, sentences)
    tables.write(folder / f"{name}-images.parquet", tables.IMAGES, images)
    return ShardTables(
        folder / f"{name}-sentences.parquet", folder / f"{name}-images.parquet", folder / "captions.parquet"
    )


def _png(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    pixels = np.full((32, 32, 3), colour, np.uint8)
    pixels[:16, :16] = 255 - pixels[:16, :16]
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


class Counted:
    """An encoder of made-up vectors, which counts what it is given."""

    def __init__(self) -> None:
        self.files = 0
        self.read: list[str] = []

    def pictures(self, files: Iterable[bytes], total: int, batch_size: int) -> np.ndarray:
        self.files += len(list(files))
        return _unit(np.arange(total * 4).reshape(total, 4) + 1)

    def texts(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        self.read += texts
        return _unit(np.array([[len(text), 1, 0, 2] for text in texts]))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _scores(path: Path) -> dict[tuple[str, int | None], float]:
    rows = tables.read(path, tables.ALIGNMENT).to_pylist()
    return {(row["image_id"], row["caption_id"]): row["score"] for row in rows}


def test_every_pair_and_sentence_has_the_cosine_of_the_models_vectors(
    tmp_path: Path, shard: ShardTables, clip_folder: Path
) -> None:
    import open_clip
    import torch

    score_alignment(shard, tmp_path / "scores.parquet", str(clip_folder), batch_size=2)
    found = _scores(tmp_path / "scores.parquet")
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{clip_folder}")
    with torch.inference_mode():
        for (image_id, caption_id), score in found.items():
            pixels = transform(Image.open(io.BytesIO(_png(COLOURS[image_id]))).convert("RGB"))[None]
            text = "a scene" if caption_id is None else CAPTIONS[caption_id]
            image = model.eval().encode_image(pixels, normalize=True)
            assert score == pytest.approx(
                float(image @ model.encode_text(tokenizer([text]), normalize=True).T), abs=2e-5
            )
    # the anchor of group 2 is among its captions, that of group 3 as well, that of group 1 too
    assert set(found) == {(each, caption) for each, captions in OWN.items() for caption in [None, *captions]}
    assert len(set(found.values())) > 4


def test_each_image_and_each_different_text_is_encoded_once(tmp_path: Path, shard: ShardTables) -> None:
    encoder = Counted()
    score_alignment(shard, tmp_path / "scores.parquet", "", 2, tmp_path / "vectors.parquet", encoder)
    assert encoder.files == 3
    assert encoder.read == ["a boat", "a red ball", "a scene", "a tree"]
    assert len(_scores(tmp_path / "scores.parquet")) == 3 + 5


def test_the_anchor_is_scored_where_the_summary_left_it_out(
    tmp_path: Path, shard: ShardTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OWN, "multi-2", [1, 4])
    score_alignment(_shard(tmp_path, ["multi-2"]), tmp_path / "scores.parquet", "", 2, encoder=Counted())
    assert set(_scores(tmp_path / "scores.parquet")) == {("multi-2", caption) for caption in (None, 1, 2, 4)}


def test_an_empty_shard_needs_no_model(tmp_path: Path, shard: ShardTables) -> None:
    score_alignment(_shard(tmp_path, []), tmp_path / "a.parquet", "no model", 2, tmp_path / "v.parquet")
    assert tables.count(tmp_path / "a.parquet", tables.ALIGNMENT) == 0
    match_captions(tmp_path / "v.parquet", tmp_path / "v.parquet", tmp_path / "m.parquet", 3)
    assert tables.count(tmp_path / "m.parquet", tables.ALIGNMENT) == 0


def test_a_model_that_is_not_there_is_named(tmp_path: Path, shard: ShardTables) -> None:
    with pytest.raises(ModelError, match=r"alignment\.model=no-model"):
        score_alignment(shard, tmp_path / "scores.parquet", "no-model", 2)


def test_tables_of_different_runs_are_an_error(tmp_path: Path, shard: ShardTables) -> None:
    other = ShardTables(shard.sentences, _shard(tmp_path, ["multi-1"]).images, shard.captions)
    with pytest.raises(InputError, match=r"multi-2: 2 images are in only one of"):
        score_alignment(other, tmp_path / "scores.parquet", "", 2, encoder=Counted())
    rows = tables.read(shard.captions, tables.CAPTIONS)
    tables.write(shard.captions, tables.CAPTIONS, rows.filter(np.array([True, True, False, True])))
    with pytest.raises(InputError, match=r"multi-3: caption 3 is not among the captions"):
        score_alignment(shard, tmp_path / "scores.parquet", "", 2, encoder=Counted())


def test_random_scores_follow_from_the_ids_alone(tmp_path: Path, shard: ShardTables) -> None:
    for one, name in ((shard, "all"), (_shard(tmp_path, ["multi-2"]), "one")):
        one.images.unlink()
        score_at_random(one.sentences, one.captions, tmp_path / f"{name}.parquet")
    every, one = _scores(tmp_path / "all.parquet"), _scores(tmp_path / "one.parquet")
    assert one == {pair: score for pair, score in every.items() if pair[0] == "multi-2"}
    assert len(set(every.values())) == 8
    assert all(0 <= score < 1 for score in every.values())


def test_captions_are_matched_with_their_nearest_images_of_all_shards(tmp_path: Path, shard: ShardTables) -> None:
    score_alignment(shard, tmp_path / "s.parquet", "", 2, tmp_path / "all.parquet", Counted())
    match_captions(tmp_path / "all.parquet", tmp_path / "all.parquet", tmp_path / "m.parquet", 2)
    rows = tables.read(tmp_path / "all.parquet", tables.CLIP_VECTORS).to_pylist()
    images = {row["image_id"]: np.array(row["embedding"]) for row in rows if row["caption_id"] is None}
    found = tables.read(tmp_path / "m.parquet", tables.ALIGNMENT).to_pylist()
    assert len(found) == 2 * len(CAPTIONS)
    for row in rows:
        if row["caption_id"] is not None:
            cosines = {each: float(vector @ np.array(row["embedding"])) for each, vector in images.items()}
            nearest = sorted(cosines, key=lambda each: -cosines[each])[:2]
            mine = [each for each in found if each["caption_id"] == row["caption_id"]]
            assert [each["image_id"] for each in mine] == nearest
            assert [each["score"] for each in mine] == pytest.approx([cosines[each] for each in nearest], abs=1e-5)


def test_matches_do_not_depend_on_the_shards(tmp_path: Path, shard: ShardTables, clip_folder: Path) -> None:
    parts = [["multi-1", "multi-3"], ["multi-2"]]
    for number, part in enumerate([list(OWN), *parts]):
        vectors = tmp_path / f"v{number}.parquet"
        score_alignment(_shard(tmp_path, part), tmp_path / f"s{number}.parquet", str(clip_folder), number + 1, vectors)
    whole, first, second = (tmp_path / f"v{number}.parquet" for number in range(3))
    pictures = tmp_path / "pictures.parquet"
    gather_picture_vectors([first, second], pictures)
    assert tables.read(pictures, tables.CLIP_VECTORS)["image_id"].to_pylist() == ["multi-1", "multi-3", "multi-2"]
    match_captions(whole, whole, tmp_path / "m0.parquet", 3)
    match_captions(first, pictures, tmp_path / "m1.parquet", 3)
    match_captions(second, pictures, tmp_path / "m2.parquet", 3)
    assert _scores(tmp_path / "m0.parquet") == _scores(tmp_path / "m1.parquet") | _scores(tmp_path / "m2.parquet")
    assert _scores(tmp_path / "s0.parquet") == _scores(tmp_path / "s1.parquet") | _scores(tmp_path / "s2.parquet")


def test_a_sentence_without_a_picture_has_no_scores(tmp_path: Path, shard: ShardTables) -> None:
    rows = tables.read(shard.images, tables.IMAGES).to_pylist()
    missing = {"image": None, "reason": "refused: no"}
    tables.write(shard.images, tables.IMAGES, [rows[0] | missing, *rows[1:]])
    encoder, vectors = Counted(), tmp_path / "vectors.parquet"
    score_alignment(shard, tmp_path / "scores.parquet", "", 2, vectors, encoder)
    assert {image_id for image_id, _ in _scores(tmp_path / "scores.parquet")} == {row["image_id"] for row in rows[1:]}
    assert encoder.files == len(rows) - 1
    tables.write(shard.images, tables.IMAGES, [row | missing for row in rows])
    score_alignment(shard, tmp_path / "scores.parquet", "", 2, vectors, Counted())
    assert not _scores(tmp_path / "scores.parquet") and not tables.count(vectors, tables.CLIP_VECTORS)
