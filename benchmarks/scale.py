"""Measure every stage that needs no model and no network on made-up tables of any size: time and peak memory.

The tables are those of config/runs/coco.yaml with the arm `single`, and pictures of 16 by 16 pixels, made by
tests/support/made_up_world.py. Each stage is its script's library call in a process of its own. Of a stage with a job
for each shard, the first shard's job runs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from icsd.core.text import markdown_table

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/support")]

from made_up_world import World, make_captions, make_pictures, make_summaries  # noqa: E402

COCO = 566_747  # captions of Karpathy's training split
HEADER = ["stage", "seconds", "CPU seconds", "peak MB"]


# --- Stages -----------------------------------------------------------------------------------------------------------


def nothing(world: World) -> None:
    """Read the config, as every stage does."""
    _ = world.run


def find_neighbors(world: World) -> None:
    """Find the neighbours of the first part of the shards."""
    from icsd.core.ids import shards_of_part
    from icsd.stages.groups import find_neighbors

    config, embeddings = world.config, world.run.embeddings.paths
    shards = embeddings[: len(shards_of_part(world.run.shards, config.search_parts[0]))]
    whole, neighbors = embeddings[0].with_name("all.parquet"), world.folder / "neighbors.parquet"
    find_neighbors(shards, [whole], neighbors, config.groups.k)


def form_groups(world: World) -> None:
    """Form the groups of all captions."""
    from icsd.stages.groups import form_groups

    groups, times = world.run.groups.paths[0], world.run.group_times.paths[0]
    form_groups(world.run.neighbors.paths, groups, world.shards, times)


def read_groups(world: World) -> None:
    """Read the groups of a shard with their captions."""
    from icsd.stages.summaries.stage import _read_groups

    _read_groups(world.run.groups.paths[0], world.run.shards[0], world.run.captions.paths[0])


def find_replies(world: World) -> None:
    """Find the stored replies of a shard."""
    from made_up_run import reply_key

    from icsd.core import tables
    from icsd.llm.cache import ResponseCache

    ids = tables.read(world.run.groups.paths[0], tables.GROUPS, ["group_id"], shard=world.run.shards[0])["group_id"]
    keys = list(map(reply_key, ids.to_pylist()))
    _check_found(keys, ResponseCache(Path(world.config.summaries.store)).find(keys))


def find_pictures(world: World) -> None:
    """Find the stored pictures of a shard."""
    from made_up_run import picture_key

    from icsd.core import tables
    from icsd.stages.images import image_store

    ids = tables.read(world.run.images("multi").paths[0], tables.IMAGES, ["image_id"])["image_id"]
    keys = list(map(picture_key, ids.to_pylist()))
    _check_found(keys, image_store(Path(world.config.images.store), world.config.run).find(keys))


def _check_found(keys: Sequence[str], found: Mapping[str, object]) -> None:
    if len(found) < len(keys):
        raise SystemExit(f"only {len(found):,} of {len(keys):,} records were found")


def select_sentences(world: World, arm: str) -> None:
    """Select the sentences of an arm."""
    from icsd.config.arms import ARMS
    from icsd.stages.sentences import select_sentences

    run, images = world.run, world.config.images
    spare = images.spare if ARMS[arm].sentences == "captions" else 0
    captions, sentences = run.captions.paths[0], run.sentences(arm).paths[0]
    select_sentences(
        arm, run.summaries.paths, captions, sentences, world.shards, images.max_summaries, spare, images.seed
    )


def build_dataset(world: World, arm: str) -> None:
    """Build the dataset of an arm."""
    from icsd.config import AlignmentConfig
    from icsd.stages.dataset.building import DrawnTables, build_dataset

    run = world.run
    drawn = DrawnTables(
        run.captions.paths[0], run.summaries.paths, run.sentences(arm).paths, run.images(arm).paths,
        run.safety(arm).paths, balance=None if arm == "multi" else run.pairs("multi").paths[0],
    )  # fmt: skip
    pairs, ledger = run.pairs(arm).paths[0], run.ledger(arm).paths[0]
    build_dataset(arm, drawn, pairs, ledger, world.config.dataset.max_drop_share, AlignmentConfig())


def write_gallery(world: World) -> None:
    """Write the gallery of 2,000 pictures an arm."""
    from icsd.views.gallery import write_gallery

    write_gallery(world.run, world.run.gallery, world.config.gallery.pictures)


def draw_report(world: World) -> None:
    """Draw the report."""
    from icsd.views.report import draw_report

    draw_report(world.config, world.prompt, world.run.folder, world.run.folder / "report", finished=True)


def estimate(world: World) -> None:
    """Estimate the costs of the run."""
    from icsd.views.estimate import write_estimate

    write_estimate(world.config, world.prompt, world.run.folder)


def status(world: World) -> None:
    """Say how far the run is."""
    from icsd.views.status import run_status

    run_status(world.config, world.prompt, ROOT, world.run.folder)


def trace(world: World, kind: str) -> None:
    """Trace an item: the first usable group, or one of its captions or its picture."""
    from icsd.core import tables
    from icsd.views.trace import describe

    first = tables.read(world.run.sentences("multi").paths[0], tables.SENTENCES, ["group_id"])["group_id"][0]
    describe(world.run.folder, f"{kind}-{first}")


def export(world: World, layout: str) -> None:
    """Export the dataset of the arm multi."""
    from icsd.views.export.dataset import ExportedArm, export_dataset

    run = world.run
    source = world.config.provenance | {"prompt": str(world.prompt)}
    arm = ExportedArm(
        "multi", run.pairs("multi").paths[0], run.ledger("multi").paths[0], run.images("multi").paths,
        run.summaries.paths,
    )  # fmt: skip
    export_dataset(arm, layout, world.folder / layout, source, run.folder, Path(world.config.summaries.store))


MADE = "made-up "  # tables that no stage writes: a step without a row
STEPS: Mapping[str, Callable[[World], object]] = {
    f"{MADE}captions": make_captions,
    "imports and config alone": nothing,
    "find_neighbors, one job": find_neighbors,
    "form_groups": form_groups,
    f"{MADE}summaries": make_summaries,
    "groups of one shard with captions": read_groups,
    "replies of one shard": find_replies,
    "select_sentences multi": partial(select_sentences, arm="multi"),
    "select_sentences single": partial(select_sentences, arm="single"),
    f"{MADE}pictures": make_pictures,
    "pictures of one shard": find_pictures,
    "build_dataset multi": partial(build_dataset, arm="multi"),
    "build_dataset single": partial(build_dataset, arm="single"),
    "write_gallery": write_gallery,
    "draw_report": draw_report,
    "estimate": estimate,
    "status": status,
    "trace multi-N": partial(trace, kind="multi"),
    "trace caption-N": partial(trace, kind="caption"),
    "export huggingface": partial(export, layout="huggingface"),
    "export webdataset": partial(export, layout="webdataset"),
    "export coco": partial(export, layout="coco"),
}


# --- Measuring --------------------------------------------------------------------------------------------------------


def measured(step: str, world: World) -> list[str]:
    """Run a step in a process of its own; return a row of the table."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(world.folder)]
    command += ["--captions", str(world.captions), "--shards", str(world.shards)]
    begin = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    if status:
        raise SystemExit(f"{step} failed; its message is above")
    cells = (f"{seconds:,.1f}", f"{used.ru_utime + used.ru_stime:,.1f}", f"{used.ru_maxrss * 1024 / 1e6:,.0f}")
    print(f"{step}: {cells[0]} s, {cells[1]} CPU s, {cells[2]} MB", flush=True)
    return [step, *cells]


def table(world: World, only: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the table of all steps, or of those whose names begin with one of `only`."""
    load = os.getloadavg()[0]
    wanted = [step for step in STEPS if not only or step.startswith(tuple(only))]
    rows = [row for step in wanted if not (row := measured(step, world))[0].startswith(MADE)]
    yield (
        f"{world.captions:,} captions in {world.shards:,} shards; {os.cpu_count()} cores with a load of {load:.1f} "
        f"before the first stage and {os.getloadavg()[0]:.1f} after the last:"
    )
    yield from ("", *markdown_table(HEADER, rows))


def main() -> None:
    """Make the tables, run the stages, print the table."""
    options = _options()
    if options.step:
        STEPS[options.step](World(options.folder, options.captions, options.shards))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(options.folder or name).resolve()
        text = "\n".join(table(World(folder, options.captions, options.shards), options.only))
    print(f"\n{text}")
    if options.fill:
        from tools.fill_block import update_block

        update_block(ROOT / "benchmarks/README.md", "scale", text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=int, default=COCO, help="number of captions (default: COCO's)")
    parser.add_argument("--shards", type=int, default=600)
    parser.add_argument(
        "--only",
        nargs="+",
        default=(),
        metavar="STAGE",
        help="stages by the beginnings of their names, of a run that is kept",
    )
    parser.add_argument("--folder", type=Path, help="keep the run there (default: a temporary folder)")
    parser.add_argument("--fill", action="store_true", help="put the table into benchmarks/README.md")
    parser.add_argument("--step", help=argparse.SUPPRESS)  # in its own process, which is measured
    return parser.parse_args()


if __name__ == "__main__":
    main()
