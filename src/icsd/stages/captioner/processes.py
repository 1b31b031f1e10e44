"""The processes of a distributed training, which torchrun starts; without torchrun there is one."""

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

TIMEOUT = timedelta(hours=1)  # the other processes wait while the first one scores a validation
T = TypeVar("T")
_log = logging.getLogger(__name__)


POLL_S = 0.05
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """This process among `count`: its `rank` and its device."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """True for the process that writes the files."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Select every `count`-th item: the share of this process."""
        return items[self.rank :: self.count]

    def interleave(self, shares: Sequence[Sequence[T]]) -> list[T]:
        """Merge the shares of all processes into the original order."""
        total = sum(len(share) for share in shares)
        return [shares[number % self.count][number // self.count] for number in range(total)]

    def broadcast(self, text: str) -> str:
        """Return the first process's text. All processes must call this."""
        return self.gather(text)[0]

    def gather(self, text: str) -> list[str]:
        """Return every process's text by rank. All processes must call this."""
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
        """Sum a number over all processes. All processes must call this."""
        if self.count > 1:
            distributed.all_reduce(number)
        return float(number.item())

    def any(self, true: bool) -> bool:
        """Return whether it is true in any process. All processes must call this."""
        return self.sum(torch.tensor(float(true), device=self.device)) > 0


@contextmanager
def process_group(device: str, here: int) -> Iterator[Processes]:
    """Join the process group of torchrun's environment, `here` processes on this machine; without it, one process."""
    chosen = choose_device(device, here, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Processes(device=chosen)
        return
    threading.Thread(target=exit_with_parent, args=(os.getppid(), os._exit), daemon=True).start()
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), chosen)
    finally:
        distributed.destroy_process_group()


def exit_with_parent(parent: int, end: Callable[[int], object]) -> None:
    """Call `end` with 1 when `parent` has ended.

    A process outlives a killed torchrun and would interfere with the rerun's. This runs in its own thread, because the
    process may be waiting for another one that has ended.
    """
    while os.getppid() == parent:
        time.sleep(POLL_S)
    _log.error("torchrun, the parent of this process, has ended: this process ends too; a rerun resumes the training")
    end(1)


def choose_device(device: str, here: int, local_rank: int) -> torch.device:
    """Choose the device of process `local_rank` of `here`; ConfigError for a GPU that is not there."""
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (device == "auto" and not there):
        return CPU
    if there < here:
        needed = f"captioner.device={device} with captioner.processes={here} needs {here} GPUs on a machine"
        way_out = "request as many from the scheduler, or set fewer processes or captioner.device: cpu"
        raise ConfigError(f"{needed}, and this one has {there}: {way_out}, in config/config.yaml")
    return torch.device("cuda", local_rank)
