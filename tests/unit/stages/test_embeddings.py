import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from icsd.core import tables
from icsd.core.errors import InputError, ModelError
from icsd.core.ids import shard_of
from icsd.core.vectors import STEP, from_lists, to_lists, unit_on_grid
from icsd.models.text_encoder import load_text_encoder
from icsd.stages.embeddings import embed_captions, gather_embeddings

CAPTIONS = [
    "A red ball.",
    "A dog.",
    "A blue kite over a very green and wide meadow with a dog",
    "",
    "A dog.",
    "zebra",
]


def _write_captions(path: Path, captions: dict[int, str]) -> Path:
    rows = [{"caption_id": i, "image_id": 1, "caption": text, "split": "train"} for i, text in captions.items()]
    tables.write(path, tables.CAPTIONS, rows)
    return path


def _embed(
    folder: Path, captions: dict[int, str], model: Path, shards: int = 1, batch_tokens: int = 64
) -> dict[int, np.ndarray]:
    found = {}
    for shard in range(shards):
        own = {i: text for i, text in captions.items() if shard_of(i, shards) == shard}
        source = _write_captions(folder / f"captions-{shard}-of-{shards}.parquet", own)
        target = folder / f"embeddings-{shard}-of-{shards}.parquet"
        embed_captions(source, target, {"kind": "open_clip", "model": str(model), "precision": "float64"}, batch_tokens)
        rows = tables.read(target, tables.EMBEDDINGS)
        assert rows["caption_id"].to_pylist() == list(own)
        found |= dict(zip(own, from_lists(rows["embedding"]), strict=True))
    return found


def test_embed_captions_gives_open_clips_unit_vectors(tmp_path: Path, clip_folder: Path) -> None:
    import open_clip

    found = _embed(tmp_path, dict(enumerate(CAPTIONS)), clip_folder)
    model = open_clip.create_model(f"local-dir:{clip_folder}")
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(CAPTIONS)
        expected = model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(np.stack(list(found.values())), expected, atol=1e-5)
    np.testing.assert_allclose([np.linalg.norm(v) for v in found.values()], 1, atol=1e-5)


def test_embed_captions_gives_the_same_bits_for_any_shards_and_batches(tmp_path: Path, clip_folder: Path) -> None:
    captions = {i: f"{CAPTIONS[i % 6]} with {'many ' * (i % 7)}things {i % 20}" for i in range(60)}
    one = _embed(tmp_path, captions, clip_folder, shards=1, batch_tokens=900)
    four = _embed(tmp_path, captions, clip_folder, shards=4, batch_tokens=50)
    assert all(np.array_equal(one[i], four[i]) for i in captions)


def test_captions_of_equal_text_have_equal_vectors(tmp_path: Path, clip_folder: Path) -> None:
    found = _embed(tmp_path, dict(enumerate(CAPTIONS)), clip_folder)
    assert np.array_equal(found[1], found[4])


def test_captions_longer_than_the_context_are_cut(tmp_path: Path, clip_folder: Path) -> None:
    found = _embed(tmp_path, {1: "dog " * 200, 2: "dog " * 300}, clip_folder)
    assert np.array_equal(found[1], found[2])


def test_an_empty_shard_gives_an_empty_one(tmp_path: Path, clip_folder: Path) -> None:
    assert _embed(tmp_path, {}, clip_folder) == {}


def test_a_truncated_shard_is_named(tmp_path: Path, clip_folder: Path) -> None:
    source = _write_captions(tmp_path / "captions.parquet", {1: "A dog."})
    source.write_bytes(source.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"captions\.parquet"):
        embed_captions(source, tmp_path / "embeddings.parquet", {"model": str(clip_folder)}, 64)
    assert not (tmp_path / "embeddings.parquet").exists()


def _embeddings(folder: Path, name: str, captions: dict[int, str], **encoder: str) -> Path:
    source = _write_captions(folder / "captions.parquet", captions)
    embed_captions(source, folder / name, encoder, 64)
    return folder / name


def test_gathered_shards_hold_the_rows_of_all(tmp_path: Path, clip_folder: Path) -> None:
    parts = [{1: "A dog.", 2: "zebra"}, {}, {3: "A red ball."}]
    shards = [_embeddings(tmp_path, f"{i}.parquet", part, model=str(clip_folder)) for i, part in enumerate(parts)]
    gather_embeddings(shards, tmp_path / "all.parquet")
    assert tables.read(tmp_path / "all.parquet", tables.EMBEDDINGS)["caption_id"].to_pylist() == [1, 2, 3]
    assert tables.about(shards[1], tables.EMBEDDINGS) is None
    about = tables.about(shards[0], tables.EMBEDDINGS)
    assert about == tables.about(shards[2], tables.EMBEDDINGS)
    assert about is not None
    assert {**about, "files": len(about["files"])} == {
        "kind": "open_clip", "model": str(clip_folder), "precision": "float64", "dimension": "16", "files": 64,
    }  # fmt: skip


def _other_dimension(folder: Path, clip: Path) -> Path:
    """The shard of another model: a folder with another text projection."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(clip, folder / "other")
    config = json.loads((clip / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 12
    (folder / "other" / "open_clip_config.json").write_text(json.dumps(config))
    weights = load_file(clip / "open_clip_model.safetensors")
    cut = {name: weights[name][:, :12].contiguous() for name in ("text_projection", "visual.proj")}
    save_file(weights | cut, folder / "other" / "open_clip_model.safetensors")
    return _embeddings(folder, "other.parquet", {3: "zebra"}, model=str(folder / "other"))


def _other_precision(folder: Path, clip: Path) -> Path:
    return _embeddings(folder, "other.parquet", {3: "zebra"}, model=str(clip), precision="float32")


def _silent(folder: Path, clip: Path) -> Path:
    """A shard that does not say what made it."""
    shard = tables.read(_embeddings(folder, "own.parquet", {3: "zebra"}, model=str(clip)), tables.EMBEDDINGS)
    tables.write(folder / "other.parquet", tables.EMBEDDINGS, shard)
    return folder / "other.parquet"


def _other_revision(folder: Path, clip: Path) -> Path:
    """A shard of the same folder, whose weights were replaced meanwhile."""
    from safetensors.torch import load_file, save_file

    weights = load_file(clip / "open_clip_model.safetensors")
    save_file({name: 2 * each for name, each in weights.items()}, clip / "open_clip_model.safetensors")
    return _embeddings(folder, "other.parquet", {3: "zebra"}, model=str(clip))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (
            _other_dimension,
            r"dimension 12, files \w+, model .*other; there dimension 16, files \w+, model .*clip; a run",
        ),
        (_other_precision, "precision float32; there precision float64; a run"),
        (_other_revision, r"files \w+; there files \w+; a run"),
        (_silent, "dimension unknown, .*; there dimension 16, "),
    ],
)
def test_shards_of_two_encoders_are_refused(
    tmp_path: Path, clip_folder: Path, other: Callable[[Path, Path], Path], difference: str
) -> None:
    clip = Path(shutil.copytree(clip_folder, tmp_path / "clip"))
    shards = [_embeddings(tmp_path, "one.parquet", {1: "A dog."}, model=str(clip)), other(tmp_path, clip)]
    message = rf"other\.parquet: its vectors are of another encoder than those of .*one\.parquet: {difference}"
    with pytest.raises(InputError, match=message):
        gather_embeddings(shards, tmp_path / "all.parquet")
    assert not (tmp_path / "all.parquet").exists()


def test_a_missing_weights_folder_is_named_with_the_way_out(tmp_path: Path) -> None:
    missing = tmp_path / "clip"
    with pytest.raises(ModelError, match=r"embeddings\.model=.*clip: no such folder.*open_clip_model\.safetensors"):
        load_text_encoder(str(missing))


@pytest.mark.parametrize("name", ["open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json"])
def test_a_missing_model_file_is_named(tmp_path: Path, clip_folder: Path, name: str) -> None:
    for file in clip_folder.iterdir():
        if file.name != name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.pth").write_bytes(b"a pickle, never opened")
    with pytest.raises(ModelError, match=name):
        load_text_encoder(str(tmp_path))


def test_weights_that_do_not_fit_their_config_are_refused(tmp_path: Path, clip_folder: Path) -> None:
    for file in clip_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["width"] = 48
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot load the folder"):
        load_text_encoder(str(tmp_path))


def test_an_unknown_pretrained_name_is_refused() -> None:
    with pytest.raises(ModelError, match="ViT-B-32/nobody: no such folder, and no model of open_clip"):
        load_text_encoder("ViT-B-32/nobody")


def test_unit_on_grid_gives_unit_float32_multiples_of_the_step() -> None:
    vectors = unit_on_grid(np.random.default_rng(0).normal(size=(50, 64)))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors / STEP, np.rint(vectors / STEP))


def test_lists_of_a_matrix_give_the_matrix_back() -> None:
    import pyarrow as pa

    matrix = np.arange(6, dtype=np.float32).reshape(3, 2)
    column = pa.chunked_array([to_lists(matrix[:1]), to_lists(matrix[1:])])
    assert np.array_equal(from_lists(column), matrix)
    with pytest.raises(ValueError, match="different lengths"):
        from_lists(pa.chunked_array([pa.array([[1.0], [1.0, 2.0]])]))
