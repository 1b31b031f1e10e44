"""A request to a chat model, its key, and its outcome: a response or a failure."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

Message = Mapping[str, str]  # role, content


@dataclass(frozen=True)
class Sampling:
    """The model and its parameters. `temperature` None leaves it to the server.

    `max_tokens` are those of the answer; a model that reasons may have `max_reasoning_tokens` before it.
    """

    model: str
    temperature: float | None
    max_tokens: int
    max_reasoning_tokens: int = 0
    reasoning_effort: str | None = None

    @property
    def most_tokens(self) -> int:
        """The limit of tokens of reasoning and answer together."""
        return self.max_tokens + self.max_reasoning_tokens

    @property
    def parts(self) -> dict[str, Any]:
        """The parameters in a request's key: later ones only where they are set, so that old keys stay."""
        later = {"max_reasoning_tokens", "reasoning_effort"}
        return {name: value for name, value in asdict(self).items() if name not in later or value}


@dataclass(frozen=True)
class Request:
    """One request; `schema` is the JSON schema of the answer."""

    sampling: Sampling
    messages: tuple[Message, ...]
    schema: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """SHA-256 in hex of all that determines the response; the provider, its address and its speed do not."""
        parts = {"sampling": self.sampling.parts, "messages": self.messages, "schema": self.schema}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def most_prompt_tokens(self) -> int:
        """Upper bound: a tokenizer makes no more tokens than bytes; a few more mark each message and the schema."""
        texts = [json.dumps(self.schema), *(message["content"] for message in self.messages)]
        return sum(len(text.encode()) + 16 for text in texts)

    def repaired(self, answer: str, problem: str) -> "Request":
        """The request that shows the model its answer and names the problem."""
        answer = answer.encode(errors="replace").decode()  # halves of surrogate pairs cannot be sent
        order = f"That answer cannot be used: {problem}. Answer again, with JSON alone, in the form asked for."
        turn = ({"role": "assistant", "content": answer}, {"role": "user", "content": order})
        return Request(self.sampling, (*self.messages, *turn), self.schema)


@dataclass(frozen=True, slots=True)
class Response:
    """The answer of a model. Token counts are None if the server does not return them.

    `reasoning_tokens` are those of `completion_tokens` that are no part of the content. `reasoning` is a text beside an
    empty content. `problem` says why a reply that came cannot be read.
    """

    content: str
    refusal: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    reasoning: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without a response: a stable code, and a detail for people."""

    code: str
    detail: str = ""


Outcome = Response | Failure
ImageOutcome = bytes | Failure  # a PNG file, or why there is none
Receive = Callable[[Request, Outcome], None]  # called with the outcome of each request, in any order
