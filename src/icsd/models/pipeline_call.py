"""Arguments of a pipeline's call: the config's, where the pipeline takes them, and a message where it does not."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from icsd.core.errors import ConfigError
from icsd.models.pipeline_kinds import accepts, default_of

# passed to pipelines that have them, so that the sentence stays as it is and the size is the requested one
FIXED = {"clean_caption": False, "use_resolution_binning": False, "use_pe": False, "enable_prompt_rewrite": False}
# of the call, set by other keys of the config or by the stage
OWN = (
    "prompt", "negative_prompt", "num_inference_steps", "guidance_scale", "height", "width", "generator",
    "output_type", "return_dict", "num_images_per_prompt", "latents",
)  # fmt: skip
WAY_OUT = "in config/config.yaml"


def call_arguments(
    pipeline: Any,
    size: Sequence[int] | None,
    steps: int,
    guidance_scale: float | None,
    negative_prompt: str,
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the arguments of a call besides sentences and seeds.

    An empty `negative_prompt` and a `guidance_scale` of None are the pipeline's own. ConfigError for a value that the
    pipeline does not take, or does not use.
    """
    call: dict[str, Any] = {name: value for name, value in FIXED.items() if accepts(pipeline, name)}
    call["num_inference_steps"] = steps
    if size:
        call |= {"height": size[0], "width": size[1]}
        if accepts(pipeline, "max_area"):  # Flux Kontext scales each size to this area
            call["max_area"] = size[0] * size[1]
    call |= _checked(pipeline, parameters)
    if guidance_scale is not None:
        _check_guidance(pipeline, guidance_scale)
        call["guidance_scale"] = guidance_scale
    if negative_prompt:
        _check_negative(pipeline, call)
        call["negative_prompt"] = negative_prompt
    return call


def _checked(pipeline: Any, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters; ConfigError for one that the call does not have, or that has a key of its own."""
    for name in parameters:
        if name in OWN:
            raise ConfigError(f"images.parameters has {name}, which the stage sets; take it out, {WAY_OUT}")
        if not accepts(pipeline, name):
            problem = f"has {name}, which a {_name(pipeline)} does not take"
            raise ConfigError(f"images.parameters {problem}; it takes {_taken(pipeline)}; mend it, {WAY_OUT}")
    return parameters


def _taken(pipeline: Any) -> str:
    """List the arguments of the call that have a plain default."""
    arguments = inspect.signature(type(pipeline).__call__).parameters.values()
    plain = [each.name for each in arguments if isinstance(each.default, bool | int | float | str)]
    return ", ".join(name for name in plain if name not in OWN) or "none"


def _check_guidance(pipeline: Any, guidance_scale: float) -> None:
    """Raise ConfigError if the pipeline takes no guidance scale, or ignores the one of this model."""
    problem, way_out = "", "give null"
    if not accepts(pipeline, "guidance_scale"):
        problem = f"a {_name(pipeline)} takes none"
        others = [name for name in inspect.signature(type(pipeline).__call__).parameters if name.endswith("_scale")]
        way_out += f", and {others[0]} in images.parameters if need be" if others else ""
    elif guidance_scale > 1 and accepts(pipeline, "true_cfg_scale") and not _reads_guidance(pipeline):
        problem = f"this {_name(pipeline)} ignores it, since its model was not trained with one"
        way_out += ", and true_cfg_scale in images.parameters if need be"
    if problem:
        raise ConfigError(f"images.guidance_scale={guidance_scale:g} cannot be used: {problem}; {way_out}, {WAY_OUT}")


def _reads_guidance(pipeline: Any) -> bool:
    """Return whether the denoiser gets the scale as an input, beside the `true_cfg_scale` of such pipelines."""
    return bool(getattr(pipeline.transformer.config, "guidance_embeds", False))


def _check_negative(pipeline: Any, call: Mapping[str, Any]) -> None:
    """Raise ConfigError if the pipeline takes no negative prompt, or does not use it without guidance."""
    if not accepts(pipeline, "negative_prompt"):
        problem = f"cannot be used: a {_name(pipeline)} takes none"
        raise ConfigError(f'images.negative_prompt {problem}; give "", {WAY_OUT}')
    name = "true_cfg_scale" if accepts(pipeline, "true_cfg_scale") else "guidance_scale"
    scale = call.get(name, default_of(type(pipeline), name))
    if isinstance(scale, int | float) and scale <= 1:
        key = f"images.parameters.{name}" if name == "true_cfg_scale" else "images.guidance_scale"
        problem = f"is not used: {key} is {scale:g}, and only guidance above 1 reads it"
        raise ConfigError(f'images.negative_prompt {problem}; give a larger scale, or "", {WAY_OUT}')


def _name(pipeline: Any) -> str:
    return type(pipeline).__name__
