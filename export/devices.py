"""Where training computes, and how precisely."""

import torch

from sightline.runtime.errors import InputError

AUTO, FLOAT32, BFLOAT16, FLOAT16 = "auto", "off", "bfloat16", "float16"
# What `--amp` takes: matrix work in half as many bits where it may be, or not.
AMP = (AUTO, BFLOAT16, FLOAT16, FLOAT32)
_TYPES = {FLOAT32: torch.float32, BFLOAT16: torch.bfloat16, FLOAT16: torch.float16}


def choose_device(amp: str = AUTO) -> tuple[torch.device, torch.dtype]:
    """Choose where training runs, and with "auto" bfloat16 where the processor multiplies it in hardware.

    Asked of the processor and not timed, so that a repeated run takes the same path. On a two-core machine
    with AMX a MobileNetV2 step at 192 px took 0.6 of the float32 time; see docs/training.md for accuracies.

    Args:
        amp: One of `AMP`. A GPU without bfloat16 takes float16 of itself; a CPU never does.

    Raises:
        InputError: `amp` is none of them, or float16 was asked for without a GPU.
    """
    if amp not in AMP:
        raise InputError(f"unknown precision '{amp}': choose one of {', '.join(AMP)}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if amp == FLOAT16 and device.type != "cuda":
        raise InputError("float16 trains on a GPU only and none is here: choose --amp auto or bfloat16")
    if amp != AUTO:
        return device, _TYPES[amp]
    if device.type == "cuda":
        return device, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    able = torch.cpu.get_capabilities()
    return device, torch.bfloat16 if able.get("amx_bf16") or able.get("avx512_bf16") else torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Give the context in which matrix work runs at `precision`."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)
