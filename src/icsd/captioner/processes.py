"""The processes that train one captioner together, as torchrun starts them; without it there is one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from icsd.errors import ConfigError, LostError

PATIENCE = timedelta(hours=6)  # while the first process decodes all pictures, the others wait
T = TypeVar("T")


CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """This process among `count`: its `rank`, its device, and the process that started it."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU
    parent: int | None = None

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

    def check_parent(self) -> None:
        """LostError where torchrun is gone: its processes outlive it, and would meet those of a rerun."""
        if self.parent is not None and os.getppid() != self.parent:
            raise LostError("torchrun, which started this process, is gone: the training stops, and goes on when rerun")


@contextmanager
def joined(device: str, here: int) -> Iterator[Processes]:
    """The processes that torchrun's environment tells of, `here` of them on this machine; one alone without it."""
    chosen = choose_device(device, here, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Processes(device=chosen)
        return
    parent = os.getppid()
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), chosen, parent)
    finally:
        distributed.destroy_process_group()


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
