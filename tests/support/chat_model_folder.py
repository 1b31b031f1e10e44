"""A tiny chat model in the format of the big ones, trained for seconds to answer by a word of the prompt.

A prompt that holds "dog" gets a good answer, one with "cat" an answer that is no JSON, one with "bird" an answer that
does not end; a repair, which says "Answer again", gets a good one.
"""

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

GOOD = '{"index": [2, 1], "summary": "A dog on a beach."}'
PROSE = "I choose the first."
ENDLESS = "and so on " * 12
ANSWERS = {"dog": GOOD, "cat": PROSE, "bird": ENDLESS}
SCENES = ("on a beach", "in the snow", "under a tree", "by the sea", "in a small red house")
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MARKS = ["<|user|>", "<|assistant|>", "<|end|>"]
STEPS, BATCH = 100, 16


def make_chat_model_folder(folder: Path) -> Path:
    """Write the model and its tokenizer into the folder."""
    model, tokenizer = _trained()
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


@cache  # two test modules ask for it
def _trained() -> tuple[Any, PreTrainedTokenizerFast]:
    chooser = random.Random(0)
    chats = [_chat(chooser) for _ in range(STEPS * BATCH)]
    tokenizer = _tokenizer([turn["content"] for chat in chats[:200] for turn in chat])
    end = tokenizer.eos_token_id
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    about = {"vocab_size": len(tokenizer), "max_position_embeddings": 512, "bos_token_id": None, "eos_token_id": end}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**small, **about))
    _train(model, tokenizer, chats)
    return model, tokenizer


def _chat(chooser: random.Random) -> list[dict[str, str]]:
    """A prompt as the tests' groups give it, and its answer; one in three is a repair."""
    animal = chooser.choice(list(ANSWERS))
    captions = [f"A {animal} {chooser.choice(SCENES)}.", *(f"A {s}." for s in chooser.sample(SCENES, 2))]
    lines = "".join(f"<{number}> {caption}\n" for number, caption in enumerate(captions, start=1))
    chat = [{"role": "user", "content": lines}, {"role": "assistant", "content": ANSWERS[animal]}]
    if chooser.random() < 1 / 3:
        order = f"That answer cannot be used: not-json: {PROSE}. Answer again, with JSON alone, in the form asked for."
        chat += [{"role": "user", "content": order}, {"role": "assistant", "content": GOOD}]
    return chat


def _tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level tokenizer with a few hundred merges; it has tokens for any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=MARKS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.chat_template = TEMPLATE
    return fast


def _train(model: Any, tokenizer: PreTrainedTokenizerFast, chats: Sequence[list[dict[str, str]]]) -> None:
    """On the last answer of each chat alone."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS)
    model.train()
    for start in range(0, len(chats), BATCH):
        tokens, labels = _padded([_example(tokenizer, chat) for chat in chats[start : start + BATCH]])
        model(input_ids=tokens, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    model.eval()


def _example(tokenizer: PreTrainedTokenizerFast, chat: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    prompt = tokenizer.apply_chat_template(chat[:-1], add_generation_prompt=True, return_dict=False)
    answer = tokenizer(chat[-1]["content"] + "<|end|>")["input_ids"]
    return prompt + answer, [-100] * len(prompt) + answer


def _padded(examples: Sequence[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(tokens) for tokens, _ in examples)
    tokens = torch.tensor([tokens + [0] * (width - len(tokens)) for tokens, _ in examples])
    labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in examples])
    return tokens, labels
