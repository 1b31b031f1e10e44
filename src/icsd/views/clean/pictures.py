"""The store of pictures: which records a table of a run still has, and segments without the others.

A table has no keys of the store. A record is used if a table has its bytes, by SHA-256: a job whose sentences and
settings are those of the table finds the record by its key, and draws nothing.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from icsd.core import tables
from icsd.core.errors import ConfigError, InputError
from icsd.core.logs import progress
from icsd.core.picture_index import NOWHERE
from icsd.core.store import ENTRY, HEADER, Store, read_segment, rewrite_segment
from icsd.views.run import Run
from icsd.views.run.on_disk import image_files, not_drawn, run_folders, sentence_files

PREVIEW = "preview-of-"  # before the name of a run, in the name of a part of the store


@dataclass
class PictureSegment:
    """A segment of the store: which of its records are kept, and the bytes of all.

    `unused` are the keys of records that no table has. `spoilt` are damaged, cut, or another copy of a kept one.
    """

    path: Path
    size: int
    kept: list[bool] = field(default_factory=list)
    kept_bytes: int = 0
    unused: list[str] = field(default_factory=list)
    unused_bytes: int = 0
    spoilt: int = 0
    spoilt_bytes: int = 0

    @property
    def freed_bytes(self) -> int:
        """The bytes that are not kept."""
        return self.unused_bytes + self.spoilt_bytes

    def judge(self, key: str, value: bytes | None, used: set[bytes], seen: set[str]) -> int:
        """Add the next record; return its bytes, those of its entry if it is damaged."""
        size = ENTRY.size + len(value or b"")
        spoilt = value is None or key in seen
        kept = not spoilt and hashlib.sha256(value or b"").digest() in used
        self.kept.append(kept)
        if kept:
            seen.add(key)
            self.kept_bytes += size
        elif spoilt:
            self.spoilt, self.spoilt_bytes = self.spoilt + 1, self.spoilt_bytes + size
        else:
            self.unused.append(key)
            self.unused_bytes += size
        return size


def picture_digests(folders: Iterable[Path]) -> set[bytes]:
    """The SHA-256 of all pictures that the IMAGES of these runs have, of any number of shards."""
    return {digest for folder in folders for path in image_files(folder) for digest in _digests(path)}


def _digests(path: Path) -> Iterator[bytes]:
    _, index = tables.picture_index(path)
    if index is not None:
        yield from index["sha256"][index["start"] != NOWHERE].tolist()
        return
    for part in tables.parts(path, tables.IMAGES, ["image"]):  # a table of an earlier version
        for image in part["image"]:
            if image.is_valid and (picture := image["bytes"].as_py()) is not None:
                yield hashlib.sha256(picture).digest()


def judged_segments(store: Store, results: Path, abandoned: Sequence[str]) -> list[PictureSegment]:
    """The segments of the store, judged by the tables of all runs below `results`.

    Each record is read once, a block at a time. A segment of a preview is left out if its run, unless `abandoned`, has
    selected no sentences since: the sentences of the preview may be the next ones.
    """
    used, seen = picture_digests(run_folders(results)), set[str]()
    paths = [path for path in store.segments() if not _is_recent_preview(path, results, abandoned)]
    return [_judged(path, used, seen) for path in progress(paths, len(paths), "segments of pictures")]


def _is_recent_preview(path: Path, results: Path, abandoned: Sequence[str]) -> bool:
    run = path.parent.name.removeprefix(PREVIEW)
    if run == path.parent.name or run in abandoned:
        return False
    selected = [sentences.stat().st_mtime for sentences in sentence_files(results / run)]
    return path.stat().st_mtime > max(selected, default=0.0)


def _judged(path: Path, used: set[bytes], seen: set[str]) -> PictureSegment:
    """Judge a segment; `seen` are the keys that are kept so far, and get those of this one."""
    segment = PictureSegment(path, path.stat().st_size)
    rest = segment.size
    for block in read_segment(path):
        rest -= HEADER.size
        for key, value in block:
            rest -= segment.judge(key, value, used, seen)
    if rest:  # bytes of damaged records, or of a block that a kill has cut
        segment.spoilt = max(1, segment.spoilt)
        segment.spoilt_bytes += rest
    return segment


def free_pictures(segments: Sequence[PictureSegment]) -> None:
    """Rewrite or delete the segments that have something to free; those first that need the least room.

    InputError for a segment that has grown since it was judged; errors as those of `rewrite_segment`.
    """
    changed = [segment for segment in segments if segment.freed_bytes]
    for segment in progress(sorted(changed, key=lambda each: each.kept_bytes), len(changed), "segments rewritten"):
        if segment.path.stat().st_size != segment.size:
            raise InputError(segment.path, "", "a job writes to it", "let the job end, and run icsd clean again")
        rewrite_segment(segment.path, segment.kept)
        with suppress(OSError):  # other segments are there
            segment.path.parent.rmdir()


def unfinished_runs(run: Run, results: Path, store: Store, abandoned: Sequence[str]) -> dict[str, str]:
    """The runs that may still need pictures that no table has, and why; `abandoned` ones need none.

    A run is finished if its tables have all images of its sentences; `run`, that of the config, if it has those of all
    its arms. A run whose pictures are in the store alone may be of another checkout. ConfigError for an abandoned run
    that is none of them.
    """
    found = {folder.name: not_drawn(folder) for folder in run_folders(results)}
    if run.name in found:
        missing = [path for arm in run.drawn for path in run.sentences(arm).missing]
        found[run.name] = f"there is no {missing[0]}" if missing else found[run.name] if run.drawn else ""
    parts = {path.parent.name.removeprefix(PREVIEW) for path in store.segments() if path.parent != store.folder}
    elsewhere = f"it has pictures in {store.folder} and no folder in {results}"
    found = dict.fromkeys(parts, elsewhere) | found
    if unknown := sorted(set(abandoned) - found.keys()):
        names = f"name some of {', '.join(sorted(found))}" if found else "there are no runs"
        raise ConfigError(f"--abandoned {unknown[0]}: there is no such run; {names}")
    return {name: reason for name, reason in sorted(found.items()) if reason and name not in abandoned}
