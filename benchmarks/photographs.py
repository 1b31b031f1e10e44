"""Train the captioner on real photographs by the workflow's rules, and compare it with one fixed caption.

Of 1,000 Flickr8k photographs with five captions each, 800 train the arm real, 100 choose its checkpoint and 100 test
it. The baseline gives every image the same caption: of the first captions of the training images, the one with the
highest CIDEr on the validation images. Everything is written to results/, which git ignores.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from tokenizers import BertWordPieceTokenizer
from transformers import BertTokenizer

from icsd.core import metrics, tables
from icsd.core.ids import drawing_order
from icsd.core.metrics import read_references
from icsd.core.text import markdown_table
from icsd.stages.evaluation.bootstrap import Score, Tokenised, resampled, score, tokenise, with_interval

ROOT = Path(__file__).parents[1]
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "flickr8k_images_1000.parquet"
RUN = "photographs"
SIZES = {"val": 100, "test": 100}  # the rest trains
WORDS = 8_000
PREFIX = "a picture of"
METRICS = ["BLEU", "ROUGE_L", "CIDEr"]
SAMPLES = 1000  # resamples of the images for the intervals


@dataclass(frozen=True)
class Photograph:
    """An image file and its five captions."""

    name: str
    data: bytes
    captions: list[str]


def read_photographs(path: Path) -> dict[str, list[Photograph]]:
    """Return the photographs by split, chosen by their number."""
    rows = pq.read_table(path, columns=["file_name", "jpeg", "captions"]).to_pylist()
    order = sorted(range(len(rows)), key=drawing_order)
    all_of_them = [Photograph(rows[n]["file_name"], rows[n]["jpeg"], rows[n]["captions"]) for n in order]
    taken = iter(all_of_them)
    splits = {split: [next(taken) for _ in range(size)] for split, size in SIZES.items()}
    return splits | {"real": list(taken)}


def write_corpus(splits: dict[str, list[Photograph]], folder: Path) -> None:
    """Write COCO annotations and the image files, a folder for each split."""
    numbers = iter(range(10**6))
    for split, photographs in splits.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        images = [{"id": next(numbers), "file_name": each.name} for each in photographs]
        annotations = [
            {"id": next(numbers), "image_id": image["id"], "caption": caption}
            for image, each in zip(images, photographs, strict=True)
            for caption in each.captions
        ]
        for each in photographs:
            (folder / split / each.name).write_bytes(each.data)
        document = {"images": images, "annotations": annotations}
        (folder / f"{split}.json").write_text(json.dumps(document), encoding="utf-8")


def write_tokenizer(captions: Sequence[str], folder: Path) -> None:
    """Write a WordPiece tokenizer, as BERT's, trained on these captions."""
    pieces = BertWordPieceTokenizer(lowercase=True)
    texts = [*captions, *[PREFIX] * 2]
    pieces.train_from_iterator(texts, vocab_size=WORDS, min_frequency=2, show_progress=False)
    vocabulary = dict(sorted(pieces.get_vocab().items(), key=lambda item: item[1]))
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)


def overlay(folder: Path, steps: int) -> dict[str, object]:
    """Return the overlay on the default run."""
    splits = ("real", *SIZES)
    pictures = {each: {"annotations": f"{folder}/{each}.json", "images": f"{folder}/{each}"} for each in splits}
    captioner = {
        "vision_model": str(ROOT / "resources/picturebook/vision"),
        "tokenizer": f"{folder}/tokenizer",
        "prefix": PREFIX,
        "decoder": {"layers": 2, "hidden": 192, "heads": 6, "dropout": 0.1},
        "steps": steps,
        "batch_size": 64,
        "learning_rate": 1.0e-3,
        "vision_learning_rate_scale": 0.5,
        "warmup_steps": steps // 10,
        "flip": True,
        "crop": 0.5,
        "validate_every": max(1, steps // 6),
        "checkpoint_every": max(1, steps // 6),
    }
    evaluation = {"metrics": METRICS, "min_tokens": 5, "max_tokens": 30}
    return {"run": RUN, "arms": ["real"], "pictures": pictures, "captioner": captioner, "evaluation": evaluation}


def fixed_caption(captions: Sequence[str], references: Sequence[Sequence[str]]) -> str:
    """Return the caption with the highest mean CIDEr against all `references`; ties go to the first."""
    words = [[metrics.plain_tokens(caption) for caption in of_picture] for of_picture in references]
    different = dict.fromkeys(metrics.plain_tokens(caption) for caption in captions)
    return max(different, key=lambda caption: float(metrics.cider(words, [caption] * len(words)).mean()))


def run_workflow(folder: Path, steps: int, cores: int) -> Path:
    """Train the arm real, predict its captions, and return the run's folder."""
    (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay(folder, steps)), encoding="utf-8")
    target = f"results/{RUN}/evaluation/scores.md"
    command = [str(Path(sys.executable).with_name("snakemake")), "--configfile", str(folder / "overlay.yaml")]
    subprocess.run([*command, "--cores", str(cores), target], cwd=ROOT, check=True)
    return ROOT / "results" / RUN


def report(results: Path, caption: str) -> str:
    """Return the table of both, their difference, and some captions of the captioner."""
    references = read_references(results / "pictures/test/captions.parquet")
    rows = tables.read(results / "evaluation/real/seed-0/predictions.parquet", tables.PREDICTIONS).to_pylist()
    said = {row["image_id"]: row["caption"] for row in rows}
    ids = sorted(references)
    methods = {"trained captioner": [said[each] for each in ids], f"always “{caption}”": [caption] * len(ids)}
    words = {name: tokenise([references[each] for each in ids], captions) for name, captions in methods.items()}
    shown = ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr")
    lines = markdown_table(["", *shown], [[name, *_cells(each, shown)] for name, each in words.items()])
    examples = [f"- {said[each]} (a person: {references[each][0]})" for each in ids[:8]]
    different = f"{len(set(said.values()))} different captions of {len(ids)} images, such as:"
    return "\n".join([*lines, "", _difference(*words.values()), "", different, "", *examples])


def _cells(captions: Tokenised, names: Sequence[str]) -> list[str]:
    found = {each.metric: each for each in score(captions, METRICS, SAMPLES, seed=0)}
    return [_shown(found[name]) for name in names]


def _difference(trained: Tokenised, fixed: Tokenised) -> str:
    """Return the difference in CIDEr, paired by image, with its interval from the same resamples."""
    gain = metrics.cider(trained.references, trained.candidates) - metrics.cider(fixed.references, fixed.candidates)
    counts = resampled(len(gain), SAMPLES, seed=0)
    return f"Difference in CIDEr: {_shown(with_interval('CIDEr', counts @ gain / counts.sum(axis=1)))}."


def _shown(score: Score) -> str:
    return f"{100 * score.value:.1f} ({100 * score.low:.1f} to {100 * score.high:.1f})"


def main() -> None:
    """Write the corpus, train, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=PHOTOGRAPHS, help="flickr8k_images_1000.parquet")
    parser.add_argument("--steps", type=int, default=300, help="training steps of 64 pairs")
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    if not given.data.exists():
        raise SystemExit(f"{given.data} does not exist: name the Parquet file of the photographs with --data")
    folder = ROOT / "results" / "corpora" / RUN
    splits = read_photographs(given.data)
    write_corpus(splits, folder)
    write_tokenizer([caption for each in splits["real"] for caption in each.captions], folder / "tokenizer")
    results = run_workflow(folder, given.steps, given.cores)
    first = [each.captions[0] for each in splits["real"]]
    print(report(results, fixed_caption(first, [each.captions for each in splits["val"]])))


if __name__ == "__main__":
    main()
