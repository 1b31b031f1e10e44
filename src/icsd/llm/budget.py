"""The ceiling of a run's spending, kept by all of its jobs together.

A folder of entries, 000000.json, 000001.json, …, each an amount reserved (above zero) or given back (below). Their sum
is what may have been spent, and never passes the ceiling: whoever adds an entry has read all before it, since `link`
gives a name to one writer only, on network file systems too. A killed job's reservation counts as spent.
"""

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from icsd.core.errors import ICSDError

REQUESTS_RESERVED = 64  # at once: an entry serves many requests
LARGEST_SHARE = 1 / 16  # of what is left: other jobs need some too
ROUNDING_USD = 1e-9


class OutOfBudget(ICSDError):
    """The next request could pass summaries.budget_usd, and is not sent."""


class Budget:
    """The entries in `folder`; `ceiling_usd` None: no ceiling, and no entries."""

    def __init__(self, folder: Path, ceiling_usd: float | None) -> None:
        self._folder, self._ceiling_usd = folder, ceiling_usd
        self._entries: list[float] = []  # as far as they were read: an entry never changes

    def used(self) -> float:
        """What is reserved and spent, in USD."""
        while (path := self._path(len(self._entries))).exists():
            self._entries.append(float(json.loads(path.read_text())["usd"]))
        return sum(self._entries)

    def reserve(self, least_usd: float) -> float:
        """An amount of at least `least_usd`, set aside for the caller; OutOfBudget if so much is not left."""
        if self._ceiling_usd is None:
            return least_usd
        while True:
            left = self._ceiling_usd - self.used()
            if left + ROUNDING_USD < least_usd:
                raise OutOfBudget(
                    f"summaries.budget_usd={self._ceiling_usd:g} is used up: {left:.6f} USD are left, and the next "
                    f"request may cost {least_usd:.6f}. What was answered is kept: raise the budget in the config and "
                    "run snakemake again"
                )
            amount = max(least_usd, min(REQUESTS_RESERVED * least_usd, LARGEST_SHARE * left))
            if self._add(amount):
                return amount

    def give_back(self, usd: float) -> None:
        """Free what was reserved and not spent."""
        if self._ceiling_usd is None or usd <= 0:
            return
        self.used()
        while not self._add(-usd):
            self.used()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.json"

    def _add(self, usd: float) -> bool:
        """Add the entry after those that were read; False if another job was first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        own = self._folder / f".{secrets.token_hex(8)}"
        with own.open("x") as file:
            json.dump({"usd": usd}, file)
            file.flush()
            os.fsync(file.fileno())
        try:
            self._path(len(self._entries)).hardlink_to(own)
        except FileExistsError:
            return own.stat().st_nlink == 2  # the answer to a link that succeeded may have been lost on the network
        finally:
            own.unlink()
        return True


@dataclass
class Purse:
    """One job's part of a budget: what it has reserved and not yet spent."""

    budget: Budget
    usd: float = field(default=0.0, init=False)

    def take(self, usd: float) -> None:
        """Set aside what a request may cost at most; OutOfBudget if the budget does not give it."""
        if self.usd < usd:
            self.usd += self.budget.reserve(usd)
        self.usd -= usd

    def put_back(self, usd: float) -> None:
        """What a request was allowed and did not cost."""
        self.usd += usd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Free the rest for other jobs."""
        self.budget.give_back(self.usd)
        self.usd = 0.0


@dataclass(frozen=True)
class Prices:
    """USD for a million tokens."""

    prompt_usd: float
    completion_usd: float

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """USD for a request."""
        return (prompt_tokens * self.prompt_usd + completion_tokens * self.completion_usd) / 1e6
