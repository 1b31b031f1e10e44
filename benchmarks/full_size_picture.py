"""Draw one image at the size of Stable Diffusion 1.4 by the image stage, and measure time and memory.

The weights are random: the benchmark shows loading, shapes, time and memory, not images. The architecture is that of
CompVis/stable-diffusion-v1-4. A process of its own writes it with diffusers' save_pretrained in half precision (2 GB in
the temporary folder). The tokenizer is the picture book's; the text encoder has CLIP's vocabulary size.
"""

import argparse
import io
import multiprocessing
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from icsd.core import tables
from icsd.core.text import markdown_table
from icsd.stages.images import Drawing, generate_images, image_store, load_generator

TOKENIZER = Path(__file__).parents[1] / "resources" / "picturebook" / "stable-diffusion" / "tokenizer"
SENTENCE = "A red ball lies beside a small dog on the beach."
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
MIB = 2**20


def write_model(folder: Path) -> None:
    """Write the pipeline with random weights, without a safety checker."""
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=64, block_out_channels=(320, 640, 1280, 1280), layers_per_block=2, cross_attention_dim=768,
        attention_head_dim=8, down_block_types=[*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
        up_block_types=["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    )  # fmt: skip
    vae = AutoencoderKL(
        sample_size=512, block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
    )  # fmt: skip
    text = CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=77, projection_dim=768,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=CLIPTextModel(text).half(),
        tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER, model_max_length=77),
        unet=unet.half(),
        scheduler=PNDMScheduler(**NOISE, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


class Clock:
    """Rows of seconds by phase, with the peak memory of the process up to its end."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that each call adds a row."""

        def timing(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            returned = function(*arguments, **options)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
            self.rows.append([stage, f"{time.perf_counter() - start:.1f}", f"{peak:,.0f}"])
            return returned

        return timing


def draw(folder: Path, model: Path, args: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """Draw the sentence, and return the row of IMAGES that the stage wrote."""
    row = {"image_id": "multi-1", "arm": "multi", "sentence": SENTENCE, "group_id": 1, "caption_ids": [1]}
    tables.write(folder / "sentences.parquet", tables.SENTENCES, [row | {"seed": 7, "prompt_hash": "none"}])
    settings = Drawing(str(model), args.steps, 7.5, args.size, "", args.dtype)

    def load(path: Path, settings: Drawing) -> Any:
        generator: Any = clock.timed("load the pipeline", load_generator())(path, settings)
        pipeline = generator.pipeline
        pipeline.unet.forward = clock.timed("a step of the UNet, with and without sentence", pipeline.unet.forward)
        pipeline.vae.decode = clock.timed("decode", pipeline.vae.decode)
        return generator

    images = folder / "images.parquet"
    stage = clock.timed("the whole stage", generate_images)
    kept = image_store(folder / "drawn", "benchmark")
    stage(folder / "sentences.parquet", images, images.with_suffix(".png"), settings, 1, kept, load)
    (written,) = tables.read(images, tables.IMAGES).to_pylist()
    return written


def main(words: Sequence[str] | None = None) -> None:
    """Write the model, draw, print the table, and check the image's row."""
    args = _arguments(words)
    warnings.simplefilter("ignore", DeprecationWarning)  # diffusers' DPM-Solver and NumPy 2
    with tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), Clock()
        writing = multiprocessing.get_context("spawn").Process(target=write_model, args=(folder / "model",))
        start = time.perf_counter()
        writing.start()
        writing.join()
        if writing.exitcode:
            raise SystemExit("The model was not written.")
        size = sum(path.stat().st_size for path in (folder / "model").rglob("*") if path.is_file())
        print(f"{size / 1e9:.2f} GB of random weights written in {time.perf_counter() - start:.0f} s")
        row = draw(folder, folder / "model", args, clock)
    print("\n".join(markdown_table(["stage", "seconds", "peak MiB so far"], clock.rows)))
    picture = Image.open(io.BytesIO(row["image"]["bytes"]))
    print(f"{row['image_id']}, seed {row['seed']}: {picture.width} by {picture.height}, {picture.getextrema()}")
    if (row["sentence"], row["seed"], row["image"]["path"]) != (SENTENCE, 7, "multi-1.png"):
        raise SystemExit("The row is not that of the sentence.")
    if picture.size != (args.size, args.size) or picture.mode != "RGB":
        raise SystemExit("The image has another size or mode than requested.")
    print("Its row in the table is correct.")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--dtype", default="float32")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
