"""LoRA weights: low-rank changes of a pipeline's weights, in a safetensors file of its own."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icsd.core.errors import ConfigError, ModelError
from icsd.models.model_folder import model_folder

SETTING = "images.lora"
FILES = ("*.safetensors",)


@dataclass(frozen=True)
class Lora:
    """A safetensors file of LoRA weights, and the factor of its change of the model."""

    file: Path
    scale: float


def find_lora(model: str, file: str | None, scale: float) -> Lora:
    """Return the LoRA weights `model`: a safetensors file, or the `file` in a folder or a downloaded repository.

    Without `file`, the folder has one safetensors file. ModelError if there is no such file.
    """
    if Path(model).is_file():
        return Lora(_safetensors(Path(model)), scale)
    folder = model_folder(SETTING, model, FILES)
    if file is not None:
        if not (folder / file).is_file():
            raise ModelError(f"{SETTING}: {folder} holds no file {file}; mend file, in config/config.yaml")
        return Lora(_safetensors(folder / file), scale)
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        shown = ", ".join(path.name for path in found[:8]) or "none"
        problem = f"{folder} holds {len(found)} safetensors files ({shown})"
        raise ModelError(f"{SETTING}: {problem}; name one as file, in config/config.yaml")
    return Lora(found[0], scale)


def load_loras(pipeline: Any, loras: Sequence[Lora]) -> None:
    """Add the changes of all `loras`, each by its scale, to the pipeline.

    ConfigError if the pipeline takes none, ModelError if a file has none for this model.
    """
    if not loras:
        return
    kind = type(pipeline).__name__
    if not hasattr(pipeline, "load_lora_weights"):
        raise ConfigError(f"{SETTING} cannot be used: a {kind} takes no LoRA weights; give [], in config/config.yaml")
    names = [f"lora_{number}" for number in range(len(loras))]
    for name, lora in zip(names, loras, strict=True):
        # a model file is outside data: any error becomes a message with its name
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config` attribute")  # of the one before
                pipeline.load_lora_weights(
                    lora.file.parent, weight_name=lora.file.name, adapter_name=name, local_files_only=True,
                    use_safetensors=True,
                )  # fmt: skip
        except Exception as error:
            raise ModelError(_unfit(lora, kind, str(error))) from error
        if not any(name in found for found in pipeline.get_list_adapters().values()):
            raise ModelError(_unfit(lora, kind, "no name of a weight in it is one of the model"))
    pipeline.set_adapters(names, adapter_weights=[lora.scale for lora in loras])


def _unfit(lora: Lora, kind: str, reason: str) -> str:
    problem = f"{SETTING}: {lora.file} is no LoRA of this {kind}: {reason}"
    return f"{problem}; give one that was trained on images.model, in config/config.yaml"


def _safetensors(path: Path) -> Path:
    if path.suffix != ".safetensors":
        raise ModelError(f"{SETTING}: {path} is no safetensors file: give one, in config/config.yaml")
    return path
