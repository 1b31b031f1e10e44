"""A kind of request as `sending` sees it: how it is sent, read, priced and stored. Chat and images are two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import openai

from icsd.core.errors import ICSDError
from icsd.llm.parameters import Parameters
from icsd.llm.problems import HttpError
from icsd.llm.request import Failure


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
    error: HttpError | None = None  # other parameters may be what it asks for


class Service(Protocol[Q_contra, R]):
    """A kind of request: how it is sent and read, and its price."""

    def model(self, request: Q_contra) -> str:
        """The model's name at the endpoint."""

    def most_usd(self, request: Q_contra) -> float:
        """The highest price of a request in USD."""

    def usd(self, request: Q_contra, response: R) -> float:
        """The price of a response in USD."""

    def counted(self, response: R) -> str:
        """What the server counts of a response, for messages."""

    def refusal(self, error: HttpError) -> str | None:
        """Why a request is refused for what it says; None for any other error."""

    def refused(self, detail: str) -> R | Failure:
        """The outcome of a request that was refused for what it says."""

    @property
    def reply_bytes(self) -> int:
        """Room on the disk for a reply, of usual size."""

    async def send(
        self, client: openai.AsyncOpenAI, request: Q_contra, takes: Parameters
    ) -> tuple[Mapping[str, str], Attempt[R]]:
        """Send a request with the parameters that the server takes; return the response's headers, and what was read.

        Errors of the client are raised.
        """


class Segment(Protocol[R_contra]):
    """The store of outcomes."""

    @property
    def folder(self) -> Path:
        """The folder of the store."""

    def event(self, key: str, outcome: R_contra | Failure, usd: float, over_usd: float = 0.0) -> Any:
        """The record of an outcome that cost `usd`, and beyond its reservation `over_usd`."""

    def append(self, events: Sequence[Any]) -> None:
        """Append records; they are durable when this returns."""


def unreadable(detail: str) -> Attempt[Any]:
    """Return the attempt of a reply that cannot be read: it may be charged, and the next one may be whole."""
    return Attempt(Failure("unreadable-reply", detail), retry=True, cost_known=False)
