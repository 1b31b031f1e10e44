"""Which numbers a device computes with at full speed."""

import torch


def has_bfloat16(device_type: str) -> bool:
    """Does the device have units for bfloat16? A processor without them emulates it, ten times slower than float32."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
