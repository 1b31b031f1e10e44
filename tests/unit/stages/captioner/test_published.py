"""The keys that train as the published code does, beside its formulas: text, loss, language head and weight decay."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from captioner_world import settings_of
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizer

from icsd.config import CaptionerConfig
from icsd.core.errors import ConfigError
from icsd.stages.captioner.encoder_decoder import decoder_batch
from icsd.stages.captioner.interface import Captioner
from icsd.stages.captioner.model import load_captioner, new_captioner
from icsd.stages.captioner.steps import caption_loss
from icsd.stages.captioner.text import prompt_ids, tokenize
from icsd.stages.captioner.training import _optimizer

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
PREFIX = "a picture of"
LONG = " ".join(["a red ball and a blue fish"] * 9)
CPU = torch.device("cpu")


@pytest.fixture
def settings(captioner_folder: Path, tmp_path: Path) -> CaptionerConfig:
    """The keys of coco.yaml, and a BERT whose weights have a deviation of 1."""
    words = len(BertTokenizer.from_pretrained(captioner_folder / "tokenizer"))
    bert = BertForMaskedLM(BertConfig(**SMALL, vocab_size=words, max_position_embeddings=64))
    for value in bert.parameters():
        torch.nn.init.normal_(value)
    bert.save_pretrained(tmp_path / "bert")
    changes = {"decoder_weights": str(tmp_path / "bert"), "decoder_head": "random", "start_token": "[DEC]"}
    return settings_of(captioner_folder).model_copy(update=changes | {"max_text_tokens": 40, "decay_all": True})


def made(settings: CaptionerConfig) -> Captioner:
    return new_captioner(settings, seed=0, device=CPU)


def test_inputs_and_loss_are_those_of_the_published_formula(settings: CaptionerConfig):
    """There the ids are cut at 40, the first is [DEC], the prompt has no label, and the logits are shifted by one."""
    captioner = made(settings)
    captions = ["red ball", LONG]
    tokens = tokenize(captions, captioner.tokenizer, PREFIX, settings.max_text_tokens)
    ids, mask, labels = decoder_batch(tokens)
    encoded = captioner.tokenizer(
        [f"{PREFIX} {caption}" for caption in captions],
        padding="longest", truncation=True, max_length=40, return_tensors="pt",
    )  # fmt: skip
    theirs = encoded.input_ids
    theirs[:, 0] = captioner.tokenizer.convert_tokens_to_ids("[DEC]")
    wanted = theirs.masked_fill(theirs == captioner.tokenizer.pad_token_id, -100)
    wanted[:, : len(captioner.tokenizer(f"{PREFIX} ").input_ids) - 1] = -100
    assert theirs.shape == (2, 40) and theirs[1, -1] == captioner.tokenizer.sep_token_id
    assert torch.equal(ids, theirs[:, :-1]) and torch.equal(labels, wanted[:, 1:])
    pixels = captioner.pixel_values(np.zeros((2, 16, 16, 3), np.uint8))
    captioner.model.eval()
    with torch.inference_mode():
        ours = captioner.model(pixel_values=pixels, decoder_input_ids=ids, decoder_attention_mask=mask).logits
        logits = captioner.model(
            pixel_values=pixels, decoder_input_ids=theirs, decoder_attention_mask=encoded.attention_mask
        ).logits
    shifted = logits[:, :-1].reshape(-1, logits.shape[-1])
    published = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(shifted, wanted[:, 1:].reshape(-1))
    assert float(caption_loss(ours, labels, 0.1)) == pytest.approx(float(published), rel=1e-5)


def test_the_start_token_is_a_new_word_that_the_checkpoint_keeps(settings: CaptionerConfig, tmp_path: Path):
    plain, captioner = made(settings.model_copy(update={"start_token": None})), made(settings)
    words = len(plain.tokenizer)
    assert prompt_ids(plain.tokenizer, PREFIX)[0] == plain.tokenizer.cls_token_id
    captioner.save(tmp_path / "checkpoint")
    for each in (captioner, load_captioner(tmp_path / "checkpoint")):
        assert len(each.tokenizer) == words + 1
        assert prompt_ids(each.tokenizer, PREFIX) == [words, *prompt_ids(plain.tokenizer, PREFIX)[1:]]
        assert each.model.config.decoder_start_token_id == each.model.generation_config.decoder_start_token_id == words
        decoder = each.model.decoder
        assert decoder.cls.predictions.decoder.weight is decoder.bert.embeddings.word_embeddings.weight
    before, after = (each.model.decoder.bert.embeddings.word_embeddings.weight for each in (plain, captioner))
    assert torch.equal(after[:-1], before) and 0.01 < float(after[-1].detach().std()) < 0.04


def test_a_start_token_of_the_tokenizer_is_no_new_word(settings: CaptionerConfig):
    captioner = made(settings.model_copy(update={"start_token": "[MASK]"}))
    assert prompt_ids(captioner.tokenizer, PREFIX)[0] == captioner.tokenizer.mask_token_id
    assert len(captioner.tokenizer) == len(made(settings.model_copy(update={"start_token": None})).tokenizer)


def test_a_random_head_is_drawn_and_all_else_is_the_berts(settings: CaptionerConfig):
    loaded, drawn = (
        made(settings.model_copy(update={"start_token": None, "decoder_head": head})).model.decoder.state_dict()
        for head in ("loaded", "random")
    )
    differing = {name for name in loaded if not torch.equal(loaded[name], drawn[name])}
    transform = ("dense.weight", "dense.bias", "LayerNorm.weight", "LayerNorm.bias")
    biases = {"cls.predictions.bias", "cls.predictions.decoder.bias"}  # one parameter, by two names
    assert differing == biases | {f"cls.predictions.transform.{name}" for name in transform}
    assert 0.018 < float(drawn["cls.predictions.transform.dense.weight"].std()) < 0.022


def test_a_bert_without_a_head_is_enough_for_a_random_one(settings: CaptionerConfig, tmp_path: Path):
    bert = BertModel.from_pretrained(settings.decoder_weights)
    bert.save_pretrained(tmp_path / "headless")
    captioner = made(settings.model_copy(update={"decoder_weights": str(tmp_path / "headless"), "start_token": None}))
    found = captioner.model.decoder.bert.state_dict()
    kept = {name: value for name, value in bert.state_dict().items() if not name.startswith("pooler")}
    assert all(torch.equal(found[name], value) for name, value in kept.items())


def test_decay_all_updates_as_one_adamw_over_all_parameters(settings: CaptionerConfig):
    captioner = made(settings)
    other = copy.deepcopy(captioner.model)
    optimizer = _optimizer(captioner, settings)
    published = torch.optim.AdamW(params=other.parameters(), lr=1e-2, weight_decay=settings.weight_decay)
    for group in optimizer.param_groups:
        group["lr"] = 1e-2 * group["share"]
    for model in (captioner.model, other):
        torch.manual_seed(0)
        for value in (each for each in model.parameters() if each.requires_grad):
            value.grad = torch.randn_like(value)
    optimizer.step()
    published.step()
    for (name, ours), theirs in zip(captioner.model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    without = _optimizer(captioner, settings.model_copy(update={"decay_all": False}))
    assert {group["weight_decay"] for group in without.param_groups} == {0.0, settings.weight_decay}


def test_too_few_tokens_of_text_are_one_message(settings: CaptionerConfig):
    tokenizer = made(settings).tokenizer
    assert tokenize(["red ball"], tokenizer, PREFIX, 6).ids.shape == (1, 6)
    with pytest.raises(ConfigError, match=r"captioner\.max_text_tokens=5 leaves no token .* take 4.* give 6 or more"):
        tokenize(["red ball"], tokenizer, PREFIX, 5)
