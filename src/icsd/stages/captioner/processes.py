"""The processes that train one captioner together, as torchrun starts them; without it there is one."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from icsd.core.errors import ConfigError

PATIENCE = timedelta(hours=6)  # while the first process decodes all pictures, the others wait
T = TypeVar("T")
_log = logging.getLogger(__name__)


LOOK_EVERY_S = 0.05
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """This process among `count`: its `rank` and its device."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Is this the one that writes files?"""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every `count`-th of the items: those that are this process's to do."""
        return items[self.rank :: self.count]

    def whole(self, shares: Sequence[Sequence[T]]) -> list[T]:
        """The items in their order again, from every process's share."""
        total = sum(len(share) for share in shares)
        return [shares[number % self.count][number // self.count] for number in range(total)]

    def of_first(self, text: str) -> str:
        """The first process's text. All processes call this together."""
        return self.of_all(text)[0]

    def of_all(self, text: str) -> list[str]:
        """Every process's text, in the order of ranks. All processes call this together."""
        if self.count == 1:
            return [text]
        data = torch.frombuffer(bytearray(text.encode() + b"\n"), dtype=torch.uint8).to(self.device)
        sizes = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.count)]
        distributed.all_gather(sizes, torch.tensor([len(data)], device=self.device))
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8, device=self.device)
        padded[: len(data)] = data
        parts = [torch.zeros_like(padded) for _ in range(self.count)]
        distributed.all_gather(parts, padded)
        pairs = zip(parts, sizes, strict=True)
        return [bytes(part[: int(size) - 1].cpu().numpy()).decode() for part, size in pairs]

    def sum(self, number: torch.Tensor) -> float:
        """The sum over all processes. All call this together."""
        if self.count > 1:
            distributed.all_reduce(number)
        return float(number.item())

    def any(self, true: bool) -> bool:
        """Whether it is true in one process at least. All call this together."""
        return self.sum(torch.tensor(float(true), device=self.device)) > 0


@contextmanager
def joined(device: str, here: int) -> Iterator[Processes]:
    """The processes that torchrun's environment tells of, `here` of them on this machine; one alone without it."""
    chosen = choose_device(device, here, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Processes(device=chosen)
        return
    threading.Thread(target=follow, args=(os.getppid(), os._exit), daemon=True).start()
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), chosen)
    finally:
        distributed.destroy_process_group()


def follow(parent: int, end: Callable[[int], object]) -> None:
    """Call `end` with 1 when `parent` is gone: a process outlives a torchrun that is killed, and would meet a rerun's.

    In a thread of its own, since the process may be waiting for another one that is gone already.
    """
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    _log.error("torchrun, which started this process, is gone: it ends, and the training goes on when it is run again")
    end(1)


def choose_device(device: str, here: int, local_rank: int) -> torch.device:
    """The device of the `local_rank`-th of `here` processes; ConfigError where it asks for a GPU that is not there."""
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (device == "auto" and not there):
        return CPU
    if there < here:
        asked = f"captioner.device={device} with captioner.processes={here} takes {here} GPUs of a machine"
        way_out = "ask the scheduler for as many, or give fewer processes, or captioner.device: cpu"
        raise ConfigError(f"{asked}, and this one shows {there}: {way_out}, in config/config.yaml")
    return torch.device("cuda", local_rank)
