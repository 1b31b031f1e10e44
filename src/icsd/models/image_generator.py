"""Drawing of sentences by a diffusers pipeline; it denoises a batch while the files of the one before are encoded."""

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from icsd.core.errors import ConfigError, ModelError
from icsd.core.pictures import on_white
from icsd.models.image_lora import Lora
from icsd.models.image_pipeline import load_pipeline
from icsd.models.pipeline_call import call_arguments
from icsd.models.pipeline_kinds import ONE_AT_A_TIME
from icsd.models.prompt_tokenizer import MOST_TOKENS, sequence_length, widest

# pipelines that decode latents as `_decode` does
COMMON = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "PixArtAlphaPipeline", "PixArtSigmaPipeline")
DECODED_PIXELS = 4 * 512**2  # decoded at once: an autoencoder needs far more memory for a picture than the denoiser
Receive = Callable[[int, list[bytes]], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Denoised:
    """A batch whose PNG files are being encoded: the number of its first picture, its latents (or pictures)."""

    first: int
    made: Any
    finishing: "Future[None]"


@dataclass(frozen=True)
class ImageGenerator:
    """A pipeline, with the height and width of its pictures in pixels; None for the model's own.

    `parameters` are further arguments of its call. With `overlapped`, latents are decoded during the next batch.
    """

    pipeline: Any  # the class depends on the model
    size: tuple[int, int] | None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    overlapped: bool = False

    def draw(
        self,
        sentences: Sequence[str],
        seeds: Sequence[int],
        batch_size: int,
        receive: Receive,
        *,
        steps: int,
        guidance_scale: float | None,
        negative_prompt: str,
    ) -> None:
        """Pass the PNG files of each batch to `receive`, in order, with the number of the first, from another thread.

        Up to rounding, a picture does not depend on its batch. When memory runs out, this batch and all later ones
        have half the size. ModelError if the memory is too small for one picture, or the pipeline fails. ConfigError
        for a value that it does not take.
        """
        call = call_arguments(self.pipeline, self.size, steps, guidance_scale, negative_prompt, self.parameters)
        self._warn_of_long(sentences)
        start, before = 0, None
        size = 1 if type(self.pipeline).__name__ in ONE_AT_A_TIME else batch_size
        with ThreadPoolExecutor(max_workers=1) as thread:
            while start < len(sentences):
                batch = slice(start, min(start + size, len(sentences)))
                made = self._denoise(sentences[batch], seeds[batch], call)
                fitted = before is None or self._finished(before, receive)
                if made is None:
                    size = _halved(batch.stop - start, alone=before is None)
                    before = None
                    continue
                if not fitted:
                    size = _halved(size, alone=False)
                before = _Denoised(start, made, thread.submit(self._finish, start, made, receive))
                start = batch.stop
            if before:
                self._finished(before, receive)

    def _denoise(self, sentences: Sequence[str], seeds: Sequence[int], call: dict[str, Any]) -> Any:
        """Return latents, or pictures if the pipeline decodes in its call; None if memory runs out."""
        # generated on the CPU, so that the noise is the same on every device
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        output_type = "latent" if self.overlapped else "pil"
        if "negative_prompt" in call:
            call = call | {"negative_prompt": [call["negative_prompt"]] * len(sentences)}
        # a model is outside data: any error becomes a message with its name
        try:
            made = self.pipeline(prompt=list(sentences), generator=generators, output_type=output_type, **call)
        except torch.OutOfMemoryError:
            return None
        except Exception as error:
            problem = f"images.model: its {type(self.pipeline).__name__} fails to draw: {error}"
            raise ModelError(f"{problem}; change images.size or other keys of images, in config/config.yaml") from error
        return made.images if hasattr(made, "images") else made.image  # Kandinsky 5's name

    def _finished(self, batch: _Denoised, receive: Receive) -> bool:
        """Wait for the batch's files; return False if memory ran out, so that they were encoded again, alone."""
        try:
            batch.finishing.result()
            return True
        except torch.OutOfMemoryError:
            pass  # inside this block the error still holds its tensors
        _free()
        try:
            self._finish(batch.first, batch.made, receive)
        except torch.OutOfMemoryError as error:
            raise ModelError(_no_room("decode")) from error
        return False

    def _finish(self, first: int, made: Any, receive: Receive) -> None:
        pictures = self._decode(made) if isinstance(made, torch.Tensor) else made
        self._check_size(pictures[0])
        receive(first, [_png(picture) for picture in pictures])

    def _check_size(self, picture: Image.Image) -> None:
        """Raise ConfigError for a picture of another size than the requested: some pipelines round it."""
        if self.size and (picture.height, picture.width) != self.size:
            problem = f"a {type(self.pipeline).__name__} draws {picture.height} by {picture.width} pixels instead"
            raise ConfigError(f"images.size={list(self.size)}: {problem}; give that, in config/config.yaml")

    @torch.no_grad()
    def _decode(self, latents: torch.Tensor) -> list[Image.Image]:
        """Decode latents [n, channels, height, width] as the pipelines of COMMON do."""
        vae, processor = self.pipeline.vae, self.pipeline.image_processor
        latents = latents.to(vae.dtype) / vae.config.scaling_factor
        pixels = latents.shape[2] * latents.shape[3] * self.pipeline.vae_scale_factor**2
        parts = latents.split(max(1, DECODED_PIXELS // pixels))
        decoded = (processor.postprocess(vae.decode(part, return_dict=False)[0], output_type="pil") for part in parts)
        return [picture for part in decoded for picture in part]

    def _warn_of_long(self, sentences: Sequence[str]) -> None:
        parts = getattr(self.pipeline, "components", {})
        tokenizers = [part for name, part in parts.items() if name.startswith("tokenizer") and part is not None]
        length = sequence_length(type(self.pipeline), self.parameters.get("max_sequence_length"))
        counter = widest(tokenizers, length)
        if counter is None or counter.limit > MOST_TOKENS:
            return
        limit = counter.limit
        long = sum(count > limit for count in counter.count(sentences))
        if long:
            text = "%d of %d sentences are longer than the text encoder's %d tokens: their ends are not drawn"
            _log.warning(text, long, len(sentences), limit)


def load_image_generator(
    folder: Path,
    size: tuple[int, int] | None,
    *,
    dtype: str = "float32",
    scheduler: str = "dpmsolver++",
    compiled: bool = False,
    parameters: Mapping[str, Any] | None = None,
    loras: Sequence[Lora] = (),
    quantize: str = "none",
    offload: str = "none",
    untried: bool = False,
) -> ImageGenerator:
    """Load the pipeline in `folder` with `load_pipeline`, for pictures of `size` (height and width).

    With `compiled`, torch compiles the denoiser at the first batch. `parameters` are further arguments of the call.
    ConfigError for a `size` that the model cannot draw.
    """
    pipeline = load_pipeline(folder, dtype, scheduler, loras=loras, quantize=quantize, offload=offload, untried=untried)
    step = max(8, getattr(pipeline, "vae_scale_factor", 8))
    for side in size or ():
        if side % step:
            raise ConfigError(f"images.size={side} must be a multiple of {step}, in config/config.yaml")
    if _is_one_of(pipeline, ["StableDiffusionXLPipeline"]) and pipeline.vae.config.force_upcast and dtype == "float16":
        pipeline.vae.to(torch.float32)  # it overflows in float16; the pipeline's call would convert it too
    denoiser: Any = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    if _is_one_of(pipeline, COMMON) and pipeline.device.type == "cuda" and quantize == "none":
        denoiser.to(memory_format=torch.channels_last)  # the fast layout for convolutions in half precision
    if denoiser is not None and compiled:
        denoiser.compile()
    # with offload, decoding would move the denoiser off the GPU while it computes
    overlapped = offload == "none" and _decoded_here(pipeline)
    return ImageGenerator(pipeline, size, parameters or {}, overlapped)


def _decoded_here(pipeline: Any) -> bool:
    """Return whether latents are decoded during the next batch; other pipelines decode in their call."""
    if not _is_one_of(pipeline, COMMON):
        return False
    return pipeline.vae.config.latents_mean is None  # some autoencoders of SDXL scale each channel on its own


def _is_one_of(pipeline: Any, names: Sequence[str]) -> bool:
    """Compare the names of the pipeline's classes, so that no other class is imported."""
    return any(kind.__name__ in names for kind in type(pipeline).__mro__)


def _halved(size: int, *, alone: bool) -> int:
    """Return the next batch's size; ModelError if memory ran out for one picture alone."""
    if size == 1 and alone:
        raise ModelError(_no_room("draw"))
    _free()
    half = max(1, size // 2)
    if half == size:
        return size
    _log.warning("images: not enough memory for %d pictures at once; continuing with %d", size, half)
    return half


def _no_room(what: str) -> str:
    way_out = "give a smaller images.size, dtype float16 on a GPU or a smaller model, in config/config.yaml"
    return f"images: not enough memory to {what} one picture; {way_out}"


def _free() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    on_white(picture).save(buffer, format="PNG")
    return buffer.getvalue()
