"""SHA-256 of files; of large ones remembered, so that a thousand jobs do not read the same weights a thousand times."""

import hashlib
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icsd import files

LARGE_BYTES = 2**20
SETTLED_S = 60.0  # a file that changed since may change again within one tick of the file system's clock


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class FileDigests:
    """What is remembered in the JSON file `memory`, which need not exist. Deleting it is safe.

    A file is the same one as long as its path, size, inode, and times of modification and change are; the last of
    these no tool sets back. Of two jobs that write at once, one is forgotten: its files are read once more.
    """

    memory: Path

    def sha256(self, path: Path) -> str:
        """SHA-256 of a file's content."""
        before = path.stat()
        if before.st_size < LARGE_BYTES:
            return file_sha256(path)
        name, stamp = str(path.resolve()), _stamp(before)
        stamped, digest = self._known().get(name, (None, ""))
        if stamped == stamp:
            return digest
        digest = file_sha256(path)
        if _stamp(path.stat()) == stamp and time.time() - max(before.st_mtime, before.st_ctime) > SETTLED_S:
            self._remember(name, stamp, digest)
        return digest

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads(self.memory.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _remember(self, name: str, stamp: list[int], digest: str) -> None:
        self.memory.parent.mkdir(parents=True, exist_ok=True)
        # of one file there are many writers here: each has an unfinished one of its own
        unfinished = self.memory.with_name(f".{self.memory.name}.{secrets.token_hex(8)}.unfinished")
        with files.room_for(self.memory):
            unfinished.write_text(json.dumps(self._known() | {name: [stamp, digest]}), encoding="utf-8")
        unfinished.replace(self.memory)


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
