"""An endpoint of OpenAI's API, shared by chat, images and batches: its key, its errors, and chat requests."""

import os
from dataclasses import dataclass, field
from typing import Any

import openai

from icsd.core.errors import ConfigError, ICSDError
from icsd.core.text import shown
from icsd.llm.request import Request

NO_KEY = "none"  # the client insists on one; a server without keys ignores it
NO_CREDIT_CODES = frozenset(("insufficient_quota", "billing_hard_limit_reached"))
FATAL_STATUSES = frozenset((401, 403, 404))  # every other request would fail too


class EndpointError(ICSDError):
    """The endpoint takes no request at all, and the stage stops."""


@dataclass(frozen=True)
class Endpoint:
    """An address and its limits. `api_key_env` names the variable with the key; None if the server needs no key.

    With `structured_output`, requests have a `response_format`. `section` is that of the config, for messages.
    """

    base_url: str
    api_key_env: str | None
    timeout_s: float
    retries: int
    concurrency: int
    structured_output: bool
    section: str = "summaries.openai"


@dataclass(frozen=True)
class Access:
    """An endpoint and its key, which is redacted in all that is logged or stored of the server's words."""

    endpoint: Endpoint
    secret: str = field(repr=False)

    @classmethod
    def to(cls, endpoint: Endpoint) -> "Access":
        """Read the key from its environment variable; ConfigError if it is not set."""
        return cls(endpoint, _read_key(endpoint))

    @property
    def address(self) -> str:
        """The base URL."""
        return self._without_key(self.endpoint.base_url)

    @property
    def setting(self) -> str:
        """The config key and its value, with which errors begin."""
        return f"{self.endpoint.section}.base_url={shown(self.address)}"

    def redacted(self, text: str) -> str:
        """The beginning of a text from the server, without the key."""
        return shown(self._without_key(text))

    def unreachable(self, cause: str) -> EndpointError:
        """The error if nobody listens at the address."""
        mend = "start the server or mend the address, in config/config.yaml"
        return EndpointError(f"{self.setting} cannot be reached ({cause}): {mend}")

    def refusal(self, status: int, code: str | None, model: str) -> EndpointError:
        """The error if the endpoint refuses; without the server's words, which may repeat the key."""
        where = f"{self.setting} answers {status}"
        if code in NO_CREDIT_CODES:
            words = "(the account has no credit left): what was answered is stored; run snakemake again with credit"
            return EndpointError(f"{where} {words}")
        if status == 404:
            mend = f"mend {self.endpoint.section}.base_url or .model, in config/config.yaml"
            return EndpointError(f"{where} (no such address, or no model {model}): {mend}")
        key = self.endpoint.api_key_env or f"{self.endpoint.section}.api_key_env, which names no variable"
        return EndpointError(f"{where} (the key is not accepted): put a valid key into the environment variable {key}")

    def _without_key(self, text: str) -> str:
        return text.replace(self.secret, "***") if self.secret else text


def is_retryable(status: int) -> bool:
    """Return whether the same request may succeed when it is sent again, such as after a 429."""
    return status in {408, 409, 429} or status >= 500


def is_fatal(error: openai.APIStatusError) -> bool:
    """Return whether every other request would fail too."""
    return error.status_code in FATAL_STATUSES or error.code in NO_CREDIT_CODES


def request_body(request: Request, structured: bool) -> dict[str, Any]:
    """The body of a request; `structured` adds the schema."""
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


def _read_key(endpoint: Endpoint) -> str:
    variable = endpoint.api_key_env
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"{endpoint.section}.api_key_env={variable}: the environment variable {variable} is not set; "
            "set it to the endpoint's key, or set api_key_env to null for a server without keys, in config/config.yaml"
        )
    return key
