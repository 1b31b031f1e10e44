"""A kind of request as `sending` sees it: how it is sent, read, priced and stored. Chat and images are two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import openai

from icsd.core.errors import ICSDError
from icsd.llm.request import Failure

FORMAT = "response_format"  # a parameter that some servers refuse; it is left out then


class Keyed(Protocol):
    """A request with the key of its outcome."""

    @property
    def key(self) -> str:
        """The hash of all that determines the response."""


Q = TypeVar("Q", bound=Keyed)  # a request
R = TypeVar("R")  # a response
Q_contra = TypeVar("Q_contra", bound=Keyed, contravariant=True)  # the same for the protocols below
R_contra = TypeVar("R_contra", contravariant=True)


@dataclass(frozen=True)
class Attempt(Generic[R]):
    """The result of sending a request once."""

    outcome: R | Failure
    retry: bool = False  # sent again, it may succeed
    cost_known: bool = True  # a server may have charged for a response that was lost
    retry_after_s: float | None = None
    fatal: ICSDError | None = None  # ends the stage, after the outcome is stored


class Service(Protocol[Q_contra, R]):
    """A kind of request: how it is sent and read, and its price."""

    def model(self, request: Q_contra) -> str:
        """The model's name at the endpoint."""

    def most_usd(self, request: Q_contra) -> float:
        """The highest price of a request in USD."""

    def usd(self, request: Q_contra, response: R) -> float:
        """The price of a response in USD."""

    def refusal(self, error: openai.APIStatusError) -> Failure | None:
        """The outcome of a request that is refused for what it says; None for any other error."""

    async def send(
        self, client: openai.AsyncOpenAI, request: Q_contra, *, with_format: bool
    ) -> tuple[Mapping[str, str], Attempt[R]]:
        """Send a request; return the response's headers, and what was read. Errors of the client are raised.

        `with_format` is false for a server that takes no `response_format`.
        """


class Segment(Protocol[R_contra]):
    """The store of outcomes."""

    def event(self, key: str, outcome: R_contra | Failure, usd: float) -> Any:
        """The record of an outcome that cost `usd`."""

    def append(self, events: Sequence[Any]) -> None:
        """Append records; they are durable when this returns."""


def unreadable(detail: str) -> Attempt[Any]:
    """Return the attempt of a reply that cannot be read: it may be charged, and the next one may be whole."""
    return Attempt(Failure("unreadable-reply", detail), retry=True, cost_known=False)
