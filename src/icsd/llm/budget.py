"""The budget of a run, which all of its jobs share.

A folder of entries, 000000.json, 000001.json, …: amounts reserved (above zero) or released (below zero). Their sum is
an upper bound of the spending. No reservation passes the ceiling: a job adds an entry after reading all before it,
because `link` gives a name to one writer only, on network file systems too. A killed job's reservation counts as spent.
What a server counted beyond a reservation is an entry too, and may pass the ceiling.
Where a file system has no hard links, an entry is a folder with the file in it.
"""

import errno
import json
import logging
import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from icsd.core.errors import ICSDError
from icsd.core.lock import NO_LINKS
from icsd.llm.request import Request, Response

REQUESTS_PER_ENTRY = 64  # a job reserves for many requests at once
LARGEST_SHARE = 1 / 16  # of the rest of the budget: other jobs need some too
BATCH_PRICE = 0.5  # of a request in a batch, as a share of the price of one that is answered at once
ROUNDING_USD = 1e-9
INSIDE = "entry.json"  # of a folder that is an entry
TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}  # errors of a rename to an entry of another job
RAISE = (
    "The server charges for hidden tokens: raise summaries.openai.max_hidden_tokens, which changes no request, "
    "in config/config.yaml"
)
_log = logging.getLogger(__name__)


class OutOfBudget(ICSDError):
    """The next request could exceed the budget, and is not sent."""


class OverBound(ICSDError):
    """Replies cost more than the most that was reserved for them: the ceiling cannot be promised any more."""


class Budget:
    """The entries in `folder`; without `ceiling_usd` there are none. `setting` is the ceiling's key in the config."""

    def __init__(self, folder: Path, ceiling_usd: float | None, setting: str = "summaries.budget_usd") -> None:
        self._folder, self._ceiling_usd, self._setting = folder, ceiling_usd, setting
        self._entries: list[float] = []  # as far as they were read: an entry never changes

    def used(self) -> float:
        """The USD reserved and spent."""
        while (path := self._path(len(self._entries))).exists():
            entry = path / INSIDE if path.is_dir() else path
            self._entries.append(float(json.loads(entry.read_text())["usd"]))
        return sum(self._entries)

    def reserve(self, least_usd: float) -> float:
        """Reserve at least `least_usd`, and return the amount; OutOfBudget if less is left."""
        if self._ceiling_usd is None:
            return least_usd
        while True:
            left = self._ceiling_usd - self.used()
            if left + ROUNDING_USD < least_usd:
                raise OutOfBudget(
                    f"{self._setting}={self._ceiling_usd:g} is used up: {max(0.0, left):.6f} USD are left, and the "
                    f"next request may cost {least_usd:.6f}. What was answered is stored: raise the budget in the "
                    "config and run snakemake again"
                )
            amount = max(least_usd, min(REQUESTS_PER_ENTRY * least_usd, LARGEST_SHARE * left))
            if self._add(amount):
                return amount

    @property
    def setting(self) -> str | None:
        """The ceiling's key and value, for messages; None without a ceiling."""
        return None if self._ceiling_usd is None else f"{self._setting}={self._ceiling_usd:g}"

    def charge(self, usd: float) -> None:
        """Count what was spent without a reservation. It may pass the ceiling, and counts when that is raised."""
        self._put(usd)

    def release(self, usd: float) -> None:
        """Release what was reserved and not spent."""
        self._put(-usd)

    def _put(self, usd: float) -> None:
        if self._ceiling_usd is None or abs(usd) <= ROUNDING_USD:
            return
        self.used()
        while not self._add(usd):
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
        path = self._path(len(self._entries))
        try:
            path.hardlink_to(own)
        except FileExistsError:
            return own.stat().st_nlink == 2  # the answer to a link that succeeded may have been lost on the network
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return _put_as_folder(own, path)
        finally:
            own.unlink(missing_ok=True)
        return True


def _put_as_folder(own: Path, path: Path) -> bool:
    """Move the file `own` to an entry that is a folder; False if there is one, which a rename does not replace."""
    folder = own.with_name(f"{own.name}.folder")
    folder.mkdir()
    own.rename(folder / INSIDE)
    try:
        folder.rename(path)
    except OSError as error:
        shutil.rmtree(folder)
        if error.errno not in TAKEN:
            raise
        return False
    return True


@dataclass
class Reservation:
    """One job's share of the budget: the USD that it has reserved and not yet spent."""

    budget: Budget
    usd: float = field(default=0.0, init=False)
    overdrafts: int = field(default=0, init=False)  # replies that cost more than was reserved
    over_usd: float = field(default=0.0, init=False)
    example: str = field(default="", init=False)

    def reserve(self, usd: float) -> None:
        """Reserve the highest possible cost of a request; OutOfBudget if the budget lacks it."""
        if self.usd < usd:
            self.usd += self.budget.reserve(usd)
        self.usd -= usd

    def release(self, usd: float) -> None:
        """Release what a request was allowed to cost and did not."""
        self.usd += usd

    def overdraw(self, usd: float, example: str) -> None:
        """Count a reply that cost more than was reserved for it, by `usd`; `example` are its tokens."""
        if usd <= ROUNDING_USD:
            return
        if not self.overdrafts and self.budget.setting is None:
            _log.warning("a reply cost %.6f USD more than the most that was expected: %s. %s", usd, example, RAISE)
        self.overdrafts, self.over_usd = self.overdrafts + 1, self.over_usd + usd
        self.example = self.example or example
        own = min(self.usd, usd)
        self.usd -= own
        self.budget.charge(usd - own)

    @property
    def error(self) -> OverBound | None:
        """The error after which nothing is sent; None if each reply cost what was reserved, or without a budget."""
        if not self.overdrafts or self.budget.setting is None:
            return None
        return OverBound(
            f"{self.budget.setting} cannot be held: {self.overdrafts:,} replies cost {self.over_usd:.6f} USD more than "
            f"the most that was reserved for them, such as {self.example}. Nothing more is sent, and what was answered "
            f"is stored. {RAISE}; then run snakemake again"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Release the rest for other jobs."""
        self.budget.release(self.usd)
        self.usd = 0.0


@dataclass(frozen=True)
class Prices:
    """USD per million tokens. `hidden_tokens` are the most that a server charges beyond prompt and answer."""

    prompt_usd: float
    completion_usd: float
    hidden_tokens: int = 0

    def most(self, request: Request) -> float:
        """The highest USD of a request."""
        return self.of(request, None, None)

    def of(self, request: Request, prompt_tokens: int | None, completion_tokens: int | None) -> float:
        """USD of a request by what the server counts; the most of what it does not count."""
        hidden_usd = self.hidden_tokens * max(self.prompt_usd, self.completion_usd) / 1e6
        known = prompt_tokens is not None and completion_tokens is not None
        prompt = request.most_prompt_tokens if prompt_tokens is None else prompt_tokens
        completion = request.sampling.most_tokens if completion_tokens is None else completion_tokens
        return self.cost(prompt, completion) + (0.0 if known else hidden_usd)

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """USD of a request."""
        return (prompt_tokens * self.prompt_usd + completion_tokens * self.completion_usd) / 1e6


def counted(response: Response) -> str:
    """The tokens of a response, for messages."""
    prompt, completion = (
        "uncounted" if count is None else f"{count:,}" for count in (response.prompt_tokens, response.completion_tokens)
    )
    return f"one of {prompt} tokens of the prompt and {completion} of the answer"
