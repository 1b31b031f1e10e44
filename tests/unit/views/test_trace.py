import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from icsd.cli import main
from icsd.core import tables

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


@pytest.fixture
def grouped(results: Path) -> Path:
    """The same with its groups, a captioner of multi, and what it says of a test picture."""
    groups = [
        {"group_id": 4, "caption_ids": [4, 9, 5], "similarities": [1.0, 0.75, 0.5]},
        {"group_id": 5, "caption_ids": [5, 4], "similarities": [1.0, 0.5]},
        {"group_id": 9, "caption_ids": [9, 4], "similarities": [1.0, 0.75]},
    ]
    _write(results / "groups" / "all.parquet", tables.GROUPS, groups)
    _write(results / "captioner" / "multi" / "seed-0" / "history.parquet", tables.HISTORY, [])
    said = [{"image_id": "real-33", "caption": "a cat"}]
    _write(results / "evaluation" / "multi" / "seed-0" / "val" / "predictions.parquet", tables.PREDICTIONS, said)
    return results


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


def _check(image_id: str, score: float | None, verdict: str) -> dict:
    return {"image_id": image_id, "score": score, "verdict": verdict}


def _trace(results: Path, image_id: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["trace", image_id, "--results", str(results)]) == 0
    return capsys.readouterr().out


def test_trace_shows_all_rows_on_an_image(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_trace_shows_why_an_image_is_in_no_dataset(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "dataset   multi: not in it: unsafe: 0.500" in _trace(results, "multi-7", capsys)
    undrawn = _trace(results, "multi-8", capsys)
    assert "drawn     no" in undrawn
    assert "dataset   multi: not in it: not among the first 2" in undrawn
    assert "group     5, dropped: not JSON" in _trace(results, "multi-5", capsys)


def test_trace_shows_why_a_server_drew_no_image(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = _image("multi-7") | {"image": None, "reason": "refused: moderation_blocked, no"}
    _write(results / "images" / "multi" / SHARD, tables.IMAGES, [_image("multi-4"), refused])
    _write(results / "safety" / "multi" / SHARD, tables.SAFETY, [_check("multi-7", None, "missing")])
    out = _trace(results, "multi-7", capsys)
    assert "drawn     no: refused: moderation_blocked, no" in out and "safety    missing\n" in out


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
        ("group", "arms with images there: multi, single"),
        ("caption-30", "the nearest are caption-19, caption-18, caption-17"),
        ("30", "the nearest are caption-19"),
        ("group-6", "the nearest are group-5, group-4, group-9"),
        ("group-99999999999999999999", "the nearest are group-9"),
        ("multi-99999999999999999999", "the nearest are multi-7"),
    ],
)
def test_an_unknown_id_is_one_message_with_the_nearest(
    grouped: Path, capsys: pytest.CaptureFixture[str], image_id: str, hint: str
) -> None:
    assert main(["trace", image_id, "--results", str(grouped)]) == 1
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


def test_an_error_of_a_file_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(folder: Path) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(folder / "a\x1b[31m\nb.parquet"))

    monkeypatch.setattr("icsd.views.trace.found_run", failing)
    assert main(["trace", "multi-4", "--results", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"icsd: {tmp_path}/a\\u001b[31m\\nb.parquet: Permission denied\n"


def test_help_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "trace" in capsys.readouterr().out


def test_the_command_imports_no_torch() -> None:
    code = "import sys, icsd.cli; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _json(results: Path, wanted: str, capsys: pytest.CaptureFixture[str]) -> dict:
    assert main(["trace", wanted, "--json", "--results", str(results)]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_group_shows_its_members_and_its_summary(grouped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _trace(grouped, "group-4", capsys).splitlines() == [
        "group     4, summarised from 2 captions",
        "summary   a dog",
        "prompt    abc (merge)",
        "selected  4: caption 4 (1.000)",
        "selected  9: caption 9 (0.750)",
        "member    5: caption 5 (0.500)",
        "image     multi-4",
        "model     tiny/model",
        f"shard     {grouped / 'images' / 'multi' / SHARD}",
        "safety    safe, score -0.250",
        "dataset   multi: 2 pairs",
        "dataset   multi_head: 1 pair",
        "captioner multi/seed-0",
    ]


def test_a_caption_shows_its_groups_images_and_pairs(grouped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _trace(grouped, "caption-4", capsys).splitlines() == [
        "caption   4: caption 4",
        "corpus    image 4, split train",
        "groups    in 3, selected in 1",
        "group     4: selected, as its anchor (1.000)",
        "group     9: not summarised yet (0.750)",
        "group     5: not selected (0.500)",
        "image     multi-4",
        "image     multi-7",
        "dataset   multi: 1 pair",
        "dataset   multi_head: 1 pair",
        "captioner multi/seed-0",
    ]
    lines = _trace(grouped, "caption-9", capsys).splitlines()
    assert lines[3:5] == ["group     4: selected (0.750)", "group     9: not summarised yet, as its anchor (1.000)"]
    assert "image     single-9" in lines
    assert "groups    in none" in _trace(grouped, "caption-3", capsys)


def test_a_caption_shows_why_the_guard_dropped_it(grouped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reasons = [
        ("references", True, "nearly a reference: val, caption 8"),
        ("duplicates", False, "same text: caption 1"),
    ]
    rows = [{"stage": stage, "item_id": "3", "kept": kept, "reason": reason} for stage, kept, reason in reasons]
    rows += [row | {"item_id": "4", "kept": True, "reason": None} for row in rows]
    tables.write(grouped / "captions/guard.parquet", tables.LEDGER, rows)
    assert _trace(grouped, "caption-3", capsys).splitlines()[2:] == [
        "guard     kept, nearly a reference: val, caption 8",
        "guard     dropped, same text: caption 1",
        "groups    in none",
    ]
    assert "guard" not in _trace(grouped, "caption-4", capsys)


def test_a_number_alone_is_a_caption_and_the_group_that_it_anchors(
    grouped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both, caption, group = (_trace(grouped, wanted, capsys) for wanted in ("4", "caption-4", "group-4"))
    assert both == f"{caption.rstrip()}\n\n{group}"
    assert _json(grouped, "4", capsys).keys() == {"caption", "group"}
    assert _json(grouped, "3", capsys).keys() == {"caption"}


def test_an_unfinished_run_shows_what_is_missing(grouped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(grouped / "summaries")
    assert "group     4, not summarised yet" in _trace(grouped, "group-4", capsys)
    (grouped / "groups" / "all.parquet").unlink()
    assert "groups    not formed yet" in _trace(grouped, "caption-4", capsys)
    assert main(["trace", "group-4", "--results", str(grouped)]) == 1
    assert "no group is known yet; run snakemake" in capsys.readouterr().err


def test_json_has_all_that_the_lines_have(grouped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = _json(grouped, "multi-4", capsys)["image"]
    assert image["sentence"]["caption_ids"] == [4, 9] and image["summary"]["selected"] == [4, 9]
    assert image["datasets"] == {"multi": {"pairs": 2, "reason": None}, "multi_head": {"pairs": 1, "reason": None}}
    assert image["shard"] == str(grouped / "images" / "multi" / SHARD) and image["captioners"] == ["multi/seed-0"]
    unsafe = _json(grouped, "multi-7", capsys)["image"]
    assert unsafe["datasets"]["multi"] == {"pairs": 0, "reason": "unsafe: 0.500"} and unsafe["captioners"] == []
    group = _json(grouped, "group-4", capsys)["group"]
    assert [(each["caption_id"], each["selected"]) for each in group["members"]] == [(4, True), (9, True), (5, False)]
    assert group["image"] == image
    caption = _json(grouped, "caption-4", capsys)["caption"]
    assert [each["group_id"] for each in caption["groups"]] == [4, 9, 5] and caption["pairs"]["multi"] == 1
    assert _json(grouped, "real-33", capsys)["image"]["predictions"] == {"multi/seed-0/val": "a cat"}
    assert main(["trace", "--json", "--results", str(grouped)]) == 0
    assert json.loads(capsys.readouterr().out)["multi"] == ["multi-4", "multi-7"]


def test_a_caption_of_many_groups_shows_the_first(grouped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = [{"group_id": n, "caption_ids": [n, 3], "similarities": [1.0, 0.5]} for n in range(100, 130)]
    _write(grouped / "groups" / "all.parquet", tables.GROUPS, groups)
    lines = _trace(grouped, "caption-3", capsys).splitlines()
    assert "group     and 20 more (--json has all)" in lines and len(lines) == 14
    assert len(_json(grouped, "caption-3", capsys)["caption"]["groups"]) == 30


def test_a_closed_pipe_makes_no_traceback(grouped: Path) -> None:
    code = f"import icsd.cli, sys; sys.exit(icsd.cli.main(['trace', 'group-4', '--results', {str(grouped)!r}]))"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


# --- Scores, candidates, and pairs by their scores --------------------------------------------------------------------


@pytest.fixture
def scored(grouped: Path) -> Path:
    """The same with two candidates of multi-4, of which the second is used; it lost caption 9, and got caption 5."""
    second = _sentence(4) | {"image_id": "multi-4_1"}
    folder = Path("multi/candidate-1")
    _write(grouped / "images" / folder / "sentences.parquet", tables.SENTENCES, [second])
    _write(grouped / "images" / folder / SHARD, tables.IMAGES, [_image("multi-4_1")])
    _write(grouped / "safety" / folder / SHARD, tables.SAFETY, [_check("multi-4_1", -0.5, "safe")])
    scores = {"multi-4": (0.25, 0.375, 0.125), "multi-4_1": (0.5, 0.75, 0.25)}
    for path, image_id in ((Path("multi"), "multi-4"), (folder, "multi-4_1")):
        rows = [
            {"image_id": image_id, "caption_id": caption_id, "score": score}
            for caption_id, score in zip((None, 4, 9), scores[image_id], strict=True)
        ]
        _write(grouped / "alignment" / path / SHARD, tables.ALIGNMENT, rows)
    match = [{"image_id": "multi-4_1", "caption_id": 5, "score": 0.625}]
    _write(grouped / "alignment" / "multi" / "matches" / SHARD, tables.ALIGNMENT, match)
    ledger = [
        _step("safety", "multi-4"), _step("safety", "multi-4_1"), _step("safety", "multi-7", "unsafe: 0.500"),
        _step("candidates", "multi-4", "another candidate is used"), _step("candidates", "multi-4_1"),
        _step("alignment", "multi-4_1"), _step("pairs", "multi-4_1/4"),
        _step("pairs", "multi-4_1/9", "below alignment.min_score=0.5: its score is 0.250"),
        _step("rematch", "caption 9", "none of its 1 nearest images shows it"), _step("rematch", "caption 5"),
    ]  # fmt: skip
    pairs = [
        {"image_id": "multi-4_1", "caption_id": i, "caption": f"caption {i}", "weight": weight}
        for i, weight in ((4, 1.25), (5, 0.75))
    ]
    _write(grouped / "dataset" / "multi" / "pairs.parquet", tables.PAIRS, pairs)
    _write(grouped / "dataset" / "multi" / "ledger.parquet", tables.LEDGER, ledger)
    shutil.rmtree(grouped / "dataset" / "multi_head")
    return grouped


def _step(stage: str, item_id: str, reason: str | None = None) -> dict:
    return {"stage": stage, "item_id": item_id, "kept": reason is None, "reason": reason}


def test_an_image_shows_its_scores_candidates_and_pairs(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _trace(scored, "multi-4_1", capsys).splitlines() == [
        "image     multi-4_1",
        "sentence  a dog",
        "seed      123",
        "group     4, summarised from 2 captions",
        "prompt    abc (merge)",
        "caption   4: caption 4 (0.750)",
        "caption   9: caption 9 (0.250)",
        "score     0.500 for the sentence",
        "candidate multi-4",
        "candidate multi-4_1; this image; used by multi",
        "model     tiny/model",
        f"shard     {scored / 'images' / 'multi' / 'candidate-1' / SHARD}",
        "safety    safe, score -0.500",
        "dataset   multi: 2 pairs",
        "pair      multi: caption 5 (0.625), weight 0.750, made by alignment.rematch",
        "dropped   multi: caption 9, below alignment.min_score=0.5: its score is 0.250",
        "captioner multi/seed-0",
    ]
    first = _trace(scored, "multi-4", capsys)
    assert "candidate multi-4; this image\n" in first and "(0.375)" in first
    assert "dataset   multi: not in it: another candidate is used" in first
    assert "candidate" not in _trace(scored, "multi-7", capsys)


def test_a_caption_shows_its_pairs_with_scores(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "pair      multi: multi-4_1 (0.750), weight 1.250\n" in _trace(scored, "caption-4", capsys)
    made = "pair      multi: multi-4_1 (0.625), weight 0.750, made by alignment.rematch\n"
    assert made in _trace(scored, "caption-5", capsys)
    dropped = _trace(scored, "caption-9", capsys).splitlines()
    assert "dropped   multi: multi-4_1, below alignment.min_score=0.5: its score is 0.250" in dropped
    assert "rematch   multi: none of its 1 nearest images shows it" in dropped
    assert {"image     multi-4", "image     multi-4_1"} < set(dropped)


def test_a_group_shows_the_candidate_that_is_used(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "image     multi-4_1" in _trace(scored, "group-4", capsys).splitlines()
    shutil.rmtree(scored / "dataset")
    lines = _trace(scored, "group-4", capsys).splitlines()
    assert "image     multi-4" in lines and "candidate multi-4_1" in lines


def test_json_has_scores_and_pairs(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = _json(scored, "multi-4_1", capsys)["image"]
    assert (image["sentence_score"], image["scores"]) == (0.5, {"4": 0.75, "9": 0.25})
    assert image["candidates"] == {"image_ids": ["multi-4", "multi-4_1"], "used": {"multi": "multi-4_1"}}
    assert [(pair["caption_id"], pair["matched"]) for pair in image["pairs"]] == [(4, False), (5, True), (9, False)]
    assert _json(scored, "caption-9", capsys)["caption"]["scored_pairs"][0]["image_id"] == "multi-4_1"


def test_an_unknown_candidate_names_the_first_one(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "multi-4_7", "--results", str(scored)]) == 1
    assert "the nearest are multi-4, multi-7" in capsys.readouterr().err
    assert main(["trace", "--results", str(scored)]) == 0
    assert "multi           3 known, such as multi-4, multi-4_1, multi-7" in capsys.readouterr().out


def test_an_image_without_any_pair_left_says_so(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(scored / "dataset" / "multi" / "pairs.parquet", tables.PAIRS, [])
    assert "dataset   multi: not in it: all its pairs are dropped" in _trace(scored, "multi-4_1", capsys)


def test_texts_from_outside_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A caption can neither control the terminal nor pass for a line of the trace."""
    folder = tmp_path / "\x1b[31m"
    assert main(["trace", "multi-1", "--results", str(folder)]) == 1
    shown = capsys.readouterr().err
    assert "\x1b" not in shown and "\\u001b[31m: there is no such folder" in shown


def test_a_caption_cannot_forge_a_line(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results / "captions" / "all.parquet"
    rows = [
        row | {"caption": f"{row['caption']}\nimage     forged\x9b2J"}
        for row in tables.read(path, tables.CAPTIONS).to_pylist()
    ]
    tables.write_batches(path, tables.CAPTIONS, [rows])
    assert main(["trace", "caption-4", "--results", str(results)]) == 0
    shown = capsys.readouterr().out
    assert "caption 4\\nimage     forged\\u009b2J" in shown and "\x9b" not in shown


def test_without_images_groups_or_captions_are_listed(grouped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("images", "pictures"):
        shutil.rmtree(grouped / name)
    assert main(["trace", "--results", str(grouped)]) == 0
    assert capsys.readouterr().out == "group           3 known, such as group-4, group-5, group-9\n"
    shutil.rmtree(grouped / "groups")
    assert main(["trace", "--results", str(grouped)]) == 0
    assert capsys.readouterr().out == "caption         20 known, such as caption-0, caption-1, caption-2\n"


def test_a_dropped_group_has_its_reason(grouped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reason = "most captions are in another group: 2 of 3 in group 4"
    ledger = [{"stage": "groups", "item_id": "3", "kept": False, "reason": reason}]
    _write(grouped / "groups" / "ledger.parquet", tables.LEDGER, ledger)
    assert main(["trace", "group-3", "--results", str(grouped)]) == 1
    assert f"the group was dropped: {reason}" in capsys.readouterr().err
