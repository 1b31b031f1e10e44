"""Classes of diffusers: which of them draw an image from a sentence alone."""

import inspect
import re
from typing import Any

import diffusers

NEEDED = ("prompt", "num_inference_steps", "height", "width", "generator", "output_type")  # of a call
_PICTURES = re.compile(r"(control_|mask_|ref_|source_)?(image|images|mask)")
_NO_IMAGES = re.compile(r"num_frames|num_videos_per_prompt|(\w+_)?video(_\w+)?|audio_\w+")
# their calls take images too, and draw without one
IMAGE_OPTIONAL = (
    "DreamLiteMobilePipeline", "DreamLitePipeline", "Flux2KleinKVPipeline", "Flux2KleinPipeline", "Flux2Pipeline",
    "FluxKontextPipeline", "GlmImagePipeline", "QwenImage21Pipeline", "ZImageOmniPipeline",
)  # fmt: skip
# drawn from folders of random weights by tests/unit/models/test_pipeline_classes.py; others only with images.untried
DRAWN = (
    "AuraFlowPipeline", "BriaPipeline", "ChromaPipeline", "CogView3PlusPipeline", "CogView4Pipeline",
    "ErnieImagePipeline", "Flux2KleinKVPipeline", "Flux2KleinPipeline", "Flux2Pipeline", "FluxKontextPipeline",
    "FluxPipeline", "HiDreamImagePipeline", "HunyuanDiTPAGPipeline", "HunyuanDiTPipeline", "HunyuanImagePipeline",
    "IFPipeline", "Kandinsky3Pipeline", "Kandinsky5T2IPipeline", "KandinskyCombinedPipeline",
    "KandinskyV22CombinedPipeline", "Krea2Pipeline", "LDMTextToImagePipeline", "LatentConsistencyModelPipeline",
    "LongCatImagePipeline", "Lumina2Pipeline", "LuminaPipeline", "NucleusMoEImagePipeline", "OmniGenPipeline",
    "OvisImagePipeline", "PRXPipeline", "PRXPixelPipeline", "PixArtAlphaPipeline", "PixArtSigmaPAGPipeline",
    "PixArtSigmaPipeline", "QwenImage21Pipeline", "QwenImagePipeline", "SanaPAGPipeline", "SanaPipeline",
    "SanaSprintPipeline", "StableDiffusion3PAGPipeline", "StableDiffusion3Pipeline", "StableDiffusionPAGPipeline",
    "StableDiffusionPipeline", "StableDiffusionXLPAGPipeline", "StableDiffusionXLPipeline", "StableUnCLIPPipeline",
    "ZImageOmniPipeline", "ZImagePipeline",
)  # fmt: skip
# drawn one by one: CogView 4, Kandinsky 5 and OmniGen pad sentences to the longest of a batch, PRX's call fails for
# two, and GLM-Image draws the tokens of all with the first seed
ONE_AT_A_TIME = (
    "CogView4Pipeline", "GlmImagePipeline", "Kandinsky5T2IPipeline", "OmniGenPipeline", "PRXPipeline",
    "PRXPixelPipeline",
)  # fmt: skip


def pipeline_class(name: str) -> Any:
    """Return diffusers' pipeline class of that name; None if it has none."""
    found = getattr(diffusers, name, None) if name.isidentifier() else None
    if not isinstance(found, type) or not name.endswith("Pipeline"):
        return None
    return found if callable(getattr(found, "from_pretrained", None)) and found.__name__ == name else None


def refusal(kind: Any) -> str | None:
    """Return why the pipeline class `kind` does not draw an image from a sentence alone; None if its call does."""
    if missing := getattr(kind, "_backends", None):  # diffusers' stand-in for a class whose packages are missing
        return f"needs the packages {', '.join(missing)}, of which at least one is not installed"
    if ".deprecated." in kind.__module__ or hasattr(kind, "_last_supported_version"):
        return "is deprecated: diffusers does not maintain it"
    if not any("__call__" in vars(base) for base in kind.__mro__):
        return "cannot be called"
    arguments = inspect.signature(kind.__call__).parameters
    if found := [name for name in arguments if _NO_IMAGES.fullmatch(name)]:
        return f"makes video or sound: its call takes {found[0]}"
    required = [name for name, each in arguments.items() if _is_required(each) and name not in ("self", "prompt")]
    if required:
        return f"needs more than a sentence: its call needs {', '.join(required)}"
    pictures = [name for name in arguments if _PICTURES.fullmatch(name)]
    if pictures and kind.__name__ not in IMAGE_OPTIONAL:
        return f"draws from an image: its call takes {', '.join(pictures)}"
    if kind.__name__.endswith("PriorPipeline"):
        return "is the first half of another pipeline: it makes embeddings, no images"
    if absent := [name for name in NEEDED if name not in arguments]:
        return f"cannot be steered: its call takes no {', '.join(absent)}"
    return None


def accepts(pipeline: Any, argument: str) -> bool:
    """Return whether the pipeline's call has an argument of that name."""
    return argument in inspect.signature(type(pipeline).__call__).parameters


def default_of(kind: Any, argument: str) -> Any:
    """Return the default of an argument of the call of a pipeline class; None without the argument."""
    found = inspect.signature(kind.__call__).parameters.get(argument)
    return found.default if found and found.default is not found.empty else None


def _is_required(argument: inspect.Parameter) -> bool:
    various = argument.kind in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL)
    return argument.default is argument.empty and not various
