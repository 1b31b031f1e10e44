"""An endpoint of OpenAI's API, shared by chat, images and batches: its key and its errors."""

import os
from dataclasses import dataclass, field

from icsd.core.errors import ConfigError, ICSDError
from icsd.core.text import shown, shown_address
from icsd.llm.problems import HttpError

NO_KEY = "none"  # the client insists on one; a server without keys ignores it


class EndpointError(ICSDError):
    """The endpoint takes no request at all, and the stage stops."""


@dataclass(frozen=True)
class Endpoint:
    """An address and its limits. `api_key_env` names the variable with the key; None if the server needs no key.

    With `structured_output`, requests have a `response_format`. `section` is that of the config, for messages.
    `limit_name` is the parameter of the most tokens, or auto.
    """

    base_url: str
    api_key_env: str | None
    timeout_s: float
    retries: int
    concurrency: int
    structured_output: bool
    section: str = "summaries.openai"
    limit_name: str = "auto"


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
        return f"{self.endpoint.section}.base_url={shown(shown_address(self.address))}"

    def redacted(self, text: str) -> str:
        """The beginning of a text from the server, without the key."""
        return shown(self._without_key(text))

    def unreachable(self, cause: str) -> EndpointError:
        """The error if nobody listens at the address."""
        mend = "start the server or mend the address, in config/config.yaml"
        return EndpointError(f"{self.setting} cannot be reached ({cause}): {mend}")

    def too_slow(self, requests: int) -> EndpointError:
        """The error if none of the first requests was answered in time."""
        section, limit = self.endpoint.section, f"{self.endpoint.timeout_s:g}"
        return EndpointError(
            f"{self.setting} answered none of the first {requests} requests within {section}.timeout_s={limit} seconds"
            f": raise {section}.timeout_s, or lower {section}.concurrency={self.endpoint.concurrency} if the server "
            "answers one request after the other, in config/config.yaml"
        )

    def refusal(self, error: HttpError, model: str) -> EndpointError:
        """The error if the endpoint refuses; without the server's words, which may repeat the key."""
        where = f"{self.setting} answers {error.status}"
        if error.no_credit:
            words = "(the account has no credit left): what was answered is stored; run snakemake again with credit"
            return EndpointError(f"{where} {words}")
        if error.status == 404:
            mend = f"mend {self.endpoint.section}.base_url or .model, in config/config.yaml"
            return EndpointError(f"{where} (no such address, or no model {model}): {mend}")
        key = self.endpoint.api_key_env or f"{self.endpoint.section}.api_key_env, which names no variable"
        return EndpointError(f"{where} (the key is not accepted): put a valid key into the environment variable {key}")

    def _without_key(self, text: str) -> str:
        return text.replace(self.secret, "***") if self.secret else text


def _read_key(endpoint: Endpoint) -> str:
    variable = endpoint.api_key_env
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        # a key in place of the variable's name is not shown
        named = f"={variable}: the environment variable {variable}" if variable.isupper() else ": the variable it names"
        raise ConfigError(
            f"{endpoint.section}.api_key_env{named} is not set; "
            "set it to the endpoint's key, or set api_key_env to null for a server without keys, in config/config.yaml"
        )
    return key
