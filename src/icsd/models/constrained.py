"""Constrained decoding: at each token of an answer, only those that continue a JSON text of the schema are allowed.

By llguidance (https://github.com/guidance-ai/llguidance), which knows the tokens that a schema allows next.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer

from icsd.core.errors import ModelError

KEY = "summaries.transformers.constrained"
WAY_OUT = f"or set {KEY}: false in config/config.yaml, and answers are checked afterwards alone"


def constraint_tokenizer(tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> LLTokenizer:
    """Return llguidance's view of a tokenizer; `vocabulary` is the width of the model's scores.

    ModelError if the tokenizer is none of the `tokenizers` library. It takes about a second.
    """
    try:
        return from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(ends))
    except ValueError as error:
        raise ModelError(
            f"{KEY}: the chat model's tokenizer cannot be used: {error}; name another, {WAY_OUT}"
        ) from error


class SchemaConstraint:
    """A logits processor that keeps each row of a batch to its own schema; rows are independent of one another."""

    def __init__(self, tokenizer: LLTokenizer, schemas: Sequence[Mapping[str, Any]], start: int) -> None:
        """`schemas` has one for each row; `start` is the width of the prompts, [rows, start].

        ModelError if a schema has what llguidance lacks.
        """
        texts = [json.dumps(schema) for schema in schemas]
        grammars = {text: _grammar(text, tokenizer) for text in set(texts)}
        self._matchers = [LLMatcher(tokenizer, grammars[text]) for text in texts]
        self._start = start

    def __call__(self, tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Set the scores of the tokens that are not allowed to minus infinity, [rows, vocabulary]."""
        if tokens.shape[1] > self._start:
            for matcher, token in zip(self._matchers, tokens[:, -1].tolist(), strict=True):
                if not matcher.is_stopped():
                    matcher.consume_token(token)
        allowed = np.stack([self._allowed(matcher, scores.shape[1]) for matcher in self._matchers])
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), -torch.inf)

    @staticmethod
    def _allowed(matcher: LLMatcher, vocabulary: int) -> np.ndarray:
        """Return which tokens may come next, [vocabulary]; after the answer's end anything may, as it is padding."""
        if matcher.is_stopped():
            return np.ones(vocabulary, dtype=bool)
        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        return np.unpackbits(bits, count=vocabulary, bitorder="little").astype(bool)


def _grammar(schema: str, tokenizer: LLTokenizer) -> str:
    # no whitespace between the parts: a weak model would write it without end
    grammar = LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False})
    if problem := LLMatcher.validate_grammar(grammar, tokenizer):
        raise ModelError(f"{KEY}: the prompt's schema cannot be kept to: {problem}; simplify the schema, {WAY_OUT}")
    return grammar
