"""Where a model computes, and in which numbers."""

import logging

import torch

from icsd.core.errors import ConfigError


def has_bfloat16(device_type: str) -> bool:
    """Does the device have units for bfloat16? A processor without them emulates it, ten times slower than float32."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


_log = logging.getLogger(__name__)


def torch_device(setting: str, name: str) -> torch.device:
    """The device `cpu`, `cuda` or `auto`, a GPU where there is one.

    ConfigError, naming the config's `setting`, for a GPU that is not there.
    """
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        way_out = "let the job have a GPU, or set auto or cpu, in config/config.yaml"
        raise ConfigError(f"{setting}=cuda: PyTorch finds no GPU here ({_why_no_gpu()}); {way_out}")
    return torch.device("cuda" if name != "cpu" and found else "cpu")


def _why_no_gpu() -> str:
    if torch.version.cuda is None:
        return "it was built without CUDA"
    return "no driver or no device is visible"


def torch_dtype(setting: str, name: str, device: torch.device) -> torch.dtype:
    """The type of that name; `auto` is bfloat16 where the device has units for it, else float32."""
    units = has_bfloat16(device.type)
    if name == "auto":
        return torch.bfloat16 if units else torch.float32
    if name == "bfloat16" and not units:
        _log.warning("%s=bfloat16: %s has no units for it and emulates it, which is slow", setting, device.type)
    return {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}[name]
