"""Signals that tell a training to stop, which then saves its state first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGTERM is what SLURM sends before it kills: at the walltime, at scancel, at preemption. SIGUSR1 is for people.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Told:
    """Whether this process has been told to stop."""

    def __init__(self) -> None:
        self.stop = False

    def note(self, _number: int, _frame: FrameType | None) -> None:
        """The handler of SIGNALS."""
        self.stop = True


@contextmanager
def told() -> Iterator[Told]:
    """While inside, SIGNALS are noted instead of ending the process."""
    noted = Told()
    before = {number: signal.signal(number, noted.note) for number in SIGNALS}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
