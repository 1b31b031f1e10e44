"""Vision-language models as captioners: one tiny folder of each class."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from captioner_world import SAID, job_of, png, settings_of, write_world
from export_world import SOURCE
from vision_language_folders import FOLDERS, SIDE, write_git, write_llava

from icsd.config import CaptionerConfig
from icsd.config.captioner import CaptionerLoraConfig
from icsd.core import tables
from icsd.core.errors import ConfigError, ModelError
from icsd.stages.captioner import state, training
from icsd.stages.captioner.folder import GenerationSettings, write_folder
from icsd.stages.captioner.interface import BeamSearch
from icsd.stages.captioner.model import generate_captions, load_captioner, new_captioner
from icsd.stages.captioner.predicting import caption_files
from icsd.stages.captioner.processes import Processes
from icsd.stages.captioner.steps import caption_loss
from icsd.stages.captioner.training import prepare, train
from icsd.views.export.captioner import Trained, captioner_card

CPU = torch.device("cpu")
WORDS = "describe the picture in one short sentence . what does image ?".split()
VOCABULARY = [*WORDS, *" ".join(SAID.values()).split()]
CAPTIONS = ["a red ball", "a blue fish under a boat"]
SQUARES = np.random.default_rng(0).integers(0, 255, (2, SIDE, SIDE, 3), dtype=np.uint8)
SEARCH = BeamSearch(beams=2, min_tokens=2, max_tokens=8, batch_size=2)
LORA = CaptionerLoraConfig(rank=2, dropout=0.0)


@pytest.fixture(scope="module", params=FOLDERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / request.param
    FOLDERS[request.param](made, VOCABULARY)
    return made


def settings(folder: Path, **changes: object) -> CaptionerConfig:
    given = {"image_size": SIDE, "precision": "float32", "steps": 1, "batch_size": 2, "learning_rate": 1e-2}
    return CaptionerConfig(model=str(folder), vision_model="none", tokenizer="none", **given | changes)


def after_step(captioner, wanted: CaptionerConfig) -> tuple[set[str], torch.Tensor]:
    """The names of the weights that a step of AdamW changes, and the labels of the batch."""
    before = {name: value.detach().clone() for name, value in captioner.model.named_parameters()}
    optimizer = training._optimizer(captioner, wanted)
    batch = captioner.batch(SQUARES, None, captioner.tokenize(CAPTIONS, wanted))
    logits = captioner.model(**batch.inputs).logits[:, -batch.labels.shape[1] :]
    caption_loss(logits, batch.labels, 0.1).backward()
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.step()
    changed = {name for name, value in captioner.model.named_parameters() if not torch.equal(value, before[name])}
    return changed, batch.labels


@pytest.mark.parametrize("lora", [CaptionerLoraConfig(), LORA], ids=["whole", "lora"])
def test_every_class_trains_writes_captions_and_loads_again(
    folder: Path, tmp_path: Path, lora: CaptionerLoraConfig
) -> None:
    wanted = settings(folder, lora=lora)
    captioner = new_captioner(wanted, 0, CPU)
    changed, labels = after_step(captioner, wanted)
    said = [[number for number in row if number >= 0] for row in labels.tolist()]
    words = captioner.processor.tokenizer
    assert [words.decode(row, skip_special_tokens=True).strip() for row in said] == CAPTIONS
    assert all(row[-1] == captioner.prompt.end for row in said)
    adapters = {name for name in changed if ".lora_" in name}
    assert adapters == (changed if lora.rank else set()) and len(changed) > 5
    captions = generate_captions(captioner, SQUARES, "", SEARCH)
    captioner.save(tmp_path / "checkpoint")
    again = load_captioner(tmp_path / "checkpoint")
    assert generate_captions(again, SQUARES, "", SEARCH) == captions
    assert (again.square, again.prompt) == (captioner.square, captioner.prompt)
    assert not [name for name, _ in again.model.named_parameters() if ".lora_" in name]


def test_the_weights_of_the_image_encoder_are_known(folder: Path) -> None:
    captioner = new_captioner(settings(folder), 0, CPU)
    everything = {name for name, _ in captioner.model.named_parameters()}
    towers = {name for name in everything if captioner.of_pictures(name)}
    assert 5 < len(towers) < len(everything)
    assert any("patch" in name or "conv" in name for name in towers)  # what reads the pixels
    assert not any("token_embedding" in name or "word_embedding" in name or "lm_head" in name for name in towers)


@pytest.fixture
def git_folder(tmp_path: Path) -> Path:
    write_git(tmp_path / "git", VOCABULARY)
    return tmp_path / "git"


def world_settings(captioner_folder: Path, model: Path, **changes: object) -> CaptionerConfig:
    own = settings_of(captioner_folder).model_dump() | {"model": str(model)} | changes
    return CaptionerConfig(**own)


def test_a_training_learns_the_pictures_and_its_checkpoint_is_exported(
    captioner_folder: Path, git_folder: Path, tmp_path: Path
) -> None:
    paths = write_world(tmp_path)
    job = job_of(paths, world_settings(captioner_folder, git_folder))
    train(replace(job, search=BeamSearch(2, 3, 8, 8)))
    history = tables.read(paths.history, tables.HISTORY).to_pylist()
    scores = [row["value"] for row in history if row["metric"] == "CIDEr"]
    assert scores[-1] > 1.0 and not list((tmp_path / "out").glob("resume"))
    folder = tmp_path / "exported"
    folder.mkdir()
    write_folder(Path(paths.checkpoint), folder, GenerationSettings("", 2, 3, 8))
    for name in SAID:
        (tmp_path / f"{name}.png").write_bytes(png(name, 200))
    said = dict(caption_files(folder, [tmp_path / f"{name}.png" for name in SAID]))
    assert {path.stem: caption for path, caption in said.items()} == SAID
    params = job.settings.params(without=("seeds",))
    assert "decoder" not in params and "prefix" not in params and params["model"] == str(git_folder)
    card = captioner_card(Trained("multi", 0, Path(paths.checkpoint), Path(paths.pairs), [], params), [], SOURCE)
    assert "An image captioner: a vision-language model." in card and "- Model, before training: `git`" in card


def test_a_state_has_the_adapters_alone_and_a_stopped_training_continues_from_it(
    captioner_folder: Path, git_folder: Path, tmp_path: Path
) -> None:
    paths = write_world(tmp_path)
    lora = {"rank": 2}
    job = job_of(paths, world_settings(captioner_folder, git_folder, lora=lora, vision_learning_rate_scale=0.0))
    made, key, done = prepare(job, Processes())
    trained = [name for name, value in made.setup.captioner.model.named_parameters() if value.requires_grad]
    assert trained and all(".lora_" in name and "image_encoder" not in name for name in trained)
    assert set(state.weights_of(made.setup.captioner.model)) == set(trained)
    state.save(job.files.resume, key, done, made.setup.captioner.model, made.setup.optimizer)
    first = state.weights_of(made.setup.captioner.model)
    state.set_weights(made.setup.captioner.model, {name: value + 1 for name, value in first.items()})
    assert state.restore(job.files.resume, key, made.setup.captioner.model, made.setup.optimizer).step == 0
    again = state.weights_of(made.setup.captioner.model)
    assert all(torch.equal(value, first[name]) for name, value in again.items())


def test_what_does_not_fit_is_refused_with_one_message(
    captioner_folder: Path, git_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"captioner.model=.*vision: its config.json has model_type 'clip_vision"):
        new_captioner(settings(captioner_folder / "vision"), 0, CPU)
    with pytest.raises(ModelError, match=r"captioner.model=nowhere: no such folder"):
        new_captioner(settings(Path("nowhere")), 0, CPU)
    with pytest.raises(ConfigError, match=r"lora.targets=\['q_proj', 'c_attn'\]: GitForCausalLM has no linear layer"):
        new_captioner(settings(git_folder, lora=CaptionerLoraConfig(rank=2, targets=["q_proj", "c_attn"])), 0, CPU)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (git_folder / name).unlink()
    with pytest.raises(ModelError, match=r"captioner.model=.*git"):
        new_captioner(settings(git_folder), 0, CPU)


def test_a_model_that_reads_ahead_or_ignores_the_picture_is_refused(
    git_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import GitForCausalLM

    forward = GitForCausalLM.forward

    def blind(self, input_ids=None, attention_mask=None, pixel_values=None, logits_to_keep=0):
        return forward(self, input_ids, attention_mask, pixel_values=pixel_values * 0, logits_to_keep=logits_to_keep)

    monkeypatch.setattr(GitForCausalLM, "forward", blind)
    with pytest.raises(ModelError, match="GitForCausalLM does not fit: its words do not depend on the picture"):
        new_captioner(settings(git_folder), 0, CPU)

    def reading_ahead(self, input_ids=None, attention_mask=None, pixel_values=None, logits_to_keep=0):
        found = forward(self, input_ids, attention_mask, pixel_values=pixel_values, logits_to_keep=logits_to_keep)
        found.logits = found.logits.flip(1)
        return found

    monkeypatch.setattr(GitForCausalLM, "forward", reading_ahead)
    with pytest.raises(ModelError, match="it reads the words of a caption before it writes them"):
        new_captioner(settings(git_folder), 0, CPU)


def test_code_of_a_folder_is_not_run(git_folder: Path) -> None:
    config = json.loads((git_folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageTextToText": "evil.Evil", "AutoConfig": "evil.Evil"}
    (git_folder / "config.json").write_text(json.dumps(config))
    assert type(new_captioner(settings(git_folder), 0, CPU).model).__name__ == "GitForCausalLM"
    (git_folder / "evil.py").write_text("raise SystemExit('run')")
    with pytest.raises(ModelError, match="names classes of Python files"):
        new_captioner(settings(git_folder), 0, CPU)


def test_a_prompt_of_the_config_is_kept_by_the_checkpoint(tmp_path: Path) -> None:
    write_llava(tmp_path / "llava", VOCABULARY)
    captioner = new_captioner(settings(tmp_path / "llava", prompt="what does the image"), 0, CPU)
    assert captioner.prompt.text == "<image>what does the image"
    captioner.save(tmp_path / "checkpoint")
    shutil.rmtree(tmp_path / "llava")
    assert load_captioner(tmp_path / "checkpoint").prompt == captioner.prompt
