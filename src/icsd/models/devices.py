"""The device and the number type of a computation."""

import logging

import torch

from icsd.core.errors import ConfigError

_log = logging.getLogger(__name__)


def has_bfloat16(device_type: str) -> bool:
    """Return whether the device has units for bfloat16; a CPU without them is ten times slower than in float32."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def torch_device(setting: str, name: str) -> torch.device:
    """Return the device `cpu`, `cuda` or `auto`, which is a GPU if there is one.

    ConfigError, naming the config's `setting`, for a GPU that is not there.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        way_out = "give the job a GPU, or set auto or cpu, in config/config.yaml"
        raise ConfigError(f"{setting}=cuda: PyTorch finds no GPU here ({_why_no_gpu()}); {way_out}")
    return torch.device("cuda" if name != "cpu" and available else "cpu")


def _why_no_gpu() -> str:
    if torch.version.cuda is None:
        return "it was built without CUDA"
    return "no driver or no device is visible"


def torch_dtype(setting: str, name: str, device: torch.device) -> torch.dtype:
    """Return the type of that name; `auto` is bfloat16 where the device has units for it, else float32."""
    units = has_bfloat16(device.type)
    if name == "auto":
        return torch.bfloat16 if units else torch.float32
    if name == "bfloat16" and not units:
        _log.warning("%s=bfloat16: %s has no units for it and emulates it, which is slow", setting, device.type)
    return {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}[name]
