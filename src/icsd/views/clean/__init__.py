"""Clean: what lies in the stores and in the runs' folders that nothing needs, and the freeing of it."""

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from icsd.config import Config
from icsd.core.errors import ConfigError, InputError
from icsd.core.files import abandoned_paths, remove
from icsd.core.lock import first_living_owner, locked, locked_paths
from icsd.core.store import Store, count_records
from icsd.core.text import markdown_table
from icsd.llm.cache import ResponseCache
from icsd.stages.images import image_store
from icsd.views.clean.pictures import PictureSegment, free_pictures, judged_segments, unfinished_runs
from icsd.views.options import Commands, add_config, read_config
from icsd.views.run import RESULTS, configured_run, found_run
from icsd.views.run.on_disk import decoded_files, locked_files, replaced_shards, run_folders

__all__ = ["Leftovers", "add_clean", "free", "leftovers"]

PICTURES, SHARDS, UNFINISHED, DECODED = "pictures", "shards", "unfinished", "decoded"
KINDS = (SHARDS, UNFINISHED, DECODED, PICTURES)  # in the order in which they are freed: tables keep pictures
TABLE = ("place", "what", "freed by", "number", "size")
COMMAND = "icsd clean --free"
KEPT = "kept"
NOTHING = "There is nothing to free."
UNJUDGED = "not judged"
SHOWN = 5  # unfinished runs
SNAKEMAKE_LOCKS = Path(".snakemake/locks")
AGAIN = "then run icsd clean again"


@dataclass(frozen=True)
class Leftovers:
    """A line of the table. `kind` is what frees it; without one `by` says why it stays.

    `paths` are deleted when it is freed; pictures are freed by their segments.
    """

    place: Path
    what: str
    number: int
    size: int
    kind: str | None = None
    by: str = KEPT
    paths: Sequence[Path] = ()


def add_clean(commands: Commands) -> None:
    """Add `icsd clean`."""
    command = commands.add_parser(
        "clean",
        help="show what nothing needs any more, and free it",
        description="Show what lies in the stores of replies and images and in the folders of runs: how much, which of "
        "it no run needs, and the command that frees it. Without --free nothing is changed. Replies and the record of "
        "what was spent are never deleted. Type it where the Snakefile is, with the options of the run.",
    )
    add_config(command)
    command.add_argument("--free", nargs="+", choices=KINDS, default=[], metavar="KIND", help=f"{', '.join(KINDS)}")
    command.add_argument(
        "--abandoned", nargs="+", default=[], metavar="RUN", help="runs that will not be continued and need no pictures"
    )
    command.set_defaults(run=_command)


def _command(options: argparse.Namespace) -> Iterator[str]:
    logging.basicConfig(level=logging.WARNING, format="icsd: %(message)s")
    logging.getLogger("icsd").setLevel(logging.INFO)
    config = read_config(options.configfile, options.config)
    if not options.free:
        yield clean_page(*leftovers(config, options.abandoned))
        return
    freed = []
    for line in free(config, options.free, options.abandoned):
        freed.append(line.size)
        yield f"Freed {size_text(line.size)}: {line.number:,} {line.what}, {line.place}"
    yield f"{size_text(sum(freed))} freed in all." if freed else NOTHING


def leftovers(
    config: Config, abandoned: Sequence[str] = (), results: Path = RESULTS
) -> tuple[list[Leftovers], list[str]]:
    """What lies in the stores of a config and in all runs, and notes on what is not judged. Nothing is changed."""
    run, store = configured_run(config, results / config.run), _store(config)
    lines = [*_replies(config), *_of_runs(config, results)]
    if unfinished := unfinished_runs(run, results, store, abandoned):
        pictures = [_all_pictures(store, paths)] if (paths := store.segments()) else []
        return [*pictures, *lines], [*_why_not(unfinished), *_elsewhere(config, results)]
    segments = judged_segments(store, results, abandoned)
    return [*_pictures(store, segments), *lines], list(_elsewhere(config, results))


def free(
    config: Config, kinds: Sequence[str], abandoned: Sequence[str] = (), results: Path = RESULTS
) -> Iterator[Leftovers]:
    """Free the leftovers of these kinds, and yield each line when it is done. A kill loses nothing that is used.

    InputError while a job or Snakemake works; ConfigError for pictures that an unfinished run may need.
    """
    store = _store(config)
    _check_idle(store, results)
    if PICTURES in kinds:
        _check_finished(config, store, abandoned, results)
    for line in _of_runs(config, results):
        if line.kind in kinds:
            for path in line.paths:
                remove(path)
            yield line
    if PICTURES in kinds and store.folder.is_dir():
        with locked(store.folder / "clean"):
            segments = judged_segments(store, results, abandoned)
            free_pictures(segments)
        yield from (line for line in _pictures(store, segments) if line.kind)


def _check_idle(store: Store, results: Path) -> None:
    if any(SNAKEMAKE_LOCKS.glob("*")):
        hint = f"let it end, or run snakemake --unlock after a kill, {AGAIN}"
        raise InputError(SNAKEMAKE_LOCKS, "", "snakemake works here, or was killed", hint)
    locks = [path for folder in run_folders(results) for path in locked_files(folder)]
    if found := first_living_owner([*locks, *locked_paths(store.folder, "**/*")]):
        path, owner = found
        raise InputError(path, "", f"{owner} works on it", f"let it end, {AGAIN}")


def _check_finished(config: Config, store: Store, abandoned: Sequence[str], results: Path) -> None:
    run = configured_run(config, results / config.run)
    if unfinished := unfinished_runs(run, results, store, abandoned):
        raise ConfigError("\n".join(["no picture is freed", *_why_not(unfinished)]))


def _store(config: Config) -> Store:
    return image_store(Path(config.images.store), "")


# --- What lies where --------------------------------------------------------------------------------------------------


def _pictures(store: Store, segments: Sequence[PictureSegment]) -> Iterator[Leftovers]:
    """Yield what is used and what is not, by the runs that drew it."""
    if segments:
        kept = sum(sum(segment.kept) for segment in segments)
        yield Leftovers(store.folder, "pictures in tables", kept, sum(each.kept_bytes for each in segments))
    judged = {segment.path for segment in segments}
    if previews := [path for path in store.segments() if path not in judged]:
        yield replace(_all_pictures(store, previews), what="pictures of previews", by=KEPT)
    for folder in sorted({segment.path.parent for segment in segments}):
        own = [segment for segment in segments if segment.path.parent == folder]
        unused = [key for segment in own for key in segment.unused]
        if unused:
            usd = sum(event.get("usd", 0.0) for event in ResponseCache(store.folder).events(unused))
            what = "pictures in no table" + (f" ({usd:,.2f} USD)" if usd else "")
            yield _line(folder, what, len(unused), sum(each.unused_bytes for each in own), PICTURES)
        if spoilt := sum(each.spoilt for each in own):
            yield _line(folder, "damaged, cut or doubled", spoilt, sum(each.spoilt_bytes for each in own), PICTURES)


def _all_pictures(store: Store, paths: Sequence[Path]) -> Leftovers:
    number = sum(count_records(path) for path in paths)
    return Leftovers(store.folder, "pictures", number, _bytes(paths), by=UNJUDGED)


def _why_not(unfinished: Mapping[str, str]) -> Iterator[str]:
    """Yield why pictures are not judged, and the way out."""
    for name, reason in islice(unfinished.items(), SHOWN):
        yield f"The run {name} may need pictures that no table has: {reason}."
    if len(unfinished) > SHOWN:
        yield f"So may {len(unfinished) - SHOWN:,} more runs."
    yield f"Finish them, or say that they will not be continued: --abandoned {' '.join(unfinished)}"


def _elsewhere(config: Config, results: Path) -> Iterator[str]:
    store = Path(config.images.store)
    if results.resolve() not in store.resolve().parents and store.is_dir():
        yield f"images.store={store} lies outside {results}: tables of other checkouts that use it are not seen."


def _replies(config: Config) -> Iterator[Leftovers]:
    """Yield the replies and the record of what was paid, which stay."""
    for folder, what in ((config.summaries.store, "replies and their costs"), (config.images.store, "costs of images")):
        paths = [*Path(folder).glob("*.replies"), *Path(folder).glob("*.jsonl")]
        if paths:
            yield Leftovers(Path(folder), what, Store(Path(folder), ".replies").count(), _bytes(paths))


def _of_runs(config: Config, results: Path) -> Iterator[Leftovers]:
    """Yield what is left over in the folders of runs, and the unfinished files of the stores."""
    folders = run_folders(results)
    for folder in folders:
        own = folder.name == config.run
        run = configured_run(config, folder) if own else found_run(folder)
        by = f"{COMMAND} {SHARDS}" if own else f"the same with the config of {folder.name}"
        yield from _files(folder, "tables of another shard count", replaced_shards(run), SHARDS, by, own)
        yield from _files(folder, "decoded pictures", decoded_files(folder), DECODED)
    stores = {Path(config.summaries.store), Path(config.images.store)}
    for folder in sorted({*folders, *stores}):
        yield from _files(folder, "unfinished files of killed jobs", abandoned_paths(folder), UNFINISHED)


def _files(
    folder: Path, what: str, paths: Sequence[Path], kind: str, by: str = "", freed: bool = True
) -> Iterator[Leftovers]:
    if paths:
        line = _line(folder, what, len(paths), _bytes(paths), kind)
        yield replace(line, paths=paths) if freed else replace(line, kind=None, by=by)


def _line(place: Path, what: str, number: int, size: int, kind: str) -> Leftovers:
    return Leftovers(place, what, number, size, kind, f"{COMMAND} {kind}")


def _bytes(paths: Sequence[Path]) -> int:
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.stat().st_size for file in files)


# --- The page ---------------------------------------------------------------------------------------------------------


def clean_page(lines: Sequence[Leftovers], notes: Sequence[str]) -> str:
    """Markdown: a table of what lies where, what could be freed in all, and what is not judged."""
    rows = [[str(each.place), each.what, each.by, f"{each.number:,}", size_text(each.size)] for each in lines]
    table = [*markdown_table(TABLE, rows, left=3), ""] if rows else []
    freed = [each.size for each in lines if each.kind]
    nothing = "There is nothing to free yet." if any(each.by == UNJUDGED for each in lines) else NOTHING
    last = f"{size_text(sum(freed))} can be freed. Nothing was changed." if freed else nothing
    return "\n".join([*table, last, *notes])


def size_text(size: int) -> str:
    """A number of bytes such as 1.2 GB, 3.4 MB or 0.5 kB."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 1e3:,.1f} kB"
