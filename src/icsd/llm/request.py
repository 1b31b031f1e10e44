"""A request to a chat model, under the hash of all that determines its reply, and what comes back."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

Message = Mapping[str, str]  # role, content


@dataclass(frozen=True)
class Sampling:
    """How a model is to answer. `temperature` None leaves it to the server."""

    model: str
    temperature: float | None
    max_tokens: int


@dataclass(frozen=True)
class Request:
    """One question; `schema` is the JSON schema that the answer must have."""

    sampling: Sampling
    messages: tuple[Message, ...]
    schema: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """SHA-256 in hex of all that determines the reply; the provider, its address and its speed do not."""
        parts = {"sampling": asdict(self.sampling), "messages": self.messages, "schema": self.schema}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def most_prompt_tokens(self) -> int:
        """A bound: no tokenizer of bytes makes more tokens than bytes; a few more mark each message and the schema."""
        texts = [json.dumps(self.schema), *(message["content"] for message in self.messages)]
        return sum(len(text.encode()) + 16 for text in texts)

    def repaired(self, answer: str, problem: str) -> "Request":
        """The request that shows the model its answer and names what was wrong with it."""
        order = f"That answer cannot be used: {problem}. Answer again, with JSON alone, in the form asked for."
        turn = ({"role": "assistant", "content": answer}, {"role": "user", "content": order})
        return Request(self.sampling, (*self.messages, *turn), self.schema)


@dataclass(frozen=True, slots=True)
class Response:
    """What a model said. Tokens are None where the server does not count them."""

    content: str
    refusal: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """No reply was had: a stable code, and a detail for people."""

    code: str
    detail: str = ""


Outcome = Response | Failure
