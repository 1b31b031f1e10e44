import subprocess
import sys
from pathlib import Path

import pytest

from icsd import tables
from icsd.cli import main

SHARD = "0001-of-0002.parquet"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A run with two pictures drawn of multi and one of single, of which multi-7 was unsafe."""
    captions = [{"caption_id": i, "image_id": i, "caption": f"caption {i}", "split": "train"} for i in range(20)]
    about = {"prompt_tokens": None, "completion_tokens": None, "model": "merge", "prompt_hash": "abc"}
    ok = {**about, "summary": "a dog", "selected": [4, 9], "status": "ok", "reason": None}
    dropped = {**about, "summary": None, "selected": [], "status": "dropped", "reason": "not JSON"}
    summaries = [
        {**ok, "group_id": 4},
        {**ok, "group_id": 7},
        {**ok, "group_id": 8},
        {**dropped, "group_id": 5},
    ]
    _write(tmp_path / "captions" / "all.parquet", tables.CAPTIONS, captions)
    _write(tmp_path / "summaries" / SHARD, tables.SUMMARIES, summaries)
    _write(tmp_path / "images" / "multi" / "sentences.parquet", tables.SENTENCES, [_sentence(4), _sentence(7)])
    _write(tmp_path / "images" / "multi" / SHARD, tables.IMAGES, [_image("multi-4"), _image("multi-7")])
    checks = [_check("multi-4", -0.25, "safe"), _check("multi-7", 0.5, "unsafe")]
    _write(tmp_path / "safety" / "multi" / SHARD, tables.SAFETY, checks)
    pairs = [{"image_id": "multi-4", "caption_id": i, "caption": f"caption {i}"} for i in (4, 9)]
    ledger = [
        {"stage": "images", "item_id": "multi-4", "kept": True, "reason": None},
        {"stage": "images", "item_id": "multi-8", "kept": False, "reason": "not among the first 2"},
        {"stage": "safety", "item_id": "multi-4", "kept": True, "reason": None},
        {"stage": "safety", "item_id": "multi-7", "kept": False, "reason": "unsafe: 0.500"},
    ]
    for arm, own in [("multi", pairs), ("multi_head", pairs[:1])]:
        _write(tmp_path / "dataset" / arm / "pairs.parquet", tables.PAIRS, own)
        _write(tmp_path / "dataset" / arm / "ledger.parquet", tables.LEDGER, ledger)
    single = _sentence(9) | {"image_id": "single-9", "arm": "single", "group_id": None, "caption_ids": [9]}
    _write(tmp_path / "images" / "single" / "sentences.parquet", tables.SENTENCES, [single])
    real = [{"caption_id": 1, "image_id": 33, "caption": "a real dog", "split": "val"}]
    _write(tmp_path / "pictures" / "val" / "images.parquet", tables.IMAGES, [_image("real-33")])
    _write(tmp_path / "pictures" / "val" / "captions.parquet", tables.CAPTIONS, real)
    return tmp_path


def _write(path: Path, table: tables.Table, rows: list[dict]) -> None:
    tables.write(path, table, rows)


def _sentence(group_id: int) -> dict:
    return {
        "image_id": f"multi-{group_id}",
        "arm": "multi",
        "sentence": "a dog",
        "group_id": group_id,
        "caption_ids": [4, 9],
        "seed": 123,
        "prompt_hash": "abc",
    }


def _image(image_id: str) -> dict:
    image = {"bytes": b"", "path": "x.png"}
    return {"image_id": image_id, "image": image, "sentence": "", "seed": 1, "model": "tiny/model"}


def _check(image_id: str, score: float, verdict: str) -> dict:
    return {"image_id": image_id, "score": score, "verdict": verdict}


def _trace(results: Path, image_id: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["trace", image_id, "--results", str(results)]) == 0
    return capsys.readouterr().out


def test_trace_tells_all_of_an_image(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _trace(results, "multi-4", capsys).splitlines() == [
        "image     multi-4",
        "sentence  a dog",
        "seed      123",
        "group     4, summarised from 2 captions",
        "prompt    abc (merge)",
        "caption   4: caption 4",
        "caption   9: caption 9",
        "model     tiny/model",
        f"shard     {results / 'images' / 'multi' / SHARD}",
        "safety    safe, score -0.250",
        "dataset   multi: 2 pairs",
        "dataset   multi_head: 1 pair",
    ]


def test_trace_tells_why_an_image_is_in_no_dataset(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "dataset   multi: not in it: unsafe: 0.500" in _trace(results, "multi-7", capsys)
    undrawn = _trace(results, "multi-8", capsys)
    assert "drawn     no" in undrawn
    assert "dataset   multi: not in it: not among the first 2" in undrawn
    assert "group     5, dropped: not JSON" in _trace(results, "multi-5", capsys)


def test_trace_of_an_image_not_yet_drawn(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = _trace(results, "single-9", capsys)
    assert "drawn     not yet" in out and "caption   9: caption 9" in out and "group" not in out


def test_trace_of_a_real_picture(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = _trace(results, "real-33", capsys)
    assert "caption   1: a real dog" in out and "val" in out


@pytest.mark.parametrize(
    ("image_id", "hint"),
    [
        ("multi-10", "the nearest are multi-7, multi-4"),
        ("single-x", "the nearest are single-9"),
        ("real-30", "the nearest are real-33"),
        ("mutli-4", "arms with images there: multi, single"),
        ("4", "arms with images there: multi, single"),
    ],
)
def test_an_unknown_id_is_one_message_with_the_nearest(
    results: Path, capsys: pytest.CaptureFixture[str], image_id: str, hint: str
) -> None:
    assert main(["trace", image_id, "--results", str(results)]) == 1
    message = capsys.readouterr().err
    assert image_id in message and hint in message


def test_without_an_id_the_arms_are_shown_with_some_ids(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentences = results / "images" / "multi" / "sentences.parquet"
    _write(sentences, tables.SENTENCES, [_sentence(number) for number in (12, 7, 10, 9, 4)])
    assert main(["trace", "--results", str(results)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "multi           5 known, such as multi-4, multi-7, multi-9",
        "single          1 known, such as single-9",
        "real            1 known, such as real-33",
    ]


def test_without_an_id_and_without_images_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "--results", str(tmp_path)]) == 1
    assert "run snakemake first" in capsys.readouterr().err


def test_a_missing_run_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "multi-4", "--results", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_help_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "trace" in capsys.readouterr().out


def test_the_command_imports_no_torch() -> None:
    code = "import sys, icsd.cli; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
