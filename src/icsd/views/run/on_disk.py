"""The files in a run's folder that do not depend on its config: tables of any shard count, locks, what is left over."""

from pathlib import Path

from icsd.core import tables
from icsd.core.errors import InputError
from icsd.core.ids import shard_names
from icsd.core.lock import locked_paths
from icsd.views.run.folder import Run
from icsd.views.run_table import SHARD as SHARD_NAME

SENTENCES = "sentences.parquet"
CUT = ("embeddings", "groups", "summaries", "prompts", "images", "safety", "alignment")  # into shards
LOCKED = ("images", "summaries", "prompts")  # stages whose jobs lock what they write
DECODED = ("pictures.npy", "pictures_index.npy", "val_pictures.npy")  # of trainings before they streamed


def run_folders(results: Path) -> list[Path]:
    """The folders of all runs below `results`, which have captions or sentences."""
    found = sorted(results.iterdir()) if results.is_dir() else []
    return [folder for folder in found if (folder / "captions/all.parquet").is_file() or sentence_files(folder)]


def sentence_files(folder: Path) -> list[Path]:
    """The SENTENCES of all drawings of a run."""
    return sorted((folder / "images").rglob(SENTENCES))


def image_files(folder: Path) -> list[Path]:
    """The IMAGES of all drawings of a run, of any number of shards."""
    return sorted(path for path in (folder / "images").rglob("*.parquet") if path.name != SENTENCES)


def not_drawn(folder: Path) -> str:
    """Say which images of the sentences that a run has selected are not in its tables; empty if all are.

    A damaged table counts as images that are not drawn.
    """
    try:
        return _not_drawn(folder)
    except InputError as error:
        return str(error)


def _not_drawn(folder: Path) -> str:
    for path in sentence_files(folder):
        missing, shards = 0, shard_names(tables.count_parts(path, tables.SENTENCES))
        rows = tables.parts(path, tables.SENTENCES, ["image_id", "sentence", "seed"])
        for shard, part in zip(shards, rows, strict=True):
            images = path.with_name(f"{shard}.parquet")
            there = images.is_file() and tables.read(images, tables.IMAGES, part.column_names).equals(part)
            missing += not there
        if missing:
            return f"{path.parent.relative_to(folder)}: {missing:,} of {len(shards):,} shards are not drawn"
    finished = sentence_files(folder) or (folder / "evaluation/scores.parquet").is_file()  # perhaps it draws none
    return "" if finished else "no sentences are selected yet"


def replaced_shards(run: Run) -> list[Path]:
    """Tables and contact sheets of other shards than the run's, in folders that have a table of each of these."""
    found, searched = list[Path](), {path.parent for path in run.neighbors.paths}
    for inside in sorted({path.parent for stage in CUT for path in (run.folder / stage).rglob("????-of-????.*")}):
        names = set(run.search_parts if inside in searched else run.shards)
        files = [path for path in sorted(inside.iterdir()) if SHARD_NAME.fullmatch(path.stem)]
        tabled = {path.stem for path in files if path.suffix == ".parquet"}
        if names and names <= tabled:
            found += [path for path in files if path.stem not in names and path.suffix in (".parquet", ".png")]
    return found


def decoded_files(folder: Path) -> list[Path]:
    """The files of decoded pictures that trainings of an earlier version left."""
    return sorted(path for name in DECODED for path in folder.glob(f"captioner/*/seed-*/resume/{name}"))


def locked_files(folder: Path) -> list[Path]:
    """The paths of a run that a job or its head process has locked, alive or dead."""
    return [*locked_paths(folder), *(path for stage in LOCKED for path in locked_paths(folder / stage, "**/*"))]
