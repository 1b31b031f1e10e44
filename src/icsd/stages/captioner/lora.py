"""Low-rank adapters of a model's linear layers, trained in place of its weights (LoRA, Hu et al. 2021)."""

import warnings
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from icsd.config.captioner import CaptionerLoraConfig
from icsd.core.errors import ConfigError

SHOWN = 12  # names of layers in an error


def add_adapters(model: Any, rank: int, lora: CaptionerLoraConfig) -> PeftModel:
    """Put adapters of this rank, in float32, into `model`, and return peft's view of it; its own weights stay.

    The adapters of image encoder and language model are drawn from torch's generator, and change nothing at first.
    A layer that shares its weight with an embedding gets none. ConfigError for targets that the model lacks.
    """
    names = linear_layers(model)
    if lora.targets is not None:
        kinds = {name.rpartition(".")[2] for name in names}
        if unknown := sorted({*lora.targets} - kinds):
            shown = ", ".join(sorted(kinds)[:SHOWN])
            problem = f"captioner.lora.targets={lora.targets}: {type(model).__name__} has no linear layer {unknown[0]}"
            raise ConfigError(f"{problem}; it has {shown}, in config/config.yaml")
        names = [name for name in names if name.rpartition(".")[2] in lora.targets]
    config = LoraConfig(r=rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it asks transformers by a name that is about to change
        return get_peft_model(model, config)


def linear_layers(model: torch.nn.Module) -> list[str]:
    """The names of the linear layers, without the output layer and those that share a weight with an embedding."""
    embeddings = {module.weight.data_ptr() for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    output = getattr(model, "get_output_embeddings", lambda: None)()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not output and module.weight.data_ptr() not in embeddings
    ]
