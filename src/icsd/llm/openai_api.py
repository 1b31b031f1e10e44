"""What the providers of OpenAI's API share: the endpoint and its key, requests on the wire, replies, errors."""

import os
from dataclasses import dataclass, field
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from icsd.core.errors import ConfigError, ICSDError
from icsd.core.text import shown
from icsd.llm.request import Request, Response

NO_KEY = "none"  # the client insists on one; a server without keys ignores it
NO_CREDIT = frozenset(("insufficient_quota", "billing_hard_limit_reached"))
NOBODY_ALLOWED = frozenset((401, 403, 404))  # no other request would fare better


class EndpointError(ICSDError):
    """The endpoint takes no request at all: the stage stops."""


@dataclass(frozen=True)
class Endpoint:
    """Where to ask and how fast. `api_key_env` names the variable that holds the key; None: the server needs none."""

    base_url: str
    api_key_env: str | None
    timeout_s: float
    retries: int
    concurrency: int
    structured_output: bool


@dataclass(frozen=True)
class Access:
    """An endpoint and its key, which is blanked out of all that is told or kept of the server's words."""

    endpoint: Endpoint
    secret: str = field(repr=False)

    @classmethod
    def to(cls, endpoint: Endpoint) -> "Access":
        """With the key from its environment variable; ConfigError where there is none."""
        return cls(endpoint, _read_key(endpoint.api_key_env))

    @property
    def address(self) -> str:
        """The base URL."""
        return self._without_key(self.endpoint.base_url)

    @property
    def place(self) -> str:
        """What an error begins with."""
        return f"summaries.openai.base_url={shown(self.address)}"

    def blanked(self, text: str) -> str:
        """The beginning of a text from the server."""
        return shown(self._without_key(text))

    def unreachable(self, cause: str) -> EndpointError:
        """The error where nobody listens."""
        mend = "start the server or mend the address, in config/config.yaml"
        return EndpointError(f"{self.place} cannot be reached ({cause}): {mend}")

    def refusal(self, status: int, code: str | None, model: str) -> EndpointError:
        """The error where the endpoint refuses; without the server's words, which may repeat the key."""
        where = f"{self.place} answers {status}"
        if code in NO_CREDIT:
            words = "(the account has no credit left): what was answered is kept; run snakemake again with credit"
            return EndpointError(f"{where} {words}")
        if status == 404:
            mend = "mend summaries.openai.base_url or .model, in config/config.yaml"
            return EndpointError(f"{where} (no such address, or no model {model}): {mend}")
        key = self.endpoint.api_key_env or "summaries.openai.api_key_env, which names no variable"
        return EndpointError(f"{where} (the key is not accepted): put a valid key into the environment variable {key}")

    def _without_key(self, text: str) -> str:
        return text.replace(self.secret, "***") if self.secret else text


def worth_again(status: int) -> bool:
    """Whether the same request may be answered at a later try."""
    return status in {408, 409, 429} or status >= 500


def ends_all(error: openai.APIStatusError) -> bool:
    """Whether no other request would fare better."""
    return error.status_code in NOBODY_ALLOWED or error.code in NO_CREDIT


def request_body(request: Request, structured: bool) -> dict[str, Any]:
    """What is sent; `structured`: with the schema."""
    sent: dict[str, Any] = {
        "model": request.sampling.model,
        "messages": list(request.messages),
        "max_tokens": request.sampling.max_tokens,
    }
    if request.sampling.temperature is not None:
        sent["temperature"] = request.sampling.temperature
    if structured:
        schema = {"name": "answer", "strict": True, "schema": dict(request.schema)}
        sent["response_format"] = {"type": "json_schema", "json_schema": schema}
    return sent


def read_response(completion: object) -> Response | None:
    """What a completion says; None of what is no completion."""
    if not isinstance(completion, ChatCompletion) or not completion.choices:
        return None
    choice, usage = completion.choices[0], completion.usage
    if choice.message is None:
        return None
    tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)
    return Response(choice.message.content or "", choice.message.refusal, choice.finish_reason, *tokens)


def _read_key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"summaries.openai.api_key_env={variable}: the environment variable {variable} is not set; "
            "set it to the endpoint's key, or set api_key_env to null for a server without keys, in config/config.yaml"
        )
    return key
