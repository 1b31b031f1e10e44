"""A captioner's exported folder: plain transformers and `icsd caption` give the captions of the pipeline."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from captioner_world import SEARCH, job_of, png, settings_of, write_world
from export_world import SOURCE
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, VisionEncoderDecoderModel

from icsd.cli import main
from icsd.core import tables
from icsd.stages.captioner.folder import GenerationSettings
from icsd.stages.captioner.model import generate_captions, load_captioner
from icsd.stages.captioner.pictures import find_squares
from icsd.stages.captioner.training import train
from icsd.views.export.captioner import Trained, captioner_card, export_captioner

GENERATION = GenerationSettings("a picture of", SEARCH.beams, SEARCH.min_tokens, SEARCH.max_tokens)


@pytest.fixture(scope="module")
def trained(captioner_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A captioner of two kinds of picture."""
    folder = tmp_path_factory.mktemp("world")
    settings = settings_of(captioner_folder)
    paths = write_world(folder)
    train(job_of(paths, settings))
    row = {"arm": "multi", "seed": 0, "test": "test", "metric": "CIDEr", "value": 1.234, "low": 1.0, "high": 1.5}
    tables.write(folder / "scores.parquet", tables.SCORES, [row])
    checkpoint, pairs = Path(paths.checkpoint), Path(paths.pairs)
    return Trained("multi", 0, checkpoint, pairs, [folder / "scores.parquet"], settings.params(without=("seeds",)))


@pytest.fixture(scope="module")
def exported(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder. Do not write into it."""
    folder = tmp_path_factory.mktemp("export") / "captioner-seed-0"
    export_captioner(trained, folder, GENERATION, SOURCE | {"licence": "apache-2.0"})
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two of each kind, of the encoder's size, and a wide one."""
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(png("red" if number % 2 else "blue", 140 + 20 * number))
    Image.open(tmp_path / "0.png").resize((75, 47)).save(tmp_path / "4.png")
    return sorted(tmp_path.glob("*.png"))


def of_the_pipeline(trained: Trained, pictures: list[Path], folder: Path) -> list[str]:
    rows = [
        {
            "image_id": path.stem, "image": {"bytes": path.read_bytes(), "path": None}, "sentence": "", "seed": 0,
            "model": "test",
        }
        for path in pictures
    ]  # fmt: skip
    tables.write(folder / "asked.parquet", tables.IMAGES, rows)
    captioner = load_captioner(trained.checkpoint)
    read = find_squares([folder / "asked.parquet"], captioner.square, [path.stem for path in pictures], "")
    return generate_captions(captioner, read, GENERATION.prefix, SEARCH)


def test_transformers_alone_writes_the_pipelines_captions(
    trained: Trained, exported: Path, pictures: list[Path], tmp_path: Path
) -> None:
    model = VisionEncoderDecoderModel.from_pretrained(exported)
    tokenizer, processor = (
        AutoTokenizer.from_pretrained(exported),
        AutoImageProcessor.from_pretrained(exported, backend="pil"),
    )
    prompt = tokenizer(model.config.caption_prefix, return_tensors="pt").input_ids[:, :-1]
    captions = []
    for path in pictures:
        values = processor(Image.open(path).convert("RGB"), return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(**values, decoder_input_ids=prompt)
        captions.append(tokenizer.decode(ids[0, prompt.shape[1] :], skip_special_tokens=True))
    assert captions == of_the_pipeline(trained, pictures, tmp_path)
    assert len(set(captions)) == 2  # a captioner that ignores the picture has one caption


def test_the_cards_own_lines_write_the_caption(
    trained: Trained, exported: Path, pictures: list[Path], tmp_path: Path
) -> None:
    """Run as they stand, but for the two paths."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", (exported / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    code = code.replace("path/to/this/folder", str(exported)).replace("picture.png", str(pictures[0]))
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == of_the_pipeline(trained, pictures[:1], tmp_path)


def test_icsd_caption_writes_the_pipelines_captions(
    trained: Trained, exported: Path, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["caption", *map(str, pictures), "--model", str(exported)]) == 0
    expected = zip(pictures, of_the_pipeline(trained, pictures, tmp_path), strict=True)
    assert capsys.readouterr().out.splitlines() == [f"{path}\t{caption}" for path, caption in expected]


def test_damaged_pictures_are_listed_and_the_others_have_captions(
    exported: Path, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(pictures[0].read_bytes()[:60])
    bad = [tmp_path / "notes.txt", tmp_path / "nowhere.png", tmp_path, tmp_path / "cut.png"]
    asked = [pictures[0], *bad, pictures[1]]
    assert main(["caption", *map(str, asked), "--model", str(exported)]) == 1
    output = capsys.readouterr()
    assert [line.split("\t")[0] for line in output.out.splitlines()] == [str(pictures[0]), str(pictures[1])]
    lines = output.err.splitlines()
    assert lines[0] == "icsd: 4 of 6 files have no caption:" and len(lines) == 5
    assert all(str(path) in line for path, line in zip(bad, lines[1:], strict=True))


def test_pictures_of_other_sizes_and_kinds_are_captioned(
    exported: Path, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large, grey = tmp_path / "large.jpg", tmp_path / "grey.png"
    Image.open(pictures[0]).resize((75, 48)).save(large)
    Image.open(pictures[0]).convert("LA").save(grey)
    many = [str(large), str(grey)] * 9  # more than a batch
    assert main(["caption", *many, "--model", str(exported)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == many and all(line.split("\t")[1] for line in lines)


@pytest.mark.parametrize("kind", ["missing", "checkpoint", "empty"])
def test_a_folder_that_was_not_exported_is_one_message(
    trained: Trained, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    (tmp_path / "empty").mkdir()
    folder = trained.checkpoint if kind == "checkpoint" else tmp_path / kind
    assert main(["caption", str(pictures[0]), "--model", str(folder)]) == 1
    output = capsys.readouterr()
    assert output.out == "" and str(folder) in output.err and "snakemake export" in output.err


def test_the_folder_names_no_path_and_others_can_read_it(exported: Path, captioner_folder: Path) -> None:
    for path in exported.iterdir():
        assert str(captioner_folder).encode() not in path.read_bytes(), path
        assert path.stat().st_mode == (exported / "README.md").stat().st_mode, path  # weights too
    generation = json.loads((exported / "generation_config.json").read_text())
    assert (generation["num_beams"], generation["min_length"], generation["max_length"]) == (3, 5, 12)


def test_the_card_names_scores_and_training(trained: Trained, exported: Path) -> None:
    card = (exported / "README.md").read_text()
    header = yaml.safe_load(card.split("---\n")[1])
    assert (header["license"], header["library_name"], header["pipeline_tag"]) == (
        "apache-2.0", "transformers", "image-to-text",
    )  # fmt: skip
    (result,) = header["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "cider", "value": 123.4, "name": "CIDEr"}]
    assert "| test          | CIDEr  |     123.4 |             100.0 | 150.0 |" in card
    assert "- 8 pairs of 8 pictures; seed 0" in card and "learning_rate `0.01`" in card
    assert "- Decoder, before training: random weights" in card


def test_the_card_sets_a_start_token_that_is_not_the_tokenizers_own(trained: Trained) -> None:
    line = "prompt[0, 0] = model.config.decoder_start_token_id"
    for token, times in ((None, 0), ("[DEC]", 1)):
        settings = {**trained.settings, "start_token": token}
        card = captioner_card(replace(trained, settings=settings), [], SOURCE | {"licence": "apache-2.0"})
        assert card.count(line) == times


def test_a_checkpoint_that_is_not_whole_leaves_no_folder(trained: Trained, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(trained.checkpoint, tmp_path / "broken"))
    (broken / "generation_config.json").write_text("{")
    cut = Trained("multi", 0, broken, trained.pairs, trained.scores, trained.settings)
    with pytest.raises(Exception, match=r"generation_config\.json: cannot be read"):
        export_captioner(cut, tmp_path / "out", GENERATION, SOURCE)
    assert not (tmp_path / "out").exists()


def test_help_of_caption_imports_no_torch() -> None:
    code = "import sys, icsd.cli\ntry: icsd.cli.main(['caption', '--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "captioner" in done.stdout
