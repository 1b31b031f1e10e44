"""HTTP errors of an endpoint: what each means for its request, and for the stage.

A bare status says too little: 403 is a key that is not accepted, or a prompt that a filter flagged; 429 is a busy
server, or an account without credit. Servers say which in codes and in words, each in its own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import openai

NO_CREDIT_CODES = frozenset(("insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"))
FATAL_STATUSES = frozenset((401, 402, 403, 404))  # every other request would fail too
# of OpenAI's two generations of models, Azure, Alibaba
REFUSAL_CODES = frozenset(
    ("content_policy_violation", "moderation_blocked", "content_filter", "contentFilter", "data_inspection_failed")
)
_REFUSING_STATUSES = frozenset((400, 403, 422, 451))
_REFUSAL = re.compile(
    r"content[ _-]?(filter|polic|moderat|management|exists risk|safety)|moderation|flagged|safety system"
    r"|responsible ?ai|inappropriate content|data[ _]inspection|prohibited content|policy[ _]?violation",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(r"account|organi[sz]ation|api[ _-]?key|billing|suspended|deactivated", re.IGNORECASE)
_READ = 4000  # characters of an error


@dataclass(frozen=True)
class HttpError:
    """An error of an endpoint; `text` is the beginning of all that it said."""

    status: int
    code: str = ""
    kind: str = ""
    message: str = ""
    text: str = ""

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed when it is sent again, such as after a 429."""
        return self.status in {408, 409, 425, 429} or self.status >= 500

    @property
    def no_credit(self) -> bool:
        """Whether the account cannot pay."""
        return self.status == 402 or not {self.code, self.kind}.isdisjoint(NO_CREDIT_CODES)

    @property
    def is_fatal(self) -> bool:
        """Whether every other request would fail too."""
        return self.no_credit or (self.status in FATAL_STATUSES and not self.is_refusal)

    @property
    def names_refusal(self) -> bool:
        """Whether a code or the status 451 says that a filter refused the request for its content."""
        coded = not {self.code, self.kind}.isdisjoint(REFUSAL_CODES)
        return self.status == 451 or (coded and self.status in _REFUSING_STATUSES)

    @property
    def is_refusal(self) -> bool:
        """Whether a filter refused the request for its content, by what it names or by its words, which may mislead."""
        if self.names_refusal:
            return True
        worded = _REFUSAL.search(self.text) and not _ACCOUNT.search(self.message or self.text)
        return self.status in _REFUSING_STATUSES and bool(worded)


def of_client(error: openai.APIStatusError) -> HttpError:
    """The error that the client raised."""
    return of_body(error.status_code, error.body, error.response.text)


def of_body(status: int, error: Any, text: str = "") -> HttpError:
    """The error in a body, whose fields may have any type."""
    fields = error if isinstance(error, Mapping) else {}
    code, kind, message = (_word(fields.get(name)) for name in ("code", "type", "message"))
    said = text or " ".join((code, kind, _word(fields.get("param")), message))
    return HttpError(status, code, kind, message, said[:_READ])


def _word(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ""
