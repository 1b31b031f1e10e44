"""Pickled weights become safetensors that the workflow's own loader reads."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel, BertTokenizer

from icsd.cli import main
from icsd.core.errors import ModelError
from icsd.models.conversion import convert_model
from icsd.models.text_encoder import load_text_encoder

ROOT = Path(__file__).parents[3]
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture
def bert_folder(tmp_path: Path) -> Path:
    """A small BERT with random weights, and the picture book's tokenizer."""
    tokenizer = BertTokenizer.from_pretrained(ROOT / "resources/picturebook/bert")
    BertModel(BertConfig(**SMALL, vocab_size=len(tokenizer))).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


@pytest.fixture
def pickled(tmp_path: Path, bert_folder: Path) -> Path:
    """A BERT as its authors may publish it: config, tokenizer, and weights as a pickle."""
    folder = tmp_path / "published"
    folder.mkdir()
    for path in bert_folder.iterdir():
        if path.name != "model.safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    torch.save(load_file(bert_folder / "model.safetensors"), folder / "pytorch_model.bin")
    return folder


def test_converted_weights_encode_as_the_published_ones(pickled: Path, bert_folder: Path, tmp_path: Path) -> None:
    assert main(["convert", str(pickled), str(tmp_path / "converted")]) == 0
    texts = ["a red ball", "two dogs"]
    ours, theirs = (
        load_text_encoder(str(folder), "transformers", "cls", "float32").encode(texts, batch_tokens=64)
        for folder in (tmp_path / "converted", bert_folder)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_a_missing_pooler_is_said(pickled: Path, tmp_path: Path) -> None:
    weights = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    torch.save({name: each for name, each in weights.items() if "pooler" not in name}, pickled / "pytorch_model.bin")
    assert "set embeddings.pooling to cls or mean" in convert_model(str(pickled), tmp_path / "converted")
    torch.save({"encoder.x": torch.zeros(1)}, pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"its weights are not those of a \w+ \(no "):
        convert_model(str(pickled), tmp_path / "other")
    assert not (tmp_path / "other").exists()


class Evil:
    """What a pickle may do when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("touched"),)


def test_code_in_a_pickle_does_not_run(
    pickled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (pickled / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(), protocol=2))
    assert main(["convert", str(pickled), "converted"]) == 1
    assert capsys.readouterr().err.startswith(f"icsd: {pickled} can't be converted: ")
    assert not Path("touched").exists() and not Path("converted").exists()


def test_a_folder_that_is_there_is_kept(pickled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(pickled), str(pickled)]) == 1
    assert "is there already" in capsys.readouterr().err
