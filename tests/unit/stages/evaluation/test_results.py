"""COCO results files, as evaluation servers take them, and their scores by `icsd scores`."""

import json
import re
from pathlib import Path

import pytest

from icsd.cli import main
from icsd.core.errors import InputError
from icsd.corpora.coco_results import read_results, write_results

IMAGES = [
    {"id": 7, "file_name": "7.jpg", "domain": "in-domain"},
    {"id": 3, "file_name": "3.jpg", "domain": "out-domain"},
    {"id": 5, "file_name": "5.jpg", "domain": "in-domain"},
]
CAPTIONS = {7: ["A red ball.", "a ball on the grass"], 3: ["two fish in the sea"], 5: ["a small house", "one house"]}
PREDICTED = {3: "two fish in the sea", 5: "a big house", 7: "a red ball on the grass"}


def annotate(folder: Path, captions: dict[int, list[str]] = CAPTIONS, images: list[dict] = IMAGES) -> Path:
    texts = [(image_id, text) for image_id, said in captions.items() for text in said]
    annotations = [{"id": n, "image_id": image_id, "caption": text} for n, (image_id, text) in enumerate(texts)]
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return folder / "captions.json"


def run_scores(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["scores", *map(str, arguments)])
    return status, *capsys.readouterr()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_results(tmp_path / "results.json", PREDICTED)
    return tmp_path / "results.json"


def test_results_load_as_coco_caption_loads_them(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO

    loaded = COCO(str(annotate(tmp_path))).loadRes(str(results))
    assert {each: loaded.imgToAnns[each][0]["caption"] for each in loaded.getImgIds()} == PREDICTED
    capsys.readouterr()


def test_results_read_back_with_their_accents(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", {2: "a café", -1: ""})
    assert read_results(tmp_path / "results.json", {2, -1}, "captions.json") == {-1: "", 2: "a café"}
    assert "café" in (tmp_path / "results.json").read_text(encoding="utf-8")


def test_scores_are_printed_for_all_and_by_domain(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [results, "--annotations", annotate(tmp_path), "--metrics", "ROUGE_L", "BLEU", "--samples", 20]
    status, out, err = run_scores(capsys, *command)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("3 pictures with 5 captions")
    assert re.match(r"\|  +\| +ROUGE-L \| +BLEU-1 \| +BLEU-2 \|", lines[2])
    assert [line.split()[1] for line in lines[4:]] == ["all", "in-domain", "out-domain"]
    assert "1.000 (1.000 to 1.000)" in lines[6]


def test_partial_results_need_the_option_partial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = tmp_path / "part.json"
    write_results(part, {3: PREDICTED[3]})
    command = [part, "--annotations", annotate(tmp_path), "--metrics", "ROUGE_L", "--samples", 20]
    status, out, err = run_scores(capsys, *command)
    assert (status, out) == (1, "")
    assert "part.json: has no caption of image 5, nor of 1 more" in err and "--partial" in err
    status, out, err = run_scores(capsys, *command, "--partial")
    assert status == 0 and out.startswith("1 pictures with 1 captions")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ([{"image_id": 8, "caption": "x"}], ["[0] (image_id 8)", "not among the 3 of", "captions.json"]),
        ([{"image_id": 3, "caption": "x"}] * 2, ["[1] (image_id 3)", "repeats the image"]),
        ([{"image_id": "three", "caption": "x"}], ["[0]", 'image_id is "three", not a whole number']),
        ([{"image_id": 3, "caption": "a \ud83d"}], ["[0] (image_id 3)", "character 2", "half of a surrogate pair"]),
        ([{"image_id": 2**63, "caption": "x"}], ["[0]", "not a whole number of 64 bits"]),
        ([{"image_id": 3}], ["[0] (image_id 3)", "the caption null, not a text"]),
        (["a dog"], ["[0]", "is no object"]),
        ([], ["holds no caption", "give a COCO results file"]),
        ({"3": "a dog"}, ["holds a dict, not a list"]),
        ("", ["is not JSON", "cut short"]),
        (None, ["cannot be read (No such file or directory)"]),
    ],
    ids=str,
)
def test_a_wrong_results_file_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, parts: list[str]
) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(json.dumps(content) if content != "" else "[{")
    status, out, err = run_scores(capsys, path, "--annotations", annotate(tmp_path))
    assert (status, out) == (1, "")
    assert err.startswith("icsd: ") and err.count("\n") == 1
    assert all(part in err for part in ["results.json", *parts]), err


def test_ids_may_be_texts_and_images_need_no_file_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in coco_karpathy_test_gt.json, which BLIP's and LAVIS's users score against."""
    annotations = annotate(
        tmp_path, {str(key): said for key, said in CAPTIONS.items()}, [{"id": "7"}, {"id": "3"}, {"id": 5}]
    )
    rows = [{"image_id": str(key) if key != 5 else 5.0, "caption": text} for key, text in PREDICTED.items()]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    command = [tmp_path / "results.json", "--annotations", annotations, "--metrics", "BLEU", "--samples", 20]
    status, out, err = run_scores(capsys, *command)
    assert (status, err) == (0, "") and out.startswith("3 pictures with 5 captions")


def test_an_image_without_captions_is_one_message(
    tmp_path: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = annotate(tmp_path, {7: CAPTIONS[7], 5: CAPTIONS[5]})
    status, _, err = run_scores(capsys, results, "--annotations", annotations)
    assert status == 1
    assert "captions.json, image 3: has no caption to score against, nor have 0 more" in err


def test_results_of_unknown_images_are_named_without_a_command_line(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", {1: "a dog"})
    with pytest.raises(InputError, match="not among the 1 of somewhere"):
        read_results(tmp_path / "results.json", {2}, "somewhere", partial=True)
