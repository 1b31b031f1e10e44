"""A figure of a group's captions, sentence and pictures, from a run's tables."""

import io
from pathlib import Path

import pytest
from PIL import Image

from icsd.cli import main
from icsd.core import tables
from icsd.views.figure import CELL, LARGE, GroupFigure, draw_figure, read_figure

CAPTIONS = ["a red ball", "a blue <b>ball</b>", "a red ball", "a green cup", "a cup", "a tree", "a star"]
SENTENCE = "A red ball, a blue ball and a green cup."


def _png(color: str, size: tuple[int, int] = (32, 32)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, format="PNG")
    return file.getvalue()


def _image(image_id: str, sentence: str, color: str) -> dict:
    image = {"bytes": _png(color), "path": None}
    return {"image_id": image_id, "image": image, "sentence": sentence, "seed": 1, "model": "m"}


def _summary(group_id: int, summary: str | None) -> dict:
    status, reason = ("ok", None) if summary else ("dropped", "not JSON")
    about = {"prompt_tokens": None, "completion_tokens": None, "model": "merge", "prompt_hash": "abc"}
    return about | {
        "group_id": group_id, "summary": summary, "selected": list(range(7)), "status": status, "reason": reason,
    }  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A run of two shards: group 0 has a picture, group 1 none, group 2 no summary."""
    rows = [{"caption_id": i, "image_id": i, "caption": text, "split": "train"} for i, text in enumerate(CAPTIONS)]
    tables.write(tmp_path / "captions/all.parquet", tables.CAPTIONS, rows)
    summaries = [_summary(0, SENTENCE), _summary(1, "A dog."), _summary(2, None)]
    tables.write(tmp_path / "summaries/0001-of-0002.parquet", tables.SUMMARIES, summaries)
    matched = [_image("single_matched-1", CAPTIONS[1], "blue"), _image("single_matched-0", CAPTIONS[0], "red")]
    single = [_image("single-0", CAPTIONS[0], "orange"), _image("single-3", CAPTIONS[3], "green")]
    multi = [_image("multi-0", SENTENCE, "black")]
    for arm, images in {"multi": multi, "single_matched": matched, "single": single}.items():
        tables.write(tmp_path / "images" / arm / "0000-of-0002.parquet", tables.IMAGES, [])
        tables.write(tmp_path / "images" / arm / "0001-of-0002.parquet", tables.IMAGES, images)
    return tmp_path


def test_a_figure_has_five_different_captions_each_with_its_own_picture(results: Path) -> None:
    figure = read_figure(results, 0)
    assert figure.captions == ["a red ball", "a blue <b>ball</b>", "a green cup", "a cup", "a tree"]
    assert figure.pictures == [_png("red"), _png("blue"), _png("green"), None, None]
    assert (figure.sentence, figure.picture) == (SENTENCE, _png("black"))


def test_of_several_candidates_the_used_one_is_shown(results: Path) -> None:
    second = [_image("multi-0_1", SENTENCE, "white")]
    tables.write(results / "images/multi/candidate-1/0000-of-0002.parquet", tables.IMAGES, [])
    tables.write(results / "images/multi/candidate-1/0001-of-0002.parquet", tables.IMAGES, second)
    assert read_figure(results, 0).picture == _png("black")  # no dataset has chosen one yet
    rows = [("multi-0", False, "another candidate is used"), ("multi-0_1", True, None)]
    columns = ("stage", "item_id", "kept", "reason")
    ledger = [dict(zip(columns, ("candidates", *row), strict=True)) for row in rows]
    tables.write(results / "dataset/multi/ledger.parquet", tables.LEDGER, ledger)
    assert read_figure(results, 0).picture == _png("white")


def test_the_drawing_shows_every_picture_and_is_the_same_every_time(results: Path) -> None:
    figure = read_figure(results, 0)
    drawn = draw_figure(figure)
    counts = {color: count for count, color in drawn.getcolors(drawn.width * drawn.height)}
    for color in ((255, 0, 0), (0, 0, 255), (0, 128, 0)):
        assert counts[color] == CELL * CELL
    assert counts[(0, 0, 0)] == LARGE * LARGE
    assert drawn.tobytes() == draw_figure(figure).tobytes()


def test_a_large_picture_a_long_caption_and_one_caption_fit() -> None:
    wide = _png("red", (512, 256))
    figure = GroupFigure(["word " * 200 + "東京 ü"], [wide], "one", wide)
    one, two = draw_figure(figure), draw_figure(GroupFigure(["x"] * 2, [wide] * 2, "one", wide))
    assert 400 < one.height < 700
    assert one.width < two.width


def test_the_command_writes_the_picture_and_prints_its_alternative_text(
    results: Path, capsys: pytest.CaptureFixture
) -> None:
    path = results / "new" / "figure.png"
    assert main(["figure", "--results", str(results), "--group", "0", "--output", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "5 captions, each below the picture drawn from it alone: “a red ball”; “a blue <b>ball</b>”;"
    )
    assert f"“{SENTENCE}”" in printed
    assert Image.open(path).tobytes() == draw_figure(read_figure(results, 0)).tobytes()


@pytest.mark.parametrize(
    ("group", "message"),
    [(1, "group 1: its sentence has not been drawn; take one of those that `icsd trace"),
     (2, "group 2: there is no summary of it"), (9, "group 9: there is no summary of it")],
)  # fmt: skip
def test_a_group_without_picture_is_an_error(
    results: Path, group: int, message: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["figure", "--results", str(results), "--group", str(group)]) == 1
    assert message in capsys.readouterr().err


def test_the_old_name_of_the_command_names_the_new_one(capsys: pytest.CaptureFixture) -> None:
    assert main(["strip", "--group", "0"]) == 1
    assert capsys.readouterr().err == "icsd: `icsd strip` is now `icsd figure`, with the same options\n"
