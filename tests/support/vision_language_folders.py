"""Folders of vision-language models with random weights, small enough to train in a test: one of each class."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    BartConfig,
    BertTokenizer,
    BlipConfig,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    Florence2Config,
    Florence2Processor,
    GitConfig,
    GitProcessor,
    Idefics3Config,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

SIDE = 16  # of a picture, in pixels
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
CHAT = (
    "{% for message in messages %}{% for part in message.content %}{% if part.type == 'image' %}IMAGE"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} answer{% endif %}"
)
Folder = Callable[[Path, Iterable[str]], None]


def write_blip(folder: Path, words: Iterable[str], **small: Any) -> None:
    """A BlipForConditionalGeneration: picture and text apart, BERT's tokens."""
    small = SMALL | small
    tokenizer = bert_tokenizer(words)
    ids = {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    text = small | ids | {"vocab_size": len(tokenizer), "encoder_hidden_size": small["hidden_size"]}
    config = BlipConfig(text_config=text, vision_config=small | {"image_size": SIDE, "patch_size": 8})
    pictures = BlipImageProcessor(size={"height": SIDE, "width": SIDE}, **HALF)
    _write(folder, config, BlipProcessor(pictures, tokenizer))


def write_git(folder: Path, words: Iterable[str], **small: Any) -> None:
    """A GitForCausalLM: the picture's tokens come before the text without standing in it."""
    small = SMALL | small
    tokenizer = bert_tokenizer(words)
    vision = small | {"image_size": SIDE, "patch_size": 8}
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = GitConfig(vision_config=vision, vocab_size=len(tokenizer), **small, **ids)
    square = {"height": SIDE, "width": SIDE}
    pictures = CLIPImageProcessor(size=square, crop_size=square, **HALF)
    _write(folder, config, GitProcessor(pictures, tokenizer))


def write_florence(folder: Path, words: Iterable[str]) -> None:
    """A Florence2ForConditionalGeneration: an encoder of picture and question, and a decoder of the caption."""
    tokenizer = word_tokenizer(words, image="<image>", bos="<s>", eos="</s>", pad="<pad>", wrapped=True)
    vision = {
        "depths": [1, 1], "embed_dim": [16, 32], "num_heads": [2, 2], "num_groups": [2, 2], "patch_size": [7, 3],
        "patch_stride": [4, 2], "patch_padding": [3, 1], "patch_prenorm": [False, True], "window_size": 2,
        "projection_dim": 32, "drop_path_rate": 0.0,
    }  # fmt: skip
    text = BartConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=len(tokenizer), max_position_embeddings=64,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, decoder_start_token_id=tokenizer.eos_token_id,
        forced_bos_token_id=tokenizer.bos_token_id, forced_eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    config = Florence2Config(
        vision_config=vision, text_config=text.to_dict(), image_token_id=tokenizer.image_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    square = {"height": SIDE, "width": SIDE}
    pictures = CLIPImageProcessor(size=square, crop_size=square, **HALF)
    pictures.image_seq_length = (SIDE // 8) ** 2 + 1
    _write(folder, config, Florence2Processor(pictures, tokenizer))


def write_smolvlm(folder: Path, words: Iterable[str]) -> None:
    """An Idefics3ForConditionalGeneration, as SmolVLM is: the picture is also cut into tiles."""
    marks = ["<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "\n"]
    marks += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokenizer = word_tokenizer(words, marks, image="<image>", bos="<s>", eos="<end>", pad="<pad>")
    text = LlamaConfig(**SMALL, vocab_size=len(tokenizer), max_position_embeddings=256, **_ids(tokenizer)).to_dict()
    vision = SMALL | {"image_size": SIDE, "patch_size": 4}
    config = Idefics3Config(
        vision_config=vision, text_config=text, image_token_id=tokenizer.image_token_id, scale_factor=2
    )
    edge = {"longest_edge": SIDE}
    pictures = Idefics3ImageProcessor(size={"longest_edge": 2 * SIDE}, max_image_size=edge, **HALF)
    seq = (SIDE // 4) ** 2 // 4
    chat = CHAT.replace("IMAGE", "<image>")
    _write(folder, config, Idefics3Processor(pictures, tokenizer, image_seq_len=seq, chat_template=chat))


def write_qwen(folder: Path, words: Iterable[str]) -> None:
    """A Qwen2_5_VLForConditionalGeneration: as many tokens as the picture's size asks for."""
    marks = ["<|vision_start|>", "<|vision_end|>", "<|video_pad|>"]
    tokenizer = word_tokenizer(words, marks, image="<|image_pad|>", bos="<s>", eos="<end>", pad="<pad>")
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in (
        ("image_token_id", "<|image_pad|>"), ("video_token_id", "<|video_pad|>"),
        ("vision_start_token_id", "<|vision_start|>"), ("vision_end_token_id", "<|vision_end|>"),
    )}  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    text = SMALL | _ids(tokenizer) | {
        "vocab_size": len(tokenizer), "num_key_value_heads": 2, "rope_parameters": rope, "max_position_embeddings": 256,
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 4,
        "spatial_merge_size": 2, "out_hidden_size": 32, "window_size": 16, "fullatt_block_indexes": [0],
    }  # fmt: skip
    config = Qwen2_5_VLConfig(vision_config=vision, text_config=text, **ids)
    limits = {"shortest_edge": 64, "longest_edge": 4096}
    pictures = Qwen2VLImageProcessor(patch_size=4, merge_size=2, size=limits, **HALF)
    videos = Qwen2VLVideoProcessor(patch_size=4, merge_size=2, size=limits, **HALF)
    chat = CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    _write(folder, config, Qwen2VLProcessor(pictures, tokenizer, videos, chat_template=chat))


def write_llava(folder: Path, words: Iterable[str]) -> None:
    """A LlavaForConditionalGeneration without a chat template: CLIP's picture and Llama's text."""
    tokenizer = word_tokenizer(words, image="<image>", bos="<s>", eos="<end>", pad="<pad>")
    text = LlamaConfig(**SMALL, vocab_size=len(tokenizer), max_position_embeddings=256, **_ids(tokenizer))
    vision = CLIPVisionConfig(**SMALL | {"num_hidden_layers": 2}, image_size=SIDE, patch_size=8)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=tokenizer.image_token_id)
    square = {"height": SIDE, "width": SIDE}
    pictures = CLIPImageProcessor(size=square, crop_size=square, **HALF)
    processor = LlavaProcessor(
        pictures, tokenizer, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    _write(folder, config, processor)


FOLDERS: dict[str, Folder] = {
    "blip": write_blip,
    "git": write_git,
    "florence2": write_florence,
    "idefics3": write_smolvlm,
    "qwen2_5_vl": write_qwen,
    "llava": write_llava,
}


def bert_tokenizer(words: Iterable[str]) -> BertTokenizer:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(words))]
    return BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)})


def word_tokenizer(
    words: Iterable[str], marks: Iterable[str] = (), *, image: str, bos: str, eos: str, pad: str, wrapped: bool = False
) -> PreTrainedTokenizerFast:
    """A token a word; text stands between `bos` and `eos` if `wrapped`."""
    from tokenizers.processors import TemplateProcessing

    special = [pad, "<unk>", bos, eos, image, *marks]
    vocabulary = {word: number for number, word in enumerate([*special, *sorted(set(words))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if wrapped:
        ends = [(bos, vocabulary[bos]), (eos, vocabulary[eos])]
        tokenizer.post_processor = TemplateProcessing(single=f"{bos} $A {eos}", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        unk_token="<unk>",
        additional_special_tokens=list(marks),
        extra_special_tokens={"image_token": image},
    )


def _ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _write(folder: Path, config: Any, processor: ProcessorMixin) -> None:
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    processor.save_pretrained(folder)
