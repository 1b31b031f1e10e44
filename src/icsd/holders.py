"""Who works on something: the process, and the machine it is on."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Holder:
    """A process of a machine."""

    host: str
    pid: int

    @classmethod
    def here(cls) -> Self:
        """This process."""
        return cls(socket.gethostname(), os.getpid())

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended; of another machine's processes nothing is known."""
        return self.host == socket.gethostname() and not _lives(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it has just ended, or the system has no /proc
        return not Path("/proc/self").exists()
    return state != "Z"  # ended, and not yet asked for by its parent
