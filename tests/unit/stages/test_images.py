import io
import json
import logging
import shutil
from dataclasses import replace
from functools import wraps
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from icsd.config.revisions import REVISIONS
from icsd.core import tables
from icsd.core.contact_sheet import CELL, GAP, contact_sheet
from icsd.core.errors import ConfigError, InputError, ModelError
from icsd.core.files import FileDigests
from icsd.core.ids import item_seed, shard_names, shard_of
from icsd.core.store import Store
from icsd.models.model_folder import folder_digest
from icsd.stages.images import Drawing, generate_images, image_store
from icsd.stages.images.stage import PIPELINE_SUFFIXES, UNUSED_PARTS, _keys
from icsd.stages.sentences import Drawn, select_anchor_captions, select_matched_sentences, select_sentences

ARMS = ["multi", "single", "single_matched"]
# diffusers' DPM-Solver and NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _png(color: str | tuple[int, int, int], size: tuple[int, int] = (16, 16)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format="PNG")
    return buffer.getvalue()


def _summary(group_id: int, selected: list[int], status: str = "ok") -> dict[str, object]:
    summary = f"summary {group_id}" if status == "ok" else None
    about = {"prompt_tokens": None, "completion_tokens": None, "model": "merge", "prompt_hash": "abc"}
    reason = None if status == "ok" else "not JSON"
    return about | {
        "group_id": group_id,
        "summary": summary,
        "selected": selected,
        "status": status,
        "reason": reason,
    }


def _corpus(folder: Path) -> tuple[list[Path], Path]:
    """Twelve summaries, the fourth of them dropped, in two shards, and forty captions."""
    summaries = [_summary(i, [i, i + 1, 30]) for i in range(12)]
    summaries[3] = _summary(3, [], "dropped")
    captions = [{"caption_id": i, "image_id": i, "caption": f"caption {i}", "split": "train"} for i in range(40)]
    shards = [folder / f"summaries-{number}.parquet" for number in range(2)]
    for number, path in enumerate(shards):
        tables.write(path, tables.SUMMARIES, summaries[number::2])
    tables.write(folder / "captions.parquet", tables.CAPTIONS, captions)
    return shards, folder / "captions.parquet"


def _select(folder: Path, arm: str, pictures: int, shards: int = 1, seed: int = 0, spare: float = 0.0) -> list[dict]:
    """For single_matched, the pairs of multi are those of `pictures` summaries."""
    summaries, captions = _corpus(folder)
    path = folder / f"sentences-{arm}.parquet"
    if arm == "single_matched":
        pairs = [
            {"image_id": row["image_id"], "caption_id": caption_id, "caption": ""}
            for row in _select(folder, "multi", pictures)
            for caption_id in row["caption_ids"]
        ]
        tables.write(folder / "pairs.parquet", tables.PAIRS, pairs)
        select_matched_sentences(arm, folder / "pairs.parquet", captions, path, shards, seed)
    else:
        select_sentences(arm, summaries, captions, path, shards, pictures, spare, seed)
    for number, name in enumerate(shard_names(shards)):
        ids = tables.read(path, tables.SENTENCES, shard=name)["image_id"].to_pylist()
        assert all(shard_of(image_id, shards) == number for image_id in ids)
    return tables.read(path, tables.SENTENCES).to_pylist()


def test_multi_draws_usable_summaries_with_their_captions(tmp_path: Path) -> None:
    rows = _select(tmp_path, "multi", 100)
    assert {row["group_id"] for row in rows} == set(range(12)) - {3}
    row = next(row for row in rows if row["group_id"] == 7)
    assert row == {
        "image_id": "multi-7",
        "arm": "multi",
        "sentence": "summary 7",
        "group_id": 7,
        "caption_ids": [7, 8, 30],
        "seed": item_seed("multi-7", 0),
        "prompt_hash": "abc",
    }


def test_fewer_pictures_are_the_first_of_more_and_not_by_id(tmp_path: Path) -> None:
    few = [row["image_id"] for row in _select(tmp_path, "multi", 5)]
    assert few == [row["image_id"] for row in _select(tmp_path, "multi", 9)][:5]
    assert few != [f"multi-{i}" for i in (0, 1, 2, 4, 5)]


def test_single_draws_as_many_captions_as_multi_summaries(tmp_path: Path) -> None:
    rows = _select(tmp_path, "single", 5)
    assert len(rows) == 5
    for row in rows:
        (caption_id,) = row["caption_ids"]
        assert (row["image_id"], row["sentence"]) == (f"single-{caption_id}", f"caption {caption_id}")
        assert row["group_id"] is None and row["prompt_hash"] is None
    assert len(_select(tmp_path, "single", 100)) == 11


def test_neighbors_draws_anchor_captions_with_their_nearest(tmp_path: Path) -> None:
    """The anchor comes first, even where another caption of the same text stands before it."""
    captions, groups, path = _corpus(tmp_path)[1], tmp_path / "groups.parquet", tmp_path / "s.parquet"
    rows = [{"group_id": i, "caption_ids": [i + 1, i, *range(20, 29)], "similarities": [1.0] * 11} for i in range(9)]
    tables.write(groups, tables.GROUPS, rows)
    select_anchor_captions("neighbors", groups, captions, path, 1, 4, 0)
    found = tables.read(path, tables.SENTENCES).to_pylist()
    assert len(found) == 4
    for row in found:
        number = row["group_id"]
        assert (row["image_id"], row["sentence"]) == (f"neighbors-{number}", f"caption {number}")
        assert row["caption_ids"] == [number, number + 1, 20, 21, 22]
    tables.write(groups, tables.GROUPS, [{"group_id": 99, "caption_ids": [1], "similarities": [1.0]}])
    with pytest.raises(InputError, match=r"group_id 99: its anchor is not in"):
        select_anchor_captions("neighbors", groups, captions, path, 1, 4, 0)


def test_single_draws_a_share_more_to_spare_and_the_same_first(tmp_path: Path) -> None:
    few, more = (_select(tmp_path, "single", 5, spare=spare) for spare in (0.0, 0.25))
    assert len(more) == 7
    assert {row["image_id"] for row in few} < {row["image_id"] for row in more}
    assert len(_select(tmp_path, "single", 100, spare=1.0)) == 22
    assert len(_select(tmp_path, "single", 100, spare=0.0)) == 11


def test_single_matched_draws_each_caption_of_multi_once(tmp_path: Path) -> None:
    multi, rows = _select(tmp_path, "multi", 5), _select(tmp_path, "single_matched", 5)
    assert sorted(row["caption_ids"][0] for row in rows) == sorted({i for row in multi for i in row["caption_ids"]})


def test_single_matched_draws_the_captions_of_multis_safe_images_where_scores_drop_pairs(tmp_path: Path) -> None:
    multi = _select(tmp_path, "multi", 100)
    again = next(row for row in multi if row["group_id"] == 4)  # its first candidate is unsafe
    tables.write(tmp_path / "further.parquet", tables.SENTENCES, [again | {"image_id": "multi-4_1"}])
    verdicts = {row["image_id"]: "safe" for row in multi} | {"multi-4_1": "safe"}
    verdicts |= {"multi-4": "unsafe", "multi-0": "blank"}
    rows = [{"image_id": image_id, "score": 0.0, "verdict": verdict} for image_id, verdict in verdicts.items()]
    for number in range(2):
        tables.write(tmp_path / f"safety-{number}.parquet", tables.SAFETY, rows[number::2])
    drawn = Drawn(
        [tmp_path / "sentences-multi.parquet", tmp_path / "further.parquet"],
        safety=[tmp_path / f"safety-{number}.parquet" for number in range(2)],
    )
    path = tmp_path / "matched.parquet"
    select_matched_sentences("single_matched", drawn, tmp_path / "captions.parquet", path, 1, 0)
    used = {i for row in multi for i in row["caption_ids"] if row["image_id"] != "multi-0"}
    assert 4 in used and 0 not in used  # captions of one group alone
    assert {row["caption_ids"][0] for row in tables.read(path, tables.SENTENCES).to_pylist()} == used


@pytest.mark.parametrize("arm", ARMS)
def test_four_shards_of_sentences_give_the_rows_of_one(tmp_path: Path, arm: str) -> None:
    def by_id(rows: list[dict]) -> list[dict]:
        return sorted(rows, key=lambda row: row["image_id"])

    assert by_id(_select(tmp_path, arm, 5, shards=4)) == by_id(_select(tmp_path, arm, 5))
    assert len(_select(tmp_path, arm, 2, shards=16)) >= 2  # most of them empty


def test_another_seed_draws_the_same_sentences(tmp_path: Path) -> None:
    first, second = _select(tmp_path, "multi", 5, seed=0), _select(tmp_path, "multi", 5, seed=1)
    assert [row["image_id"] for row in first] == [row["image_id"] for row in second]
    assert not {row["seed"] for row in first} & {row["seed"] for row in second}


@pytest.fixture
def settings(stable_diffusion_folder: Path) -> Drawing:
    return Drawing(str(stable_diffusion_folder), steps=3, guidance_scale=3.0, size=None, negative_prompt="")


def _sentences(path: Path, numbers: list[int]) -> Path:
    rows = [
        {
            "image_id": f"single-{i}",
            "arm": "single",
            "sentence": f"a red dog no. {i}",
            "group_id": None,
            "caption_ids": [i],
            "seed": item_seed(f"single-{i}", 0),
            "prompt_hash": None,
        }
        for i in numbers
    ]
    tables.write(path, tables.SENTENCES, rows)
    return path


def _kept(folder: Path) -> Store:
    return image_store(folder / "drawn", "tiny")


def _generate(folder: Path, numbers: list[int], settings: Drawing, batch_size: int = 8) -> dict[str, np.ndarray]:
    path = folder / "images" / "single" / "0000-of-0001.parquet"
    sentences = _sentences(folder / "sentences.parquet", numbers)
    generate_images(sentences, path, path.with_suffix(".png"), settings, batch_size, _kept(folder))
    rows = tables.read(path, tables.IMAGES).to_pylist()
    assert [row["image_id"] for row in rows] == [f"single-{i}" for i in numbers]
    return {row["image_id"]: np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows}


def _assert_same_pictures(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(expected)
    for image_id, pixels in found.items():
        assert np.abs(pixels.astype(int) - expected[image_id].astype(int)).max() <= 1, image_id


def test_pictures_do_not_depend_on_batch_or_shard(tmp_path: Path, settings: Drawing) -> None:
    together = _generate(tmp_path / "together", [1, 2, 3, 4, 5], settings)
    alone = _generate(tmp_path / "alone", [1, 2, 3, 4, 5], settings, batch_size=2)
    shards = _generate(tmp_path / "first", [4, 1], settings) | _generate(tmp_path / "second", [2, 5, 3], settings)
    _assert_same_pictures(alone, together)
    _assert_same_pictures(shards, together)
    assert together["single-1"].shape == (16, 16, 3)
    assert not np.array_equal(together["single-1"], together["single-2"])


@pytest.mark.parametrize("change", [{"steps": 4}, {"guidance_scale": 7.5}, {"size": 24}, {"negative_prompt": "fog"}])
def test_each_setting_changes_the_picture(tmp_path: Path, settings: Drawing, change: dict) -> None:
    before = _generate(tmp_path, [1], settings)["single-1"]
    after = _generate(tmp_path, [1], replace(settings, **change))["single-1"]
    assert not np.array_equal(before, after)


def test_only_new_sentences_are_drawn(tmp_path: Path, settings: Drawing, monkeypatch: pytest.MonkeyPatch) -> None:
    from icsd.models.image_generator import ImageGenerator

    asked: list[str] = []
    draw = ImageGenerator.draw

    def recording(self, sentences, *arguments, **settings):
        asked.extend(sentences)
        draw(self, sentences, *arguments, **settings)

    monkeypatch.setattr(ImageGenerator, "draw", recording)
    first = _generate(tmp_path, [1, 2], settings)
    again = _generate(tmp_path, [2, 3, 1], settings)
    assert asked == ["a red dog no. 1", "a red dog no. 2", "a red dog no. 3"]
    assert all(np.array_equal(again[image_id], first[image_id]) for image_id in first)


def test_a_killed_job_keeps_what_it_has_drawn(
    tmp_path: Path, settings: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import StableDiffusionPipeline

    call, calls = StableDiffusionPipeline.__call__, []

    @wraps(call)
    def killed_at_the_second_batch(self, *arguments, **settings):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return call(self, *arguments, **settings)

    monkeypatch.setattr(StableDiffusionPipeline, "__call__", killed_at_the_second_batch)
    with pytest.raises(KeyboardInterrupt):
        _generate(tmp_path, [1, 2, 3], settings, batch_size=2)
    assert not list(tmp_path.glob("images/single/*"))
    assert _kept(tmp_path).count() == 2
    _generate(tmp_path, [1, 2, 3], settings, batch_size=2)
    assert len(calls) == 3


def test_all_that_determines_a_picture_is_in_its_key(tmp_path: Path, settings: Drawing) -> None:
    square = replace(settings, size=16)
    _generate(tmp_path, [1], square)
    changes = [{"size": [16, 24]}, {"dtype": "bfloat16"}, {"scheduler": "model"}, {"steps": 4}]
    for number, change in enumerate(changes, start=2):
        _generate(tmp_path, [1], replace(square, **change))
        assert _kept(tmp_path).count() == number
    for same in ({"size": [16, 16]}, {"dtype": "float32"}):
        _generate(tmp_path, [1], replace(square, **same))
    _generate(tmp_path, [1], replace(square, dtype="auto"))
    assert _kept(tmp_path).count() == len(changes) + 1 + torch.cuda.is_available()


def test_later_settings_change_a_key_only_where_they_are_set(tmp_path: Path, settings: Drawing) -> None:
    digests, folder = FileDigests(tmp_path / "digests.json"), Path(settings.model)
    row = {"sentence": "A dog.", "seed": 7}
    files = [tmp_path / f"{name}.safetensors" for name in ("red", "blue", "copy")]
    for path, content in zip(files, (b"red", b"blue", b"red"), strict=True):
        path.write_bytes(content)

    def key(**changes: Any) -> str:
        return _keys([row], replace(settings, **changes), folder, digests)[0]

    def lora(path: Path, scale: float = 1.0) -> dict[str, Any]:
        return {"model": str(path), "file": None, "scale": scale}

    weights = folder_digest(folder, UNUSED_PARTS, PIPELINE_SUFFIXES, digests.sha256)
    before = row | {
        "model": weights, "steps": 3, "guidance_scale": 3.0, "size": None, "negative_prompt": "", "dtype": "float32",
        "scheduler": "dpmsolver++", "revision": REVISIONS["images"],
    }  # fmt: skip
    assert key() == sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
    red, blue, copy = files
    changes: list[dict[str, Any]] = [
        {}, {"parameters": {"eta": 0.5}}, {"parameters": {"eta": 1.0}}, {"quantize": "8bit"}, {"quantize": "4bit"},
        {"lora": [lora(red)]}, {"lora": [lora(blue)]}, {"lora": [lora(red, 0.5)]}, {"lora": [lora(red), lora(blue)]},
    ]  # fmt: skip
    assert len({key(**change) for change in changes}) == len(changes)
    assert key(lora=[lora(copy)]) == key(lora=[lora(red)])  # weights count by content, not by name


def test_new_weights_draw_anew_and_a_new_checker_does_not(
    tmp_path: Path, settings: Drawing, stable_diffusion_folder: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(stable_diffusion_folder, copy)
    moved = replace(settings, model=str(copy))
    _generate(tmp_path, [1], settings)
    (copy / "safety_checker" / "config.json").write_text("{}")
    _generate(tmp_path, [1], moved)
    assert _kept(tmp_path).count() == 1
    scheduler = copy / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("scaled_linear", "linear"))
    _generate(tmp_path, [1], moved)
    assert _kept(tmp_path).count() == 2


def test_images_open_as_images_in_datasets(tmp_path: Path, settings: Drawing) -> None:
    datasets = pytest.importorskip("datasets")
    pixels = _generate(tmp_path, [1], settings)["single-1"]
    files = str(tmp_path / "images" / "single" / "0000-of-0001.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    assert np.array_equal(np.asarray(rows[0]["image"]), pixels)
    assert rows[0]["sentence"] == "a red dog no. 1"


def test_an_empty_shard_needs_no_model(tmp_path: Path, settings: Drawing) -> None:
    assert _generate(tmp_path, [], replace(settings, model="/nowhere")) == {}
    sheet = (tmp_path / "images" / "single" / "0000-of-0001.png").read_bytes()
    assert Image.open(io.BytesIO(sheet)).width > 0


def test_long_sentences_are_counted_in_the_log(
    tmp_path: Path, settings: Drawing, caplog: pytest.LogCaptureFixture
) -> None:
    rows = tables.read(_sentences(tmp_path / "few.parquet", [1, 2]), tables.SENTENCES).to_pylist()
    rows[1]["sentence"] = "dog " * 20
    tables.write(tmp_path / "long.parquet", tables.SENTENCES, rows)
    path = tmp_path / "images" / "single" / "0000-of-0001.parquet"
    with caplog.at_level(logging.WARNING):
        generate_images(tmp_path / "long.parquet", path, path.with_suffix(".png"), settings, 2, _kept(tmp_path))
    assert "1 of 2 sentences are longer than the text encoder's 24 tokens" in caplog.text


@pytest.mark.parametrize("model", ["resources/picturebook/nowhere", "/nowhere", "stable-diffusion"])
def test_a_missing_model_folder_is_named(tmp_path: Path, settings: Drawing, model: str) -> None:
    with pytest.raises(ModelError, match=rf"^images\.model={model}: no such folder; give .*config\.yaml$"):
        _generate(tmp_path, [1], replace(settings, model=model))
    assert not list(tmp_path.glob("images/**/*.p*"))


@pytest.mark.parametrize("damage", ["model_index.json", "unet/diffusion_pytorch_model.safetensors", "cut"])
def test_a_broken_model_folder_is_named(
    tmp_path: Path, settings: Drawing, stable_diffusion_folder: Path, damage: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(stable_diffusion_folder, copy)
    weights = copy / "vae" / "diffusion_pytorch_model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        (copy / damage).unlink()
    with pytest.raises(ModelError, match=r"^images\.model: diffusers cannot load .*copy"):
        _generate(tmp_path, [1], replace(settings, model=str(copy)))


def test_pickled_weights_are_refused(tmp_path: Path, settings: Drawing, stable_diffusion_folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    copy = tmp_path / "copy"
    shutil.copytree(stable_diffusion_folder, copy)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(ModelError, match=r"safetensors"):
        _generate(tmp_path, [1], replace(settings, model=str(copy)))


def test_a_size_that_the_model_cannot_draw_is_an_error(tmp_path: Path, settings: Drawing) -> None:
    with pytest.raises(ConfigError, match=r"^images\.size=30 must be a multiple of 8, in config/config\.yaml$"):
        _generate(tmp_path, [1], replace(settings, size=30))


def test_truncated_sentences_are_named(tmp_path: Path, settings: Drawing) -> None:
    path = _sentences(tmp_path / "sentences.parquet", [1])
    path.write_bytes(path.read_bytes()[:-20])
    images = tmp_path / "images" / "single" / "images.parquet"
    with pytest.raises(InputError, match=r"sentences\.parquet"):
        generate_images(path, images, images.with_suffix(".png"), settings, 2, _kept(tmp_path))
    assert not images.parent.exists()


def test_contact_sheet_shows_pixels_enlarged_and_captions_below() -> None:
    sheet = contact_sheet([_png("red"), _png("blue", (300, 200))], ["a red square " * 20, "ü"])
    assert sheet.width == 2 * (CELL + GAP) + GAP
    assert sheet.getpixel((GAP, GAP)) == (255, 0, 0)
    assert sheet.getpixel((GAP + CELL - 1, GAP + CELL - 1)) == (255, 0, 0)
    assert sheet.getpixel((2 * GAP + CELL + CELL // 2, GAP + CELL // 2)) == (0, 0, 255)
    assert np.asarray(sheet)[GAP + CELL :].min() < 100  # ink


def test_contact_sheet_holds_sixty_four_at_most() -> None:
    full, more = contact_sheet([_png("red")] * 64, ["x"] * 64), contact_sheet([_png("red")] * 70, ["x"] * 70)
    assert full.size == more.size
