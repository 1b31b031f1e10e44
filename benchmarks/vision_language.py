"""Train a vision-language model on the picture book: a GIT of random weights, on the pairs of an arm of a finished run.

It is scored on the images of val before and after, by CIDEr, as a training chooses its checkpoint. With --lora the
trained model is then trained for as many steps again by low-rank adapters, from a fresh start of the optimiser.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from transformers import BertTokenizer, CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

from icsd.config import CaptionerConfig
from icsd.config.captioner import CaptionerLoraConfig
from icsd.core import metrics, tables
from icsd.core.text import markdown_table
from icsd.stages.captioner.interface import BeamSearch
from icsd.stages.captioner.job import Files, Resources, TrainingJob
from icsd.stages.captioner.model import generate_captions
from icsd.stages.captioner.processes import Processes
from icsd.stages.captioner.training import Training, prepare, train
from icsd.views.run import found_run

SIDE = 32  # pixels, as the images of the picture book
SEARCH = BeamSearch(beams=3, min_tokens=3, max_tokens=20, batch_size=50)
TOKENIZER = "resources/picturebook/bert"


def write_git(folder: Path, seed: int) -> int:
    """Write a GIT of random weights with the words of the picture book; return the number of its weights."""
    tokenizer = BertTokenizer.from_pretrained(TOKENIZER)
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}
    words = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.cls_token_id}
    words |= {"eos_token_id": tokenizer.sep_token_id, "pad_token_id": tokenizer.pad_token_id}
    vision = shape | {"num_hidden_layers": 3, "image_size": SIDE, "patch_size": 8}
    torch.manual_seed(seed)
    model = GitForCausalLM(GitConfig(vision_config=vision, num_hidden_layers=2, **shape, **words))
    model.save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    GitProcessor(CLIPImageProcessor(size=square, crop_size=square, **half), tokenizer).save_pretrained(folder)
    return sum(value.numel() for value in model.parameters())


def files_of(results: Path, arm: str, folder: Path) -> Files:
    """The tables of a finished run, and where a training writes in `folder`."""
    run = found_run(results)
    return Files(
        pairs=str(run.pairs(arm).paths[0]),
        images=[str(path) for path in run.images(arm).paths],
        val_images=str(run.photographs("val").paths[0]),
        val_captions=str(run.photograph_captions("val").paths[0]),
        checkpoint=str(folder / "checkpoint"),
        history=str(folder / "history.parquet"),
        log=str(folder / "train.log"),
    )


def score(training: Training) -> tuple[float, str]:
    """CIDEr of the model as it is on the images of val, and the caption of the first."""
    found = generate_captions(training.setup.captioner, training.validation.squares, "", training.job.search)
    words = [metrics.plain_tokens(caption) for caption in found]
    return float(metrics.cider(training.validation.references, words).mean()), found[0]


def trained(job: TrainingJob, name: str) -> list[list[str]]:
    """Train; return a row for the model before and a row for it after."""
    before, caption = score(prepare(job, Processes())[0])
    began = time.process_time()
    train(job)
    minutes = (time.process_time() - began) / 60
    history = tables.read(job.files.history, tables.HISTORY).to_pylist()
    best = max(row["value"] for row in history if row["metric"] == "CIDEr")
    print(f"{name}: {minutes:.1f} CPU minutes; before it a caption was: {caption!r}", flush=True)
    return [[f"before: {name}", f"{100 * before:.1f}"], [f"after: {name}", f"{100 * best:.1f}"]]


def main() -> None:
    """Train; print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results/picturebook"), help="folder of a finished run")
    parser.add_argument("--arm", default="multi")
    parser.add_argument("--steps", type=int, default=300, help="steps of 32 pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lora", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{write_git(folder / 'git', given.seed):,} weights", flush=True)
        settings = CaptionerConfig(
            model=str(folder / "git"), vision_model=TOKENIZER, tokenizer=TOKENIZER, steps=given.steps,
            batch_size=32, learning_rate=1e-3, warmup_steps=50, validate_every=max(1, given.steps // 2),
            validation_pictures=100, precision="float32",
        )  # fmt: skip
        files, resources = (
            files_of(given.results, given.arm, folder / "all"),
            Resources(given.threads, save_every=10_000),
        )
        job = TrainingJob(files, settings, SEARCH, given.seed, resources)
        rows = trained(job, "all weights")
        if given.lora:
            adapted = settings.model_copy(update={"model": files.checkpoint, "lora": CaptionerLoraConfig(rank=16)})
            again = files_of(given.results, given.arm, folder / "lora")
            rows += trained(replace(job, settings=adapted, files=again), "adapters of the trained model")
    print("\n".join(["", *markdown_table(["", "CIDEr on val, times 100"], rows)]))


if __name__ == "__main__":
    main()
