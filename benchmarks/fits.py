"""Measure how much of real photographs each way to make them square shows, and how it changes their aspect ratio.

Nothing is trained: only the sizes of the photographs are read. A crop to the centre hides the ends of a photograph,
squashing makes things narrower, and padding spends pixels on black.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from icsd.core.pictures import read_header
from icsd.core.text import markdown_table

DATA = Path(__file__).parents[2] / "shared" / "data"
FILES = ("flickr8k_images_1000.parquet", "coco_photos_101.parquet")
HEADER = ("photographs", "`fit`", "seen of a picture", "of nine in ten, at least", "aspect ratio", "black")


def read_sizes(path: Path) -> np.ndarray:
    """Return width and height [n, 2] of the photographs in the column `jpeg`."""
    files = pq.read_table(path, columns=["jpeg"])["jpeg"].to_pylist()
    return np.asarray([read_header(data).size for data in files], dtype=np.float64)


def table_rows(name: str, sizes: np.ndarray) -> Iterator[list[str]]:
    """Yield a row for each fit: shares of the picture seen, its change of aspect ratio, and black pixels, as means."""
    ratio = sizes.max(axis=1) / sizes.min(axis=1)  # long to short side
    ones, none = np.ones(len(ratio)), np.zeros(len(ratio))
    fits = {"crop": (1 / ratio, ones, none), "squash": (ones, ratio, none), "pad": (ones, ones, 1 - 1 / ratio)}
    for fit, (seen, stretched, black) in fits.items():
        shares = (f"{seen.mean():.1%}", f"{np.quantile(seen, 0.1):.1%}")
        yield [f"{len(sizes):,} of {name}", fit, *shares, f"× {stretched.mean():.2f}", f"{black.mean():.1%}"]


def main() -> None:
    """Print the table of all files."""
    parser = argparse.ArgumentParser(prog="make benchmark NAME=fits", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help=f"the folder with {' and '.join(FILES)}")
    folder = parser.parse_args().data
    rows = [row for file in FILES for row in table_rows(file.partition("_")[0], read_sizes(folder / file))]
    print("\n".join(markdown_table(HEADER, rows, left=2)))


if __name__ == "__main__":
    main()
