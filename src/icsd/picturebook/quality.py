"""Measure the quality of the small models, and write it as a table and as a page."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from transformers import CLIPTokenizer

from icsd.core import tables
from icsd.core.contact_sheet import contact_sheet
from icsd.core.files import atomic_path
from icsd.core.pictures import read_picture
from icsd.core.text import markdown_table
from icsd.models.image_generator import load_image_generator
from icsd.models.safety_checker import load_safety_checker
from icsd.models.text_encoder import load_text_encoder
from icsd.picturebook.clip import load_clip
from icsd.picturebook.mentions import Mentions, Sentence, sentences_by_count, shown_background
from icsd.picturebook.probe import Probe, detect_objects, load_probe
from icsd.picturebook.safety_checker import unsafe_scenes
from icsd.picturebook.scenes import UNSAFE_KIND, Scene
from icsd.picturebook.splits import Renders, split_renders
from icsd.picturebook.training import as_tensor

CPU = torch.device("cpu")
BATCH_SIZE = 64


@dataclass(frozen=True)
class Measurement:
    """One measure of a model, with the number of items that it was measured on."""

    model: str
    measure: str
    value: float
    items: int


@dataclass(frozen=True)
class DrawingSettings:
    """Settings with which the generator draws sentences, as in the pipeline."""

    sentences_per_count: int = 75
    steps: int = 20
    guidance_scale: float = 3.0


def measure_models(
    clip: Path, pipeline: Path, probe_folder: Path, drawing: DrawingSettings
) -> tuple[list[Measurement], Image.Image]:
    """Measure CLIP, the pipeline's parts and the probe; return the measures and a sheet of drawn pictures."""
    probe, tokenizer = load_probe(probe_folder), CLIPTokenizer.from_pretrained(pipeline / "tokenizer")
    real = split_renders("probe_test")
    sentences = sentences_by_count(real, tokenizer, drawing.sentences_per_count)
    drawn = draw([sentence.text for sentence in sentences], pipeline, drawing)
    rows = probe_quality(probe, real)
    rows += clip_quality(clip, split_renders("probe_test", 500))
    rows += autoencoder_quality(pipeline / "vae", probe, real.pictures[:500], real.scenes[:500])
    rows += generator_quality(probe, drawn, sentences)
    rows += checker_quality(pipeline, real.pictures, unsafe_scenes(real.scenes), "real renders")
    rows += checker_quality(pipeline, drawn, _seen_unsafe(probe, drawn), "drawn pictures")
    return rows, drawn_sheet(drawn, sentences)


def probe_quality(probe: Probe, data: Renders) -> list[Measurement]:
    """Measure the precision and recall of (colour, kind) pairs on real renders."""
    found = detect_objects(probe, data.pictures)
    true = [_named(scene) for scene in data.scenes]
    hits = sum(len(a & b) for a, b in zip(found, true, strict=True))
    return [
        _share("probe", "precision on real renders", hits, sum(map(len, found))),
        _share("probe", "recall on real renders", hits, sum(map(len, true))),
    ]


def clip_quality(folder: Path, data: Renders) -> list[Measurement]:
    """Measure recall at 1 and 5, both ways.

    Image to text: one of the k nearest of all different captions is one of the picture's own.
    Text to image: one of the k nearest pictures has the caption.
    """
    texts = sorted({caption for group in data.captions for caption in group})
    own = np.array([[text in group for text in texts] for group in map(set, data.captions)])
    similarities = picture_vectors(folder, data.pictures) @ load_text_encoder(str(folder)).encode(texts, 256).T
    rows = []
    for k in (1, 5):
        for way, table, right in (("image to text", similarities, own), ("text to image", similarities.T, own.T)):
            nearest = np.argsort(-table, axis=1, kind="stable")[:, :k]
            hits = np.take_along_axis(right, nearest, axis=1).any(axis=1)
            rows.append(_share("clip", f"{way}, recall at {k}", int(hits.sum()), len(nearest)))
    return rows


@torch.inference_mode()
def picture_vectors(clip: Path, pictures: np.ndarray) -> np.ndarray:
    """Return unit vectors [n, d] float32 of pictures uint8 [n, 32, 32, 3]."""
    model = load_clip(clip)
    parts = [model.encode_image(as_tensor(part, CPU), normalize=True) for part in _batches(pictures)]
    return torch.cat(parts).numpy()


def autoencoder_quality(folder: Path, probe: Probe, pictures: np.ndarray, scenes: Sequence[Scene]) -> list[Measurement]:
    """Measure the PSNR of the reconstructions, and the share of objects that the probe detects in them."""
    rebuilt = reconstructions(AutoencoderKL.from_pretrained(folder), pictures)
    error = np.square(rebuilt.astype(np.float64) - pictures).mean(axis=(1, 2, 3))
    psnr = float(np.mean(10 * np.log10(255**2 / error)))
    true = [_named(scene) for scene in scenes]
    hits = sum(len(a & b) for a, b in zip(detect_objects(probe, rebuilt), true, strict=True))
    return [
        Measurement("autoencoder", "PSNR of reconstructions, dB", psnr, len(pictures)),
        _share("autoencoder", "objects found in reconstructions", hits, sum(map(len, true))),
    ]


@torch.inference_mode()
def reconstructions(autoencoder: AutoencoderKL, pictures: np.ndarray) -> np.ndarray:
    """Encode pictures to the mode of their latents and decode them: uint8 [n, 32, 32, 3]."""
    autoencoder = autoencoder.eval()
    parts = [
        autoencoder.decode(autoencoder.encode(as_tensor(part, CPU)).latent_dist.mode()).sample
        for part in _batches(pictures)
    ]
    pixels = torch.cat(parts).permute(0, 2, 3, 1).add(1).mul(127.5)
    return pixels.round().clamp(0, 255).to(torch.uint8).numpy()


def draw(sentences: Sequence[str], pipeline: Path, drawing: DrawingSettings) -> np.ndarray:
    """Draw a picture per sentence, uint8 [n, 32, 32, 3]. The seeds are the positions in the list."""
    generator, pngs = load_image_generator(pipeline, None), list[bytes]()
    generator.draw(
        sentences, range(len(sentences)), BATCH_SIZE, lambda _, batch: pngs.extend(batch),
        steps=drawing.steps, guidance_scale=drawing.guidance_scale, negative_prompt="",
    )  # fmt: skip
    return np.stack([np.asarray(read_picture(png)) for png in pngs])


def generator_quality(probe: Probe, drawn: np.ndarray, sentences: Sequence[Sentence]) -> list[Measurement]:
    """Measure the shares of mentioned kinds, of kinds in their colour by number of objects, and of backgrounds seen."""
    found = detect_objects(probe, drawn)
    mentioned, seen = Counter[int](), Counter[int]()
    kinds = 0
    for sentence, objects in zip(sentences, found, strict=True):
        mentioned[len(sentence.objects)] += len(sentence.objects)
        seen[len(sentence.objects)] += _in_colour(sentence.objects, objects)
        kinds += len(sentence.objects.keys() & {kind for _, kind in objects})
    rows = [_share("generator", "mentioned kinds seen", kinds, mentioned.total())]
    rows += [
        _share("generator", f"mentioned objects seen in their colour, of {count}", seen[count], mentioned[count])
        for count in sorted(mentioned)
    ]
    backgrounds = [(shown_background(p), s.background) for p, s in zip(drawn, sentences, strict=True) if s.background]
    right = sum(shown == wanted for shown, wanted in backgrounds)
    return [*rows, _share("generator", "mentioned backgrounds seen", right, len(backgrounds))]


def checker_quality(folder: Path, pictures: np.ndarray, unsafe: np.ndarray, where: str) -> list[Measurement]:
    """Measure the precision and recall of the checker in `folder` on pictures; `unsafe` bool [n] is the truth."""
    scores = load_safety_checker(folder).scores(map(Image.fromarray, pictures), BATCH_SIZE)
    flagged = np.array(list(scores)) > 0
    hits = int((flagged & unsafe).sum())
    return [
        _share("safety checker", f"precision on {where}", hits, int(flagged.sum())),
        _share("safety checker", f"recall on {where}", hits, int(unsafe.sum())),
    ]


def drawn_sheet(drawn: np.ndarray, sentences: Sequence[Sentence], pictures: int = 64) -> Image.Image:
    """Return a grid of drawn pictures above their sentences, evenly from all numbers of objects."""
    chosen = np.linspace(0, len(drawn) - 1, min(pictures, len(drawn))).round().astype(int)
    return contact_sheet([_png(drawn[i]) for i in chosen], [sentences[i].text for i in chosen])


def _in_colour(mentions: Mentions, found: set[tuple[str, str]]) -> int:
    """Count the mentions that were found, in their colour if one was said."""
    kinds = {kind for _, kind in found}
    return sum((colour, kind) in found if colour else kind in kinds for kind, colour in mentions.items())


def _seen_unsafe(probe: Probe, pictures: np.ndarray) -> np.ndarray:
    return np.array([any(kind == UNSAFE_KIND for _, kind in found) for found in detect_objects(probe, pictures)])


def _named(scene: Scene) -> set[tuple[str, str]]:
    return {(item.colour, item.kind) for item in scene.objects}


def _share(model: str, measure: str, hits: int, items: int) -> Measurement:
    """Return the share as a measurement. The share of nothing is NaN."""
    return Measurement(model, measure, hits / items if items else float("nan"), items)


def _batches(pictures: np.ndarray) -> list[np.ndarray]:
    return [pictures[start : start + BATCH_SIZE] for start in range(0, len(pictures), BATCH_SIZE)]


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


AIMS: Mapping[str, float] = {
    "mentioned objects seen in their colour, of 1": 0.9,
    "mentioned objects seen in their colour, of 3": 0.75,
}


def measure_quality(
    clip: Path, pipeline: Path, probe: Path, drawing: DrawingSettings, table: Path, page: Path, sheet: Path
) -> None:
    """Measure the models in these folders, and write QUALITY, its page and a sheet of the pictures drawn for it."""
    rows, drawn = measure_models(clip, pipeline, probe, drawing)
    with atomic_path(sheet) as unfinished:
        drawn.save(unfinished, "PNG")
    with atomic_path(page) as unfinished:
        unfinished.write_text(quality_page(rows), encoding="utf-8")
    tables.write(table, tables.QUALITY, [asdict(row) for row in rows])


def quality_page(rows: Sequence[Measurement]) -> str:
    """Return a Markdown page with a row per measure, shares in %."""
    table = markdown_table(["model", "measure", "value", "of", "aim"], [_cells(row) for row in rows], left=2)
    text = "Shares in %, with what they are shares of; pictures drawn and judged as in the default run."
    return "\n".join(["# Quality of the picture book's models", "", text, "", *table, ""])


def _cells(row: Measurement) -> list[str]:
    is_share = "dB" not in row.measure
    value = f"{100 * row.value:.1f}" if is_share else f"{row.value:.1f}"
    aim = AIMS.get(row.measure)
    return [row.model, row.measure, value, f"{row.items:,}", f"{100 * aim:.0f}" if aim else ""]
