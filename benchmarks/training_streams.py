"""Measure the pictures and pairs of a training: rate of decoding beside PIL alone, start and memory at COCO's size.

The rate is that of pictures of 512 by 512 pixels on one core, read from an IMAGES table at random, cropped, resized to
384 and normalised, as a step gets them; PIL alone decodes the same files from memory. The ways take turns.

The start is that of a process with made-up tables: tiny pictures, so that only their number counts.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from icsd.core import tables
from icsd.core.ids import shard_names
from icsd.core.text import markdown_table
from icsd.stages.captioner.augmentation import random_boxes, squares
from icsd.stages.captioner.data import Pairs, read_pairs
from icsd.stages.captioner.job import Files
from icsd.stages.captioner.pictures import Decoded, Square, find_pictures
from icsd.stages.captioner.stream import step_rows

SIDE, SIZE, BATCH = 512, 384, 64
CPU = torch.device("cpu")
CAPTIONS, PICTURES, PAIRS, SHARDS = 566_747, 531_624, 4_180_520, 600  # of COCO, as the arm multi draws it
WORDS = (
    "a the man woman dog horse red brown wooden table street beach rides holds near under with two small large".split()
)


# --- Decoding ---------------------------------------------------------------------------------------------------------


def picture(number: int) -> Image.Image:
    """Draw smooth shapes with a little noise: as PNG about as large as a photograph."""
    dice = np.random.default_rng(number)
    smooth = Image.fromarray(dice.integers(0, 255, (48, 48, 3), dtype=np.uint8)).resize((SIDE, SIDE), 3)
    noise = dice.integers(-3, 4, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(np.asarray(smooth).astype(int) + noise, 0, 255).astype(np.uint8))


def write_pictures(path: Path, kind: str, count: int) -> list[bytes]:
    """Write an IMAGES table of `count` pictures; return their files."""
    rows = []
    for number in range(count):
        file = io.BytesIO()
        picture(number).save(file, kind, **({"quality": 90} if kind == "JPEG" else {}))
        image = {"bytes": file.getvalue(), "path": None}
        rows.append({"image_id": f"multi-{number:04d}", "image": image, "sentence": "", "seed": 0, "model": ""})
    tables.write(path, tables.IMAGES, rows)
    return [row["image"]["bytes"] for row in rows]


def normalized(pixels: torch.Tensor) -> torch.Tensor:
    """Return float [b, 3, size, size]."""
    return ((pixels.float() / 255 - 0.5) / 0.25).permute(0, 3, 1, 2).contiguous()


def ways(path: Path, files: list[bytes]) -> dict[str, Callable[[int], object]]:
    """Return each way to get the picture of a row."""
    ids = pa.array([f"multi-{number:04d}" for number in range(len(files))], pa.large_string())
    found = find_pictures([(path, "")], ids, path)
    whole, square = Decoded(found, None), Decoded(found, Square(SIZE, "squash"))
    dice = np.random.default_rng(0)

    def cropped(row: int) -> tuple[torch.Tensor, np.ndarray]:
        boxes = random_boxes(found.shapes(np.array([row])), 0.5, dice)
        left, top, width, height = boxes[0].tolist()
        region = whole[row][top : top + height, left : left + width].reshape(-1)
        return torch.from_numpy(region.copy()), boxes

    return {
        "PIL alone: decode": lambda row: np.asarray(Image.open(io.BytesIO(files[row])).convert("RGB")),
        "read and decode": whole.__getitem__,
        "read, decode, crop": cropped,
        "read, decode, crop, resize, normalise": lambda row: normalized(squares(*cropped(row), SIZE, CPU)),
        "read, decode, squash, normalise": lambda row: normalized(torch.from_numpy(square[row][None].copy())),
    }


def measure_rates(folder: Path, kind: str, count: int, rounds: int) -> Iterator[list[str]]:
    """Yield a row for each way: pictures a CPU second, and the share of PIL alone."""
    torch.set_num_threads(1)
    files = write_pictures(folder / f"{kind}.parquet", kind, count)
    taken = dict.fromkeys(found := ways(folder / f"{kind}.parquet", files), 0.0)
    for _ in range(rounds):
        for name, way in found.items():
            began = time.process_time()
            for row in np.random.default_rng(1).permutation(count).tolist():
                way(row)
            taken[name] += time.process_time() - began
    size = sum(map(len, files)) / count / 1e3
    first = next(iter(taken.values()))
    for name, seconds in taken.items():
        yield [f"{kind}, {size:.0f} kB", name, f"{rounds * count / seconds:.0f}", f"{first / seconds:.2f}"]


# --- Start and memory -------------------------------------------------------------------------------------------------


def write_tables(folder: Path, scale: float) -> Files:
    """Write PAIRS and IMAGES of COCO's size times `scale`: words at random, one tiny picture many times."""
    captions, pictures, pairs = (round(number * scale) for number in (CAPTIONS, PICTURES, PAIRS))
    dice = np.random.default_rng(0)
    texts = pa.array(
        [
            " ".join(words) + f" {n}"
            for n, words in enumerate(np.array(WORDS)[dice.integers(0, len(WORDS), (captions, 9))])
        ]
    )
    ids = pa.array([f"multi-{number}" for number in range(pictures)])
    of_picture = np.sort(np.concatenate([np.arange(pictures), dice.integers(0, pictures, pairs - pictures)]))
    first = np.searchsorted(of_picture, np.arange(pictures))
    caption = (of_picture * 7 + np.arange(pairs) - first[of_picture]) % captions
    columns = [
        ids.take(pa.array(of_picture)),
        pa.array(caption),
        texts.take(pa.array(caption)),
        pa.nulls(pairs, pa.float32()),
    ]
    names = tables.PAIRS.schema.names
    tables.write(folder / "pairs.parquet", tables.PAIRS, pa.table(columns, names=names))
    return Files(str(folder / "pairs.parquet"), list(write_shards(folder, ids)), *[""] * 5)


def write_shards(folder: Path, ids: pa.Array) -> Iterator[str]:
    """Write IMAGES in SHARDS files of tiny pictures; yield their paths."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    bounds = np.linspace(0, len(ids), SHARDS + 1).astype(int)
    for name, start, end in zip(shard_names(SHARDS), bounds[:-1], bounds[1:], strict=True):
        part, count = ids[start:end], end - start
        data = pa.array([file.getvalue()] * count, pa.binary())
        image = pa.StructArray.from_arrays([data, pa.nulls(count, pa.string())], ["bytes", "path"])
        texts = pa.array([""] * count)
        columns = [part, image, texts, pa.array(np.zeros(count, np.int64)), texts, pa.nulls(count, pa.string())]
        tables.write(folder / f"{name}.parquet", tables.IMAGES, pa.table(columns, schema=tables.IMAGES.schema))
        yield str(folder / f"{name}.parquet")


def memory() -> int:
    """Return this process's memory in bytes, without mapped files."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def measure_start(job: Path) -> None:
    """Print as JSON what a process takes for the pairs, pictures and first order of the Files in a JSON file."""
    pa.array(["a"]).dictionary_encode()
    before, began, cpu = memory(), time.perf_counter(), time.process_time()
    pairs: Pairs = read_pairs(Files(**json.loads(job.read_text())), 30)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    began = time.perf_counter()
    digest = pairs.digest()
    digest_s = time.perf_counter() - began
    began = time.perf_counter()
    step_rows(0, BATCH, len(pairs), 0)
    order_s, began = time.perf_counter() - began, time.perf_counter()
    for step in range(1, 1001):
        pairs.captions(step_rows(step, BATCH, len(pairs), 0))
    steps_s = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    about = {
        "pairs": len(pairs),
        "seconds": seconds,
        "cpu": cpu,
        "digest": digest_s,
        "order": order_s,
        "step": steps_s / 1000,
    }
    print(json.dumps(about | {"held": memory() - before, "peak": peak - before, "digest_of": digest[:8]}))


def start_rows(folder: Path, scale: float) -> list[list[str]]:
    """Measure the start in a process of its own."""
    files = write_tables(folder, scale)
    job = folder / "files.json"
    job.write_text(json.dumps({name: getattr(files, name) for name in Files.__dataclass_fields__} | {"prefixes": {}}))
    command = [sys.executable, __file__, "--start", str(job)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout)
    count = found["pairs"]
    return [
        ["pairs", f"{count:,}"],
        ["pairs read, sorted, cleaned, pictures found: s", f"{found['seconds']:.1f}"],
        ["of these CPU seconds", f"{found['cpu']:.1f}"],
        ["hash of all pairs and pictures: s", f"{found['digest']:.1f}"],
        ["order of an epoch: s", f"{found['order']:.2f}"],
        ["rows and captions of a step: ms", f"{1e3 * found['step']:.2f}"],
        ["bytes a pair, held", f"{found['held'] / count:.0f}"],
        ["bytes a pair, at the peak", f"{found['peak'] / count:.0f}"],
    ]


def main() -> None:
    """Measure; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=40, help="different pictures of 512 by 512 pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of COCO's number of pairs; 0: no start")
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)  # in its own process, which is measured
    given = parser.parse_args()
    if given.start:
        measure_start(given.start)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [row for kind in ("PNG", "JPEG") for row in measure_rates(folder, kind, given.pictures, given.rounds)]
        print("\n".join(markdown_table(["files", "one core", "pictures a CPU second", "of PIL alone"], rows, left=2)))
        if given.scale:
            print("\n".join(["", *markdown_table(["start of a process", ""], start_rows(folder, given.scale))]))


if __name__ == "__main__":
    main()
