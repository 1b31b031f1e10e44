"""Measure training steps of the captioner at the paper's size: CLIP ViT-B/32 at 384 pixels, BERT base.

The weights are random. The libraries' save_pretrained writes them, and the stage's own code loads them. The table has
the time and the peak memory of loading, of two steps, of captions and of a checkpoint.
"""

import argparse
import io
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from icsd.config import CaptionerConfig
from icsd.core import tables
from icsd.core.text import markdown_table
from icsd.stages.captioner.interface import BeamSearch
from icsd.stages.captioner.job import Files, Resources, TrainingJob
from icsd.stages.captioner.model import generate_captions, load_captioner
from icsd.stages.captioner.processes import Processes
from icsd.stages.captioner.steps import update
from icsd.stages.captioner.stream import stream
from icsd.stages.captioner.training import prepare

WORDS = 30_522  # of bert-base-uncased
CAPTION = "a man in a red shirt rides a brown horse along the beach"
PAPER = {"learning_rate": 1e-5, "weight_decay": 0.05, "label_smoothing": 0.1, "crop": 0.5, "flip": True}


def write_models(folder: Path) -> None:
    """Write vision/, bert/ and tokenizer/ in the formats of the published models."""
    torch.manual_seed(0)
    shape = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    CLIPVisionModel(CLIPVisionConfig(**shape, image_size=224, patch_size=32)).save_pretrained(folder / "vision")
    CLIPImageProcessor().save_pretrained(folder / "vision")
    BertForMaskedLM(BertConfig(vocab_size=WORDS)).save_pretrained(folder / "bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(f"a picture of {CAPTION}".split())]
    words += [f"word{number}" for number in range(WORDS - len(words))]
    BertTokenizer(vocab={word: n for n, word in enumerate(words)}).save_pretrained(folder / "tokenizer")


def write_pairs(folder: Path, count: int) -> Files:
    """Write `count` images of 512 by 512 pixels, each with a caption, for training and for validation."""
    rows = []
    noise = np.random.default_rng(0)
    for number in range(count):
        file = io.BytesIO()
        Image.fromarray(noise.integers(0, 255, (512, 512, 3), dtype=np.uint8)).save(file, "JPEG")
        image = {"bytes": file.getvalue(), "path": None}
        rows.append({"image_id": f"real-{number}", "image": image, "sentence": "", "seed": 0, "model": ""})
    tables.write(folder / "images.parquet", tables.IMAGES, rows)
    pairs = [{"image_id": row["image_id"], "caption_id": n, "caption": CAPTION} for n, row in enumerate(rows)]
    tables.write(folder / "pairs.parquet", tables.PAIRS, pairs)
    captions = [{"caption_id": n, "image_id": n, "caption": CAPTION, "split": "val"} for n in range(count)]
    tables.write(folder / "captions.parquet", tables.CAPTIONS, captions)
    names = {"pairs": "pairs.parquet", "val_images": "images.parquet", "val_captions": "captions.parquet"}
    names |= {"checkpoint": "out/checkpoint", "history": "out/history.parquet", "log": "out.log"}
    return Files(images=[str(folder / "images.parquet")], **{name: str(folder / path) for name, path in names.items()})


@contextmanager
def phase(name: str, rows: list[list[str]]) -> Iterator[None]:
    """Add a row: the seconds that the block takes, and the peak memory of the process at its end."""
    began = time.perf_counter()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB
    rows.append([name, f"{time.perf_counter() - began:.1f}", f"{peak:.1f}"])


def measure(folder: Path, batch: int, precision: str, checkpoint_activations: bool, threads: int) -> list[list[str]]:
    """Return a row for each phase."""
    torch.set_num_threads(threads)
    rows: list[list[str]] = []
    with phase("writing random weights", rows):
        write_models(folder)
    names = {"vision_model": "vision", "decoder_weights": "bert", "tokenizer": "tokenizer"}
    models = {name: str(folder / path) for name, path in names.items()}
    settings = CaptionerConfig(**models, **PAPER, image_size=384, epochs=30, batch_size=batch, precision=precision)
    search = BeamSearch(beams=3, min_tokens=5, max_tokens=30, batch_size=batch)
    resources = Resources(threads, save_every=500, checkpoint_activations=int(checkpoint_activations))
    with phase("loading, and reading pairs", rows):
        job = TrainingJob(write_pairs(folder, batch), settings, search, 0, resources)
        training, _, _ = prepare(job, Processes())
    setup = training.setup
    size = sum(value.numel() for value in setup.captioner.model.parameters())
    print(f"{size:,} weights, images of {setup.captioner.square.size} pixels, {batch} pairs, {precision}")
    setup.captioner.model.train()
    parts = stream(setup, 0, workers=0)
    for step in (0, 1):
        with phase(f"step {step + 1}", rows):
            loss = update(setup, step, next(parts))["loss"]
        print(f"step {step + 1}: loss {loss:.3f}")
    with phase("a caption of each image", rows):
        generate_captions(setup.captioner, training.validation.squares, settings.prefix, search)
    with phase("saving and loading the checkpoint", rows):
        setup.captioner.save(folder / "checkpoint")
        load_captioner(folder / "checkpoint")
    return rows


def main() -> None:
    """Measure; print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4, help="pairs a step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--checkpoint-activations", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), given.batch, given.precision, given.checkpoint_activations, given.threads)
    print("\n".join(["", *markdown_table(["", "seconds", "peak memory, GiB"], rows)]))


if __name__ == "__main__":
    main()
