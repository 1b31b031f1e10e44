"""Find swapped captions of real photographs by scores of pairs, with an image-text model trained on few of them.

Of 1,000 Flickr8k photographs with five captions each, 20% of the captions are swapped. The picture book's trainer
trains an image-text model on these pairs themselves, and another on one half of the photographs with their right
captions, to score the other half. Both score pairs as the stage alignment does. Two scores of texts alone stand beside
them: how like a caption is to the other captions of its photograph, by CIDEr and, with --encoder, by a sentence
encoder. So do random numbers, and the picture book's CLIP on scenes of its own world, swapped alike.
"""

import argparse
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from icsd.core import metrics, tables
from icsd.core.ids import drawing_order
from icsd.core.pictures import read_picture
from icsd.core.text import markdown_table
from icsd.models.text_encoder import load_text_encoder
from icsd.picturebook.alignment import area_under_curve
from icsd.picturebook.clip import ClipData, train_clip_on
from icsd.picturebook.splits import split_renders
from icsd.picturebook.tokenizers import train_clip_tokenizer
from icsd.stages.alignment import ShardTables, score_alignment, score_at_random
from icsd.stages.evaluation.bootstrap import Score, with_interval

ROOT = Path(__file__).parents[1]
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "flickr8k_images_1000.parquet"
PICTUREBOOK = ROOT / "resources" / "picturebook" / "clip"
SHARE = 0.2  # of the captions, swapped
LOWEST = (0.1, 0.2, 0.3)  # shares of the pairs
SAMPLES = 300  # resamples of the photographs for the intervals
IDS = 10  # caption ids a picture


@dataclass(frozen=True)
class Pairs:
    """Picture files, as many captions of each, and which captions are another picture's, bool [n, captions]."""

    files: list[bytes]
    captions: list[list[str]]
    swapped: np.ndarray


@dataclass(frozen=True)
class Training:
    """The settings of the trainer."""

    pixels: int
    steps: int
    batch_size: int
    rate: float
    seed: int
    threads: int


def swap_captions(captions: Sequence[Sequence[str]], share: float, seed: int) -> tuple[list[list[str]], np.ndarray]:
    """Swap this share of the captions at random, none with one of the same picture; return them and bool [n, captions].

    The chosen places stand in a circle, the pictures in random order. Each gets the caption that stands as many places
    on as the most that a picture has in it. ValueError if one picture has more than half of the places.
    """
    rng = np.random.default_rng(seed)
    places = [(row, column) for row, group in enumerate(captions) for column in range(len(group))]
    chosen = [places[at] for at in rng.permutation(len(places))[: round(share * len(places))]]
    turn = rng.permutation(len(captions))
    chosen.sort(key=lambda place: turn[place[0]])
    swapped = np.zeros((len(captions), len(captions[0])), dtype=bool)
    mixed = [list(group) for group in captions]
    step = int(np.bincount([row for row, _ in chosen], minlength=1).max())
    if 2 * step > len(chosen):
        raise ValueError(f"{step} of {len(chosen)} captions to swap are of one picture: take more pictures")
    for (row, column), (other, its) in zip(chosen, [*chosen[step:], *chosen[:step]], strict=True):
        mixed[row][column] = captions[other][its]
        swapped[row, column] = True
    return mixed, swapped


def swapped_among_lowest(scores: np.ndarray, swapped: np.ndarray, share: float) -> float:
    """Return the share of swapped pairs among this share of all pairs, those that score lowest; the first of equals."""
    lowest = np.argsort(scores, axis=None, kind="stable")[: round(share * scores.size)]
    return float(swapped.flatten()[lowest].mean())


def area_with_interval(scores: np.ndarray, swapped: np.ndarray) -> Score:
    """Return the AUC of right against swapped pairs [n, captions], with a 95% interval from resampling the pictures."""
    rng = np.random.default_rng(0)
    draws = [np.arange(len(scores)), *rng.integers(len(scores), size=(SAMPLES, len(scores)))]
    areas = [area_under_curve(scores[rows].flatten(), ~swapped[rows].flatten()) for rows in draws]
    return with_interval("AUC", np.array(areas))


# --- Pairs ------------------------------------------------------------------------------------------------------------
def read_photographs(path: Path) -> tuple[list[bytes], list[list[str]]]:
    """Return the files and captions of all photographs, in random order."""
    rows = pq.read_table(path, columns=["jpeg", "captions"]).to_pylist()
    rows = [rows[number] for number in sorted(range(len(rows)), key=drawing_order)]
    return [row["jpeg"] for row in rows], [row["captions"] for row in rows]


def picture_book(count: int, seed: int) -> Pairs:
    """Return scenes that the picture book's CLIP was not trained on, with their captions swapped."""
    data = split_renders("real", count)
    return Pairs([_png(picture) for picture in data.pictures], *swap_captions(data.captions, SHARE, seed))


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return file.getvalue()


def joined(first: Pairs, second: Pairs) -> Pairs:
    """Return the pairs of both."""
    swapped = np.concatenate([first.swapped, second.swapped])
    return Pairs([*first.files, *second.files], [*first.captions, *second.captions], swapped)


# --- Scores, each [n, captions] ---------------------------------------------------------------------------------------
def train(files: Sequence[bytes], captions: list[list[str]], training: Training, folder: Path) -> Path:
    """Train an image-text model on photographs and their mirror images, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    side = (training.pixels, training.pixels)
    pictures = np.stack(
        [np.asarray(ImageOps.fit(read_picture(each), side, Image.Resampling.BICUBIC)) for each in files]
    )
    data = ClipData(np.concatenate([pictures, pictures[:, :, ::-1]]), captions * 2)
    # the tokenizer lowers its input, but not while it is trained
    tokenizer = train_clip_tokenizer([caption.lower() for group in captions for caption in group])
    train_clip_on(
        data, folder, tokenizer, training.seed, training.threads, training.steps, training.batch_size, training.rate
    )
    return folder


def by_model(pairs: Pairs, model: Path | None) -> np.ndarray:
    """Score pairs as the stage alignment does: by an open_clip folder, or at random without one."""
    with tempfile.TemporaryDirectory() as name:
        shard, found = write_shard(pairs, Path(name)), Path(name) / "alignment.parquet"
        if model:
            score_alignment(shard, found, str(model), batch_size=64)
        else:
            score_at_random(shard.sentences, shard.captions, found)
        rows = tables.read(found, tables.ALIGNMENT).to_pylist()
    scores = {row["caption_id"]: row["score"] for row in rows}
    return np.array([[scores[row * IDS + each] for each in range(len(group))]
                     for row, group in enumerate(pairs.captions)])  # fmt: skip


def write_shard(pairs: Pairs, folder: Path) -> ShardTables:
    """Write the tables that the stage reads. The sentence of each picture is its first caption."""
    shard = ShardTables(*(folder / f"{name}.parquet" for name in ("sentences", "images", "captions")))
    numbered = list(enumerate(zip(pairs.files, pairs.captions, strict=True)))
    common = [{"image_id": f"photo-{row}", "sentence": group[0], "seed": 0} for row, (_, group) in numbered]
    tables.write(shard.sentences, tables.SENTENCES, [
        each | {"arm": "photo", "group_id": None, "prompt_hash": None,
                "caption_ids": [row * IDS + column for column in range(len(group))]}
        for each, (row, (_, group)) in zip(common, numbered, strict=True)
    ])  # fmt: skip
    tables.write(shard.images, tables.IMAGES, [
        each | {"image": {"bytes": file, "path": None}, "model": "photo"}
        for each, (_, (file, _)) in zip(common, numbered, strict=True)
    ])  # fmt: skip
    tables.write(shard.captions, tables.CAPTIONS, [
        {"caption_id": row * IDS + column, "image_id": row, "caption": caption, "split": "train"}
        for row, (_, group) in numbered
        for column, caption in enumerate(group)
    ])  # fmt: skip
    return shard


def by_cider(captions: Sequence[Sequence[str]]) -> np.ndarray:
    """Score each caption by its CIDEr against the other captions of its picture."""
    words = [[metrics.plain_tokens(caption) for caption in group] for group in captions]
    others = [group[:at] + group[at + 1 :] for group in words for at in range(len(group))]
    scores = metrics.cider(others, [caption for group in words for caption in group])
    return scores.reshape(len(words), -1)


def by_encoder(captions: Sequence[Sequence[str]], folder: Path) -> np.ndarray:
    """Score each caption by the cosine of its vector and the mean of its picture's other captions' vectors."""
    encoder = load_text_encoder(str(folder), "transformers", "mean", "float32")
    vectors = encoder.encode([caption for group in captions for caption in group], batch_tokens=4096)
    return likeness(vectors.reshape(len(captions), -1, vectors.shape[1]))


def likeness(vectors: np.ndarray) -> np.ndarray:
    """Return the cosine [n, captions] of each of the unit vectors [n, captions, d] and the mean of its row's others."""
    others = vectors.sum(axis=1, keepdims=True) - vectors
    return (vectors * others).sum(axis=-1) / np.linalg.norm(others, axis=-1)


# --- The table --------------------------------------------------------------------------------------------------------
def cells(name: str, scores: np.ndarray, swapped: np.ndarray) -> list[str]:
    """Return a row of the table."""
    area = area_with_interval(scores, swapped)
    found = [f"{100 * swapped_among_lowest(scores, swapped, share):.0f}" for share in LOWEST]
    return [name, f"{scores.size:,}", f"{area.value:.3f} ({area.low:.3f} to {area.high:.3f})", *found]


def measured(
    files: list[bytes], captions: list[list[str]], encoder: Path | None, training: Training, models: Path
) -> Iterator[list[str]]:
    """Yield the rows of the table, as they are measured. Models are trained in the folder `models`."""
    half = len(files) // 2
    # each half swaps among itself, so that a model of one half knows no caption of the other
    first = Pairs(files[:half], *swap_captions(captions[:half], SHARE, training.seed))
    second = Pairs(files[half:], *swap_captions(captions[half:], SHARE, training.seed + 1))
    pairs = joined(first, second)
    yield cells("random numbers", by_model(pairs, None), pairs.swapped)
    yield cells("CIDEr with the other captions", by_cider(pairs.captions), pairs.swapped)
    if encoder:
        yield cells("sentence encoder, with the other captions", by_encoder(pairs.captions, encoder), pairs.swapped)
    itself = train(pairs.files, pairs.captions, training, models / "itself")
    yield cells("CLIP trained on these pairs", by_model(pairs, itself), pairs.swapped)
    other = train(first.files, captions[:half], training, models / "half")
    yield cells("CLIP trained on right pairs of the other half", by_model(second, other), second.swapped)
    world = picture_book(len(files), training.seed)
    yield cells("the picture book's CLIP, on its own world", by_model(world, PICTUREBOOK), world.swapped)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, score, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=PHOTOGRAPHS, help="flickr8k_images_1000.parquet")
    parser.add_argument("--encoder", type=Path, help="transformers folder of a sentence encoder with mean pooling")
    parser.add_argument("--count", type=int, help="photographs; all without it")
    parser.add_argument("--pixels", type=int, default=64, help="side of a photograph, a multiple of 8")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    if not given.data.exists():
        raise SystemExit(f"{given.data} does not exist: name the Parquet file of the photographs with --data")
    logging.basicConfig(format="%(message)s")
    logging.getLogger("icsd").setLevel(logging.INFO)
    training = Training(given.pixels, given.steps, given.batch_size, given.rate, given.seed, given.threads)
    header = ["score", "pairs", "AUC", *(f"lowest {100 * share:.0f}%" for share in LOWEST)]
    files, captions = read_photographs(given.data)
    with tempfile.TemporaryDirectory() as models:
        found = measured(files[: given.count], captions[: given.count], given.encoder, training, Path(models))
        rows = list(found)
    print(f"{100 * SHARE:.0f}% of the pairs are swapped. Swapped pairs among the lowest, in %:", end="\n\n")
    print(*markdown_table(header, rows), sep="\n")


if __name__ == "__main__":
    main()
