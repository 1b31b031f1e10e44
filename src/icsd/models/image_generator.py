"""Sentences to pictures by a pipeline of diffusers, the PNG files of one batch made while the next is denoised."""

import inspect
import io
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from icsd.core.errors import ConfigError, ModelError
from icsd.models.image_pipeline import COMMON, load_pipeline, takes

DECODED_PIXELS = 4 * 512**2  # at once: an autoencoder takes far more memory a picture than the denoiser
# of pipelines that have them: the sentence is drawn as it is, at the size that was asked for
ARGUMENTS = {"clean_caption": False, "use_resolution_binning": False}
MOST_TOKENS = 10_000  # transformers gives a tokenizer that names no limit one of 10^30
Receive = Callable[[int, list[bytes]], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Denoised:
    """A batch whose PNG files are being made: the number of its first picture, its latents (or pictures)."""

    first: int
    made: Any
    finishing: "Future[None]"


@dataclass(frozen=True)
class ImageGenerator:
    """A pipeline, and height and width of its pictures in pixels (None: the model's)."""

    pipeline: Any  # of whatever class the model has
    size: tuple[int, int] | None

    def draw(
        self,
        sentences: Sequence[str],
        seeds: Sequence[int],
        batch_size: int,
        receive: Receive,
        *,
        steps: int,
        guidance_scale: float,
        negative_prompt: str,
    ) -> None:
        """Hand each batch's PNG files to `receive`, in order, with the number of the first, from another thread.

        Up to rounding the pictures are the same in any batch. Where memory runs out, the batch is halved for all
        that follow; ModelError where it holds not even one picture.
        """
        self._warn_of_long(sentences)
        call = {"num_inference_steps": steps, "guidance_scale": guidance_scale, **self._arguments(negative_prompt)}
        start, size, before = 0, batch_size, None
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

    def _arguments(self, negative_prompt: str) -> dict[str, Any]:
        """What a call needs beside the sentences. An empty `negative_prompt` is the pipeline's own default."""
        call: dict[str, Any] = {name: value for name, value in ARGUMENTS.items() if takes(self.pipeline, name)}
        if self.size:
            call |= {"height": self.size[0], "width": self.size[1]}
        if negative_prompt:
            if not takes(self.pipeline, "negative_prompt"):
                problem = f"cannot be used: a {type(self.pipeline).__name__} takes none"
                raise ConfigError(f'images.negative_prompt {problem}; give "", in config/config.yaml')
            call |= {"negative_prompt": negative_prompt}
        return call

    def _denoise(self, sentences: Sequence[str], seeds: Sequence[int], call: dict[str, Any]) -> Any:
        """Latents of the pictures, or the pictures where the pipeline decodes; None if memory runs out."""
        # on the CPU: the same noise on every device
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        output_type = "latent" if _decoded_here(self.pipeline) else "pil"
        if "negative_prompt" in call:
            call = call | {"negative_prompt": [call["negative_prompt"]] * len(sentences)}
        try:
            return self.pipeline(list(sentences), generator=generators, output_type=output_type, **call).images
        except torch.OutOfMemoryError:
            return None

    def _finished(self, batch: _Denoised, receive: Receive) -> bool:
        """Wait until the batch's files are made. False if memory ran out, and they were made with nothing beside."""
        try:
            batch.finishing.result()
            return True
        except torch.OutOfMemoryError:
            pass  # here the error still holds what it was computing with
        _free()
        try:
            self._finish(batch.first, batch.made, receive)
        except torch.OutOfMemoryError as error:
            raise ModelError(_no_room("decode")) from error
        return False

    def _finish(self, first: int, made: Any, receive: Receive) -> None:
        pictures = self._decode(made) if isinstance(made, torch.Tensor) else made
        receive(first, [_png(picture) for picture in pictures])

    @torch.no_grad()
    def _decode(self, latents: torch.Tensor) -> list[Image.Image]:
        """The pictures of latents [n, channels, height, width], as the pipelines of COMMON do it."""
        vae, processor = self.pipeline.vae, self.pipeline.image_processor
        latents = latents.to(vae.dtype) / vae.config.scaling_factor
        pixels = latents.shape[2] * latents.shape[3] * self.pipeline.vae_scale_factor**2
        parts = latents.split(max(1, DECODED_PIXELS // pixels))
        decoded = (processor.postprocess(vae.decode(part, return_dict=False)[0], output_type="pil") for part in parts)
        return [picture for part in decoded for picture in part]

    def _warn_of_long(self, sentences: Sequence[str]) -> None:
        tokenizer, limit = getattr(self.pipeline, "tokenizer", None), _token_limit(self.pipeline)
        if tokenizer is None or limit > MOST_TOKENS:
            return
        tokens = tokenizer(list(sentences), truncation=False, verbose=False)["input_ids"]
        long = sum(len(ids) > limit for ids in tokens)
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
) -> ImageGenerator:
    """The pipeline in `folder` as load_pipeline gives it, to draw pictures of `size` (height and width).

    ConfigError for a `size` that the model cannot draw. With `compiled` torch compiles the denoiser at the first batch.
    """
    pipeline = load_pipeline(folder, dtype, scheduler)
    step = max(8, getattr(pipeline, "vae_scale_factor", 8))
    for side in size or ():
        if side % step:
            raise ConfigError(f"images.size={side} must be a multiple of {step}, in config/config.yaml")
    if _is_one_of(pipeline, ["StableDiffusionXLPipeline"]) and pipeline.vae.config.force_upcast and dtype == "float16":
        pipeline.vae.to(torch.float32)  # its numbers pass what float16 holds; the pipeline's own call would do it too
    denoiser = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    if denoiser is not None and pipeline.device.type == "cuda":
        denoiser.to(memory_format=torch.channels_last)  # as convolutions of half precision want it there
    if denoiser is not None and compiled:
        denoiser.compile()
    return ImageGenerator(pipeline, size)


def _decoded_here(pipeline: Any) -> bool:
    """Whether latents are decoded after the call, beside the next batch; other pipelines decode in their call."""
    if not _is_one_of(pipeline, COMMON):
        return False
    return pipeline.vae.config.latents_mean is None  # some autoencoders of SDXL scale each channel by itself


def _is_one_of(pipeline: Any, names: Sequence[str]) -> bool:
    """`isinstance` by the names of classes, so that those that the model has not are not imported."""
    return any(kind.__name__ in names for kind in type(pipeline).__mro__)


def _halved(size: int, *, alone: bool) -> int:
    """The next batch's size. ModelError where one picture with nothing beside it had no room."""
    if size == 1 and alone:
        raise ModelError(_no_room("draw"))
    _free()
    half = max(1, size // 2)
    if half == size:
        return size
    _log.warning("images: no memory for %d pictures at once; going on with %d", size, half)
    return half


def _no_room(what: str) -> str:
    way_out = "give a smaller images.size, dtype float16 on a GPU or a smaller model, in config/config.yaml"
    return f"images: there is not the memory to {what} one picture; {way_out}"


def _free() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _token_limit(pipeline: Any) -> int:
    """How many tokens of a sentence are read: by the tokenizer, or by the call where it has a limit of its own."""
    argument = inspect.signature(type(pipeline).__call__).parameters.get("max_sequence_length")
    limit = getattr(getattr(pipeline, "tokenizer", None), "model_max_length", MOST_TOKENS + 1)
    return min(limit, argument.default) if argument and isinstance(argument.default, int) else limit


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
