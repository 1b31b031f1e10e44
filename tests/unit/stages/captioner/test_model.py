"""The models that a captioner is made of: other sizes of picture, a BERT to begin from, folders of another kind."""

import shutil
from pathlib import Path

import pytest
import torch
from captioner_world import job_of, settings_of, write_world
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionModel,
)

from icsd.config import CaptionerConfig
from icsd.core import tables
from icsd.core.errors import ModelError
from icsd.stages.captioner.interface import Captioner
from icsd.stages.captioner.model import load_captioner, new_captioner
from icsd.stages.captioner.state import weights_of
from icsd.stages.captioner.training import train
from icsd.stages.captioner.vision import load_vision

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
CPU = torch.device("cpu")


@pytest.fixture
def settings(captioner_folder: Path) -> CaptionerConfig:
    return settings_of(captioner_folder)


@pytest.fixture
def vision(captioner_folder: Path, tmp_path: Path) -> Path:
    """A vision folder to write into."""
    return Path(shutil.copytree(captioner_folder / "vision", tmp_path / "vision"))


def made(settings: CaptionerConfig, **changes: object) -> Captioner:
    return new_captioner(settings.model_copy(update=changes), seed=0, device=CPU)


def write_bert(folder: Path, words: int, **shape: int) -> dict[str, torch.Tensor]:
    """A trained BERT's folder; its weights."""
    model = BertForMaskedLM(BertConfig(**(SMALL | shape), vocab_size=words, max_position_embeddings=64))
    for value in model.parameters():
        torch.nn.init.normal_(value)
    model.save_pretrained(folder)
    return model.state_dict()


def words_of(settings: CaptionerConfig) -> int:
    return len(made(settings).tokenizer)


@pytest.mark.parametrize("size", [8, 24, 40])
def test_interpolated_positions_are_those_of_transformers(captioner_folder: Path, size: int):
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    native = CLIPVisionModel.from_pretrained(captioner_folder / "vision").eval()
    encoder, processor = load_vision(str(captioner_folder / "vision"), size, "eager")
    with torch.inference_mode():
        expected = native(pixels, interpolate_pos_encoding=True).last_hidden_state
        found = encoder.eval()(pixels).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert (processor.size["shortest_edge"], processor.crop_size["width"]) == (size, size)


def test_native_size_changes_nothing(captioner_folder: Path):
    native = CLIPVisionModel.from_pretrained(captioner_folder / "vision").state_dict()
    for size in (None, 16):
        encoder, _ = load_vision(str(captioner_folder / "vision"), size, "eager")
        assert encoder.config.image_size == 16
        assert all(torch.equal(native[name], value) for name, value in encoder.state_dict().items())


def test_size_that_is_no_multiple_of_the_patches_is_refused(settings: CaptionerConfig):
    with pytest.raises(ModelError, match=r"captioner\.image_size=20 must be a multiple .* patches \(8\)"):
        made(settings, image_size=20)


def test_checkpoint_keeps_its_size(settings: CaptionerConfig, tmp_path: Path):
    paths = write_world(tmp_path)
    train(job_of(paths, settings.model_copy(update={"steps": None, "epochs": 3, "image_size": 24})))
    assert tables.read(paths.history, tables.HISTORY)["step"].to_pylist()[:3] == [1, 2, 3]  # eight pairs, eight a step
    loaded = load_captioner(paths.checkpoint)
    assert loaded.picture_size == loaded.processor.crop_size["height"] == 24
    assert len(loaded.model.encoder.embeddings.position_embedding.weight) == 1 + 3 * 3


def test_decoder_starts_from_the_bert_with_cross_attention_drawn_by_the_seed(settings: CaptionerConfig, tmp_path: Path):
    bert = write_bert(tmp_path / "bert", words_of(settings))
    captioner = made(settings, decoder_weights=str(tmp_path / "bert"))
    decoder = captioner.model.decoder.state_dict()
    new = [name for name in decoder if name not in bert]
    assert new and all("crossattention" in name for name in new)
    assert all(torch.equal(bert[name], value) for name, value in decoder.items() if name in bert)
    again = weights_of(made(settings, decoder_weights=str(tmp_path / "bert")).model)
    assert all(torch.equal(again[name], value) for name, value in weights_of(captioner.model).items())
    other = new_captioner(settings.model_copy(update={"decoder_weights": str(tmp_path / "bert")}), 1, CPU)
    assert not torch.equal(other.model.decoder.state_dict()[new[0]], decoder[new[0]])


def test_bert_of_another_shape_is_refused(settings: CaptionerConfig, tmp_path: Path):
    words = words_of(settings)
    write_bert(tmp_path / "deep", words, num_hidden_layers=2)
    with pytest.raises(ModelError, match=r"deep has num_hidden_layers=2, but captioner\.decoder\.layers is 1"):
        made(settings, decoder_weights=str(tmp_path / "deep"))
    write_bert(tmp_path / "wordy", words + 1)
    with pytest.raises(ModelError, match=rf"vocab_size={words + 1}, but the words of captioner\.tokenizer is {words}"):
        made(settings, decoder_weights=str(tmp_path / "wordy"))


def test_bert_without_its_language_head_is_refused(settings: CaptionerConfig, tmp_path: Path):
    BertModel(BertConfig(**SMALL, vocab_size=words_of(settings))).save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelError, match=r"captioner\.decoder_weights=.*no fitting cls\.predictions"):
        made(settings, decoder_weights=str(tmp_path / "bert"))


def test_a_training_begins_with_a_checkpoints_weights(settings: CaptionerConfig, tmp_path: Path):
    first = made(settings)
    first.save(tmp_path / "first")
    start = {"start_from": str(tmp_path / "first")}
    again = weights_of(new_captioner(settings.model_copy(update=start), 1, CPU).model)
    assert all(torch.equal(again[name], value) for name, value in weights_of(first.model).items())
    wider = settings.model_copy(update=start | {"image_size": 24})
    with pytest.raises(
        ModelError, match=r"position_embedding.weight is \[5, 32\], and \[10, 32\] is wanted: give captioner"
    ):
        new_captioner(wider, 0, CPU)
    with pytest.raises(ModelError, match=r"captioner\.start_from=.*model_type 'clip_vision_model'"):
        made(settings, start_from=settings.vision_model)


def test_the_vision_tower_of_a_whole_clip_is_used(settings: CaptionerConfig, vision: Path, tmp_path: Path):
    text = {**SMALL, "vocab_size": 20, "max_position_embeddings": 8}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config={**SMALL, "image_size": 16, "patch_size": 8}))
    clip.save_pretrained(tmp_path / "clip")
    CLIPImageProcessor.from_pretrained(vision).save_pretrained(tmp_path / "clip")
    encoder = made(settings, vision_model=str(tmp_path / "clip")).model.encoder
    tower = {name: value for name, value in clip.state_dict().items() if name.startswith("vision_model.")}
    assert all(torch.equal(tower[f"vision_model.{name}"], value) for name, value in encoder.state_dict().items())


def test_models_of_another_kind_are_refused(settings: CaptionerConfig, vision: Path, tmp_path: Path):
    CLIPTextModel(CLIPTextConfig(**SMALL, vocab_size=20, max_position_embeddings=8)).save_pretrained(tmp_path / "text")
    CLIPImageProcessor.from_pretrained(vision).save_pretrained(tmp_path / "text")
    kinds = "which is no CLIPVisionModel (clip_vision_model or clip)"
    assert _message(settings, vision_model=str(tmp_path / "text")) == (
        f"captioner.vision_model={tmp_path / 'text'}: its config.json has model_type 'clip_text_model', {kinds}; "
        "give a folder or a hub id of that kind"
    )
    assert "model_type 'clip_vision_model', which is no BertLM" in _message(settings, decoder_weights=str(vision))
    with pytest.raises(ModelError, match="which is no VisionEncoderDecoderModel"):
        load_captioner(vision)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_missing_file_is_named(settings: CaptionerConfig, vision: Path, name: str):
    (vision / name).unlink()
    message = _message(settings, vision_model=str(vision))
    assert message.startswith(f"captioner.vision_model={vision}") and name in message
    assert "\n" not in message


def _message(settings: CaptionerConfig, **changes: object) -> str:
    with pytest.raises(ModelError) as error:
        made(settings, **changes)
    return str(error.value)
