"""The optional parameters of a request that a server takes: config names them, and a refusal teaches them.

A model that reasons refuses `max_tokens` and any `temperature` but its own; a server without grammars refuses
`response_format`. Each says so with status 400 or 422 in words of its own.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

from icsd.llm.endpoint import Endpoint
from icsd.llm.problems import HttpError

TOKEN_PARAMETERS = ("max_tokens", "max_completion_tokens")
REFUSED = frozenset((400, 422))
_FORMAT = re.compile(
    r"response[_ ]format|json[_ ]?schema|json[_ ]mode|structured[_ ]output|guided|grammar", re.IGNORECASE
)


@dataclass(frozen=True)
class Parameters:
    """Which parameters are sent: `tokens` are the names of the limit of tokens, the first one is used."""

    response_format: bool = True
    tokens: tuple[str, ...] = TOKEN_PARAMETERS
    temperature: bool = True

    @classmethod
    def at(cls, endpoint: Endpoint) -> Self:
        """The parameters for an endpoint, before it has refused one."""
        names = TOKEN_PARAMETERS if endpoint.limit_name == "auto" else (endpoint.limit_name,)
        return cls(endpoint.structured_output, names)

    def instead(self, error: HttpError, tried: Collection["Parameters"], *, proven: bool) -> "Parameters | None":
        """Other parameters that the server may take after this error; None if the error is of something else.

        Unless the parameters are `proven` by a reply, a refusal in any words may be of the schema.
        """
        if error.status not in REFUSED or error.is_refusal:
            return None
        text, choices = error.text, list[Parameters]()
        if len(self.tokens) > 1 and any(name in text for name in self.tokens):
            choices.append(replace(self, tokens=self.tokens[::-1]))
        if self.temperature and "temperature" in text:
            choices.append(replace(self, temperature=False))
        if self.response_format and (not proven or _FORMAT.search(text)):
            choices.append(replace(self, response_format=False))
        return next((choice for choice in choices if choice not in tried), None)

    def changes(self, before: "Parameters") -> str:
        """What is sent otherwise than before, for people."""
        found = []
        if self.response_format != before.response_format:
            found.append("without response_format")
        if self.tokens != before.tokens:
            found.append(f"with {self.tokens[0]} in place of {before.tokens[0]}")
        if self.temperature != before.temperature:
            found.append("with the server's own temperature")
        return " and ".join(found)
