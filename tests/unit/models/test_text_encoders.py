"""Text encoders in folders as the libraries' own writers leave them: small, with random weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
    T5Config,
    T5Model,
)

from icsd.config import EmbeddingsConfig
from icsd.core.errors import ConfigError, ModelError
from icsd.models import model_folder
from icsd.models.open_clip_text import PackedTower, WholeTower
from icsd.models.text_encoder import TextEncoder, Tokens, batches, load_text_encoder

# of many lengths, some shared; the last two are longer than every context below
CAPTIONS = ["a red ball", "a dog", "", "two dogs", "a kite over a very wide field", "a dog", "ball " * 30, "kite " * 90]
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
END = 513  # the end mark of clip_folder's tokenizer


def _write_clip(folder: Path, source: Path, text: dict[str, Any], **model: Any) -> Path:
    """The open_clip folder `source` with other settings, and weights of its own, none of them a plain 0 or 1."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    config = json.loads((source / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= text
    config["model_cfg"] |= model
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    written = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    weights = {name: (each + 0.1 * torch.randn_like(each)).contiguous() for name, each in written.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


def _plain(folder: Path, captions: list[str]) -> np.ndarray:
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    with torch.inference_mode():
        return model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(captions), normalize=True).numpy()


@pytest.mark.parametrize(
    ("tower", "text", "model"),
    [
        (PackedTower, {}, {"quick_gelu": True}),
        (PackedTower, {"proj_bias": True, "ls_init_value": 0.5}, {}),
        (PackedTower, {"pool_type": "eos", "eos_id": END}, {}),
        (PackedTower, {"pool_type": "eos", "eos_id": END, "proj_type": "none"}, {"custom_text": True, "embed_dim": 32}),
        (WholeTower, {"pool_type": "last"}, {}),
        (WholeTower, {"no_causal_mask": True}, {"custom_text": True}),  # sees its padding, as SigLIP's does
        (WholeTower, {"embed_cls": True}, {"custom_text": True}),  # pools behind the padding, as CoCa's does
        (WholeTower, {"qk_norm": True}, {}),
    ],
    ids=str,
)
def test_open_clips_towers_give_what_encode_text_gives(
    tmp_path: Path, clip_folder: Path, tower: type, text: dict[str, Any], model: dict[str, Any]
) -> None:
    folder = _write_clip(tmp_path, clip_folder, text, **model)
    encoder = load_text_encoder(str(folder), precision="float32")
    assert type(encoder.tower) is tower
    np.testing.assert_allclose(encoder.encode(CAPTIONS, 64), _plain(folder, CAPTIONS), atol=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 0), ("float32", 1e-6), ("bfloat16", 2e-2)])
def test_vectors_are_the_same_in_any_batch(tmp_path: Path, clip_folder: Path, precision: str, tolerance: float) -> None:
    encoder = load_text_encoder(str(_write_clip(tmp_path, clip_folder, {})), precision=precision)
    captions = [f"{'very ' * (i % 9)}many dogs {i}" for i in range(60)]
    whole = encoder.encode(captions, 2000)
    for size in (1, 100):
        np.testing.assert_allclose(encoder.encode(captions, size), whole, atol=tolerance)
    backwards = encoder.encode(captions[40::-1], 100)
    np.testing.assert_allclose(backwards[::-1], whole[:41], atol=tolerance)


def test_bfloat16_is_close_to_float32(tmp_path: Path, clip_folder: Path) -> None:
    folder = str(_write_clip(tmp_path, clip_folder, {}))
    exact, rough = (load_text_encoder(folder, precision=each).encode(CAPTIONS, 64) for each in ("float32", "bfloat16"))
    assert not np.array_equal(exact, rough)
    assert (exact * rough).sum(1).min() > 0.999


def _roberta(folder: Path, words: list[str], pooler: bool = True) -> Path:
    letters = sorted(ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters])}
    RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=48).save_pretrained(folder)
    config = RobertaConfig(**SMALL, vocab_size=len(vocabulary), max_position_embeddings=50, type_vocab_size=1)
    torch.manual_seed(2)
    RobertaModel(config, add_pooling_layer=pooler).save_pretrained(folder)
    return folder


def _bert(folder: Path, words: list[str], pooler: bool = True) -> Path:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)}).save_pretrained(folder)
    torch.manual_seed(3)
    config = BertConfig(**SMALL, vocab_size=len(vocabulary), max_position_embeddings=20)
    BertModel(config, add_pooling_layer=pooler).save_pretrained(folder)
    return folder


WORDS = sorted({word for caption in CAPTIONS for word in caption.split()})


@pytest.fixture(scope="session")
def encoder_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A RobertaModel of 48 tokens and a BertModel of 20. Do not write into them."""
    folder = tmp_path_factory.mktemp("encoders")
    return {"roberta": _roberta(folder / "roberta", WORDS), "bert": _bert(folder / "bert", WORDS)}


def _load(folder: Path, pooling: str = "pooler", precision: str = "float32") -> TextEncoder:
    return load_text_encoder(str(folder), kind="transformers", pooling=pooling, precision=precision)


def _reference(kind: str, folder: Path, pooling: str) -> np.ndarray:
    """Compute vectors of one padded batch with its mask, as a page on sentence encoders does."""
    model_class, tokenizer_class, limit = {
        "roberta": (RobertaModel, RobertaTokenizer, 48),
        "bert": (BertModel, BertTokenizer, 20),
    }[kind]
    tokenizer, model = tokenizer_class.from_pretrained(folder), model_class.from_pretrained(folder).eval()
    inputs = tokenizer(CAPTIONS, padding=True, truncation=True, max_length=limit, return_tensors="pt")
    with torch.inference_mode():
        out = model(**inputs)
    mask = inputs["attention_mask"][:, :, None]
    pooled = {
        "pooler": out.pooler_output,
        "cls": out.last_hidden_state[:, 0],
        "mean": (out.last_hidden_state * mask).sum(1) / mask.sum(1),
    }[pooling]
    return torch.nn.functional.normalize(pooled).numpy()


@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean"])
@pytest.mark.parametrize("kind", ["roberta", "bert"])
def test_an_encoder_of_transformers_gives_its_pooled_states(
    encoder_folders: dict[str, Path], kind: str, pooling: str
) -> None:
    expected = _reference(kind, encoder_folders[kind], pooling)
    assert np.linalg.norm(expected[0] - expected[4]) > 1e-3
    for size in (8, 500):
        found = _load(encoder_folders[kind], pooling).encode(CAPTIONS, size)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    rough = _load(encoder_folders[kind], pooling, "bfloat16").encode(CAPTIONS, 500)
    assert (rough * expected).sum(1).min() > 0.999


@pytest.mark.parametrize("write", [_roberta, _bert])
def test_a_pooler_without_weights_is_refused(tmp_path: Path, write: Any) -> None:
    folder = write(tmp_path, WORDS, pooler=False)
    lacking = r"its weights lack pooler\.dense\.bias, pooler\.dense\.weight.*random.*embeddings\.pooling to cls or mean"
    with pytest.raises(ModelError, match=lacking):
        _load(folder, "pooler")
    assert _load(folder, "mean").encode(["a dog"], 64).shape == (1, 32)


def test_a_model_without_a_pooler_is_refused(tmp_path: Path, encoder_folders: dict[str, Path]) -> None:
    shutil.copytree(encoder_folders["bert"], tmp_path, dirs_exist_ok=True)
    small = {"dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 2, "vocab_size": 5 + len(WORDS)}
    DistilBertModel(DistilBertConfig(**small)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"a model of type distilbert has no pooler.*cls or mean"):
        _load(tmp_path, "pooler")
    assert _load(tmp_path, "cls").encode(["a dog"], 64).shape == (1, 32)


def test_weights_that_lack_a_layer_are_refused(tmp_path: Path, encoder_folders: dict[str, Path]) -> None:
    shutil.copytree(encoder_folders["bert"], tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    remaining = {name: each for name, each in weights.items() if "layer.1." not in name}
    save_file(remaining, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"its weights lack encoder\.layer\.1\..* and others; give an encoder's folder"
    ):
        _load(tmp_path, "mean")


def test_an_encoder_decoder_is_refused(tmp_path: Path, encoder_folders: dict[str, Path]) -> None:
    shutil.copytree(encoder_folders["bert"], tmp_path, dirs_exist_ok=True)
    T5Model(T5Config(vocab_size=50, d_model=8, d_ff=8, d_kv=4, num_layers=1, num_heads=2)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="a model of type t5 is no text encoder"):
        _load(tmp_path, "mean")


def test_a_folder_of_another_kind_is_named_with_the_setting(
    clip_folder: Path, stable_diffusion_folder: Path, encoder_folders: dict[str, Path]
) -> None:
    bert = encoder_folders["bert"]
    for kind, folder, message in (
        ("open_clip", bert, "is a model of transformers; set embeddings.kind to transformers, or give a folder with"),
        ("open_clip", stable_diffusion_folder, "open_clip_config.json, and is a pipeline of diffusers; give a folder"),
        ("transformers", clip_folder, "and is a model of open_clip; set embeddings.kind to open_clip"),
        ("transformers", stable_diffusion_folder, "config.json of transformers, and is a pipeline of diffusers"),
        ("transformers", stable_diffusion_folder / "tokenizer", "holds no config.json of transformers; give"),
    ):
        with pytest.raises(ModelError) as error:
            load_text_encoder(str(folder), kind=kind)
        assert str(error.value).startswith(f"embeddings.model={folder}: the folder holds no ")
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.safetensors", r"holds no model\.safetensors \(pytorch_model\.bin is a pickle, which is not loaded"),
        ("tokenizer.json", r"holds no tokenizer\.json, and no vocabulary of another name; give"),
        ("config.json", r"holds no config\.json"),
    ],
)
def test_a_missing_file_of_an_encoder_is_named(
    tmp_path: Path, encoder_folders: dict[str, Path], name: str, message: str
) -> None:
    shutil.copytree(encoder_folders["roberta"], tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle, never opened")
    with pytest.raises(ModelError, match=message):
        _load(tmp_path)


@pytest.mark.parametrize("kind", ["open_clip", "transformers"])
def test_an_id_that_is_not_downloaded_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(
        ModelError, match=r"embeddings\.model=some/model: no such folder, some/model of the hub was not downloaded"
    ):
        load_text_encoder("some/model", kind=kind)
    assert not model_folder.is_hub_id("some/deeper/model")
    with pytest.raises(ModelError, match=r"embeddings\.model=some/deeper/model: no such folder"):
        load_text_encoder("some/deeper/model", kind=kind)


def test_a_model_from_the_hub_is_read_from_its_local_copy(monkeypatch: pytest.MonkeyPatch, clip_folder: Path) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(clip_folder))
    found = load_text_encoder("some/model")
    assert found.about["files"] == load_text_encoder(str(clip_folder)).about["files"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="the refusal of CUDA: run without a GPU")
def test_a_gpu_that_is_not_there_is_refused(clip_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"embeddings\.device=cuda: PyTorch finds no GPU here.*set auto or cpu"):
        load_text_encoder(str(clip_folder), device="cuda")


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_a_vector_without_a_direction_is_refused(tmp_path: Path, clip_folder: Path, value: float) -> None:
    folder = _write_clip(tmp_path, clip_folder, {})
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["text_projection"][:] = value
    save_file(weights, folder / "open_clip_model.safetensors")
    with pytest.raises(ModelError, match="no vector of a finite length for the caption 'a dog'"):
        load_text_encoder(str(folder)).encode(["a dog"], 64)


def test_batches_have_the_requested_tokens_and_start_with_short_captions() -> None:
    lengths = np.array([5, 2, 2, 9, 3, 2])
    assert [rows.tolist() for rows in batches(lengths, 7, equal=False)] == [[1, 2, 5], [4], [0], [3]]
    assert [rows.tolist() for rows in batches(lengths, 100, equal=True)] == [[1, 2, 5], [4], [0], [3]]
    assert [rows.tolist() for rows in batches(lengths, 4, equal=True)] == [[1, 2], [5], [4], [0], [3]]


def test_tokens_of_selected_captions_are_joined() -> None:
    tokens = Tokens.joined([Tokens.of([[1, 2], [3]]), Tokens.cut(np.array([[4, 5, 0], [6, 7, 8]]), np.array([2, 3]))])
    taken = tokens.take(np.array([1, 0, 2, 3]))
    assert taken.flat.tolist() == [3, 1, 2, 4, 5, 6, 7, 8]
    assert taken.places().tolist() == [0, 0, 1, 0, 1, 0, 1, 2]
    assert list(taken.runs()) == [(0, 1, 1), (1, 2, 2), (5, 1, 3)]


def test_settings_that_change_only_speed_are_no_params() -> None:
    settings = EmbeddingsConfig(model="m")
    fast = EmbeddingsConfig(model="m", device="cpu", batch_tokens=9, pooling="mean")
    assert settings.params() == fast.params() == {"kind": "open_clip", "model": "m", "precision": "float64"}
    assert EmbeddingsConfig(kind="transformers", model="m").params()["pooling"] == "pooler"
