"""Pictures kept from the moment they exist, each under the hash of all that determined it."""

from dataclasses import dataclass
from pathlib import Path

from icsd import files

PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class Drawn:
    """A folder of PNG files by key. It only saves work: deleting it, or any file of it, is safe."""

    folder: Path

    def get(self, key: str) -> bytes | None:
        """The picture's file, or None where it is not here or was cut short."""
        try:
            png = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        return png if png.endswith(PNG_END) else None

    def put(self, key: str, png: bytes) -> None:
        """Keep a picture's file."""
        with files.atomic_path(self._path(key)) as unfinished:
            unfinished.write_bytes(png)

    def _path(self, key: str) -> Path:
        # 256 folders, since a million files in one are slow to find on a cluster's file system
        return self.folder / key[:2] / f"{key}.png"
