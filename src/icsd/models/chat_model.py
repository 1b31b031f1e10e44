"""A chat model of transformers that answers batches of conversations."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from llguidance import LLTokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from icsd.core.errors import ModelError
from icsd.models.constrained import SchemaConstraint, constraint_tokenizer
from icsd.models.model_folder import folder_digest

# files to download from the hub: no pickles, no second format of the same weights
CHAT_FILES = (
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template*",
)
UNHASHED = ("*.jinja", "*.model")  # templates and SentencePiece vocabularies, which `folder_digest` leaves out
WAY_OUT = "give a chat model's folder with safetensors weights, or its id on the hub, in config/config.yaml"


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer: `finish_reason` is "stop" or "length"; the end token counts as a token."""

    content: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class ChatModel:
    """A causal language model with its tokenizer; `ends` are the tokens that end an answer.

    Only the end tokens of the folder's generation_config.json count; the caller gives all other settings.
    """

    model: Any  # transformers finds the class at run time
    tokenizer: Any
    ends: frozenset[int]

    @property
    def context(self) -> int | None:
        """The limit of the tokens of prompt and answer together; None if the config has none."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the tokens of a conversation, up to the start of the answer."""
        return self.tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=True,
            return_dict=False,
            sanitize_control_tokens=True,  # a special token inside a caption stays text and ends no turn
            enable_thinking=False,  # only templates of reasoning models read it
        )

    @torch.inference_mode()
    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        temperature: float,
        max_tokens: int,
        schemas: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Completion]:
        """Answer each prompt, in order; temperature 0 is greedy. `schemas` has a JSON schema for each answer to fit.

        Up to rounding, an answer does not depend on its batch. ModelError if answers cannot be kept to a schema.
        """
        tokens, mask = _left_padded(prompts, min(self.ends))
        processors: list[Any] = []
        if schemas is not None:
            processors.append(SchemaConstraint(self._constraint_tokenizer, schemas, tokens.shape[1]))
        if temperature:
            processors.append(_Sampler(temperature, seeds, tokens.shape[1], max_tokens))
        settings = GenerationConfig(
            max_new_tokens=max_tokens, do_sample=False, eos_token_id=sorted(self.ends), pad_token_id=min(self.ends)
        )
        device = self.model.device
        generated = self.model.generate(
            tokens.to(device), attention_mask=mask.to(device), generation_config=settings, logits_processor=processors
        )
        rows = generated[:, tokens.shape[1] :].tolist()
        return [self._completion(len(prompt), row) for prompt, row in zip(prompts, rows, strict=True)]

    @cached_property
    def _constraint_tokenizer(self) -> LLTokenizer:
        vocabulary = self.model.config.get_text_config().vocab_size
        return constraint_tokenizer(self.tokenizer, vocabulary, sorted(self.ends))

    def _completion(self, prompt_tokens: int, row: Sequence[int]) -> Completion:
        """Decode a row of tokens; those after the first end token are padding."""
        end = next((place for place, token in enumerate(row) if token in self.ends), None)
        content = self.tokenizer.decode(row[:end], skip_special_tokens=True)
        if end is None:
            return Completion(content, "length", prompt_tokens, len(row))
        return Completion(content, "stop", prompt_tokens, end + 1)


class _Sampler:
    """Sample each row with its own random numbers.

    `generate` uses one generator for the whole batch, so an answer would depend on its batch.
    """

    def __init__(self, temperature: float, seeds: Sequence[int], start: int, steps: int) -> None:
        self._temperature, self._start = temperature, start
        # generated on the CPU, so that the numbers are the same on every device
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self._uniform = torch.stack([torch.rand(steps, generator=each, dtype=torch.float64) for each in generators])

    def __call__(self, tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Set the score of the sampled token to 0 and all others to minus infinity, [n, vocabulary]."""
        shares = (scores.double() / self._temperature).softmax(1).cumsum(1)
        uniform = self._uniform[:, tokens.shape[1] - self._start, None].to(scores.device)
        drawn = torch.searchsorted(shares, uniform * shares[:, -1:], right=True).clamp(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, drawn, 0.0)


def _left_padded(prompts: Sequence[Sequence[int]], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad prompts on the left: tokens and mask, both [n, longest]."""
    width = max(len(prompt) for prompt in prompts)
    tokens = torch.tensor([[padding] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    return tokens, (torch.arange(width) >= width - lengths[:, None]).long()


def load_chat_model(setting: str, folder: Path) -> ChatModel:
    """Load the chat model in `folder`: on a GPU in the type of its weights, on a CPU in float32.

    ModelError, naming the config's `setting`, if the folder is incomplete, its weights are not safetensors, or its
    tokenizer has no chat template.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{setting}={folder}: the folder holds no config.json of transformers; {WAY_OUT}")
    transformers_logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # a model file is outside data: any error becomes a message with its name
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="auto" if device == "cuda" else torch.float32,
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelError(f"{setting}={folder}: transformers cannot load the folder: {error}; {WAY_OUT}") from error
    ends = _ends(tokenizer, model)
    problem = _problem(tokenizer, ends, found["missing_keys"])
    if problem:
        raise ModelError(f"{setting}={folder}: {problem}; {WAY_OUT}")
    model.generation_config = GenerationConfig()  # its penalties and limits must not apply
    return ChatModel(model.eval().to(device), tokenizer, ends)


def _ends(tokenizer: Any, model: Any) -> frozenset[int]:
    own = model.generation_config.eos_token_id
    return frozenset([*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id]) - {None}


def _problem(tokenizer: Any, ends: Collection[int], missing: Collection[str]) -> str:
    """Return the problem of a loaded model; empty if there is none."""
    if not tokenizer.chat_template:
        return "its tokenizer has no chat template, so it is not a chat model"
    if not ends:
        return "neither its tokenizer nor its generation_config.json names a token that ends an answer"
    if missing:
        return f"its weights lack {', '.join(sorted(missing)[:3])}"  # transformers would fill them with random numbers
    return ""


def chat_digest(folder: Path) -> str:
    """Hash all files of a chat model that determine its answers, with SHA-256."""
    digest = hashlib.sha256(folder_digest(folder).encode())
    for path in sorted(path for pattern in UNHASHED for path in folder.rglob(pattern)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()
