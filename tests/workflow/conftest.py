"""A small world to run the workflow in: tiny random models, a corpus of 60 captions, a copy of the checkout.

Each test gets a copy of what one whole run left behind, so that the costly jobs run once.
"""

import copy
import io
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from checkout import SNAKEMAKE, Checkout, Config
from PIL import Image
from strict_checker import make_strict
from warm_python import WarmPython

from icsd.models.image_generator import load_image_generator
from icsd.picturebook.splits import write_annotations, write_pictures

ROOT = Path(__file__).parents[2]
CHECKED_OUT = ("Snakefile", "rules", "scripts", "envs", "config", "profiles", "report")
ALL_ARMS = ["multi", "single", "single_matched", "multi_head", "real"]
SCENES = 12  # with five captions each
STEPS = 2  # of drawing a picture


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """annotations/captions_{split}.json of 12 scenes each, and images/{split}/. Do not write into it."""
    folder = tmp_path_factory.mktemp("corpus")
    for split in ("text", "real", "val", "test"):
        write_annotations(split, folder / "annotations" / f"captions_{split}.json", SCENES)
    for split in ("real", "val", "test"):
        write_pictures(split, folder / "images" / split, SCENES)
    return folder


@pytest.fixture(scope="session")
def strict_folder(corpus: Path, stable_diffusion_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy whose checker finds some of the pictures that it draws unsafe. Do not write into it."""
    folder = tmp_path_factory.mktemp("strict") / "pipeline"
    shutil.copytree(stable_diffusion_folder, folder)
    generator, pngs = load_image_generator(folder, None), list[bytes]()
    annotations = json.loads((corpus / "annotations/captions_text.json").read_text())["annotations"]
    sentences = [each["caption"] for each in annotations]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # diffusers' DPM-Solver and NumPy 2
        generator.draw(
            sentences, range(len(sentences)), 64, lambda _, batch: pngs.extend(batch),
            steps=STEPS, guidance_scale=7.5, negative_prompt="",
        )  # fmt: skip
    make_strict(folder, [Image.open(io.BytesIO(png)) for png in pngs], quantile=0.99)
    return folder


@pytest.fixture(scope="session")
def tiny(corpus: Path, clip_folder: Path, strict_folder: Path, captioner_folder: Path) -> Config:
    """The overlay: all that is small. Copy before a change."""
    return {
        "run": "tiny",
        "shards": 1,
        "arms": ALL_ARMS,
        "captions": {"annotations": str(corpus / "annotations/captions_text.json")},
        "pictures": {
            split: {
                "annotations": str(corpus / f"annotations/captions_{split}.json"),
                "images": str(corpus / f"images/{split}"),
            }
            for split in ("real", "val", "test")
        },
        "embeddings": {"model": str(clip_folder)},
        "groups": {"k": 6},
        "summaries": {"quality": {"image_model": str(strict_folder)}},
        "images": {"model": str(strict_folder), "steps": STEPS, "max_summaries": 40, "spare": 0.4},
        "alignment": {"model": None, "drop_share": 0.0},
        "dataset": {"max_drop_share": 0.9},
        "captioner": {
            "vision_model": str(captioner_folder / "vision"),
            "tokenizer": str(captioner_folder / "tokenizer"),
            "decoder": {"layers": 1, "hidden": 32, "heads": 2},
            "steps": 12,
            "batch_size": 16,
            "learning_rate": 1.0e-2,
            "warmup_steps": 2,
            "precision": "float32",
            "validate_every": 6,
            "checkpoint_every": 4,
        },
        "evaluation": {"max_tokens": 12, "beams": 2, "bootstrap_samples": 50, "metrics": ["BLEU", "ROUGE_L", "CIDEr"]},
    }


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with programs `python` and `snakemake` that have their imports behind them."""
    with WarmPython(tmp_path_factory.mktemp("warm") / "bin") as warm:
        yield warm.folder


@pytest.fixture(scope="session")
def check_out(tiny: Config, warm_python: Path) -> Callable[[Path], Checkout]:
    """Makes a checkout in a new folder, in which nothing has run."""

    def make(folder: Path) -> Checkout:
        for name in CHECKED_OUT:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".snakemake"))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, folder / name)
        checkout = Checkout(folder, copy.deepcopy(tiny), str(warm_python / "snakemake"))
        checkout.save()
        return checkout

    return make


@pytest.fixture(scope="session")
def whole_run(check_out: Callable[[Path], Checkout], tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """One run of everything: five arms, one shard, two cores. Do not write into it.

    Each of its jobs is a Python of its own, as a user's are.
    """
    checkout = check_out(tmp_path_factory.mktemp("whole") / "icsd")
    replace(checkout, program=SNAKEMAKE).run(cores=2)
    return checkout


@pytest.fixture
def fresh(check_out: Callable[[Path], Checkout], tmp_path: Path) -> Checkout:
    """A checkout in which nothing has run."""
    return check_out(tmp_path / "icsd")


@pytest.fixture
def done(whole_run: Checkout, tmp_path: Path) -> Checkout:
    """A copy of the whole run, to be changed."""
    return whole_run.copy(tmp_path / "icsd")
