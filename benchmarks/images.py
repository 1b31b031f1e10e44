"""Compare icsd's image stage with a plain loop over StableDiffusionPipeline, in one run.

Both draw the same sentences and seeds with the same model, dtype, batch and steps, on the GPU if there is one. Both
write PNG files: the plain loop into a folder, the stage into its store and its table. Loading and a first batch are not
counted. The table has ratios of speed. The benchmark fails only if the images differ.
"""

import argparse
import io
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

from icsd.core import tables
from icsd.core.text import markdown_table
from icsd.stages.images import Drawing, Generator, generate_images, image_store, load_generator

MODEL = Path(__file__).parents[1] / "resources" / "picturebook" / "stable-diffusion"
NOUNS = "dog ball boat house tree kite cat star fish cup".split()
COLOURS = "red blue green white yellow".split()
DIFFERENCE = 4.0  # largest mean difference of pixel values: half precision rounds by the batch, float32 hardly
Draw = Callable[[Sequence[str], Sequence[int], Path], list[bytes]]  # sentences, seeds, an empty folder -> PNG files


@dataclass(frozen=True)
class Timed:
    """The images of a method, its seconds, and the peak memory of the GPU in GiB."""

    pictures: list[bytes]
    seconds: float
    gib: float


def plain_loop(settings: Drawing, batch_size: int, device: str) -> Draw:
    """Return a loop over the pipeline that saves each image with Pillow; the safety checker is off, as in the stage."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        settings.model, dtype=getattr(torch, settings.dtype), safety_checker=None, requires_safety_checker=False
    ).to(device)
    config = pipeline.scheduler.config
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++")
    pipeline.set_progress_bar_config(disable=True)
    height, width = settings.height_and_width or (None, None)

    def draw(sentences: Sequence[str], seeds: Sequence[int], folder: Path) -> list[bytes]:
        for start in range(0, len(sentences), batch_size):
            batch = list(sentences[start : start + batch_size])
            generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds[start : start + batch_size]]
            drawn = pipeline(
                batch, height=height, width=width, num_inference_steps=settings.steps,
                guidance_scale=settings.guidance_scale, generator=generators,
            )  # fmt: skip
            for number, picture in enumerate(drawn.images, start=start):
                picture.save(folder / f"{number}.png")
        return [(folder / f"{number}.png").read_bytes() for number in range(len(sentences))]

    return draw


def stage(settings: Drawing, batch_size: int, *, compiled: bool) -> Draw:
    """Return icsd's image stage, from a table of sentences to a table of images."""
    generator: Generator = load_generator(compiled=compiled)(Path(settings.model), settings)

    def draw(sentences: Sequence[str], seeds: Sequence[int], folder: Path) -> list[bytes]:
        rows = [_row(number, *pair) for number, pair in enumerate(zip(sentences, seeds, strict=True))]
        tables.write(folder / "sentences.parquet", tables.SENTENCES, rows)
        images, kept = folder / "images.parquet", image_store(folder / "drawn", "benchmark")
        generate_images(
            folder / "sentences.parquet", images, images.with_suffix(".png"), settings, batch_size, kept,
            lambda path, settings: generator,
        )  # fmt: skip
        return [row["bytes"] for row in tables.read(images, tables.IMAGES)["image"].to_pylist()]

    return draw


def _row(number: int, sentence: str, seed: int) -> dict[str, Any]:
    row = {"image_id": f"single-{number}", "arm": "single", "sentence": sentence, "seed": seed}
    return row | {"group_id": None, "caption_ids": [number], "prompt_hash": None}


def timed(draw: Draw, sentences: Sequence[str], batch_size: int, device: str) -> Timed:
    """Time the method after a batch that warms it up."""
    with tempfile.TemporaryDirectory() as warm, tempfile.TemporaryDirectory() as folder:
        draw(sentences[:batch_size], range(1_000_000, 1_000_000 + len(sentences[:batch_size])), Path(warm))
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        pictures = draw(sentences, range(len(sentences)), Path(folder))
        seconds = time.perf_counter() - start
    return Timed(pictures, seconds, torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0)


def sentences(count: int) -> list[str]:
    """Return `count` different sentences."""
    return [f"a {COLOURS[n % 5]} {NOUNS[n // 5 % 10]} and {n // 50 + 2} {NOUNS[n // 7 % 10]}s" for n in range(count)]


def difference(first: Sequence[bytes], second: Sequence[bytes]) -> float:
    """Return the mean difference of the pixel values."""
    pairs = zip(map(_pixels, first), map(_pixels, second), strict=True)
    return float(np.mean([np.abs(one - other).mean() for one, other in pairs]))


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)), dtype=np.float32)


def main(words: Sequence[str] | None = None) -> None:
    """Draw by all methods; print the table and the ratios."""
    args = _arguments(words)
    warnings.simplefilter("ignore", DeprecationWarning)  # diffusers' DPM-Solver and NumPy 2
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = Drawing(str(args.model), args.steps, args.guidance_scale, args.size, "", args.dtype)
    drawn = sentences(args.pictures)
    methods: dict[str, Callable[[], Draw]] = {
        "plain loop": lambda: plain_loop(settings, args.batch_size, device),
        "icsd": lambda: stage(settings, args.batch_size, compiled=False),
    }
    if args.compile:
        methods["icsd, compiled"] = lambda: stage(settings, args.batch_size, compiled=True)
    # one model at a time on the device
    results = {name: timed(load(), drawn, args.batch_size, device) for name, load in methods.items()}
    plain = results["plain loop"]
    rows = [
        [
            name, f"{took.seconds:.1f}", f"{len(drawn) / took.seconds:.2f}", f"{plain.seconds / took.seconds:.2f}",
            f"{took.gib:.1f}", f"{difference(took.pictures, plain.pictures):.3f}",
        ]
        for name, took in results.items()
    ]  # fmt: skip
    where = torch.cuda.get_device_name() if device == "cuda" else f"{os.cpu_count()} cores"
    print(f"{len(drawn)} images of {args.steps} steps in {args.dtype}, batches of {args.batch_size}, on {where}.")
    header = ["method", "seconds", "images a second", "times the plain loop", "GPU memory, GiB", "mean difference"]
    print("\n".join(["", *markdown_table(header, rows), ""]))
    print(f"Load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    if any(difference(took.pictures, plain.pictures) > DIFFERENCE for took in results.values()):
        raise SystemExit("The images differ.")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of a StableDiffusionPipeline")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance-scale", type=float, default=7.5)
    parser.add_argument("--size", type=int, default=None, help="side in pixels (default: the model's own)")
    parser.add_argument("--dtype", default="float32", help="float16 as in the paper needs a GPU")
    parser.add_argument("--compile", action="store_true", help="measure a compiled denoiser too")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
