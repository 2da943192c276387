"""The precision that a device computes fast in: bfloat16 where it has units for it, float32 everywhere else."""

from pathlib import Path

import torch

PRECISIONS = ("auto", "float32", "bfloat16")
CPU_UNITS = {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16"}  # x86, then ARM; as PyTorch and as Linux names them
CPU_INFO = Path("/proc/cpuinfo")


def has_bfloat16(device: torch.device | str) -> bool:
    """Whether products in bfloat16 are fast on a device.

    A processor without units for them computes them number by number, a hundred times slower than in float32. It is
    asked for its units rather than timed, so that a machine chooses the same whatever else runs on it.
    """
    kind = torch.device(device).type
    if kind == "cpu":
        return torch.backends.mkldnn.is_available() and not CPU_UNITS.isdisjoint(cpu_features())
    return kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def choose_precision(name: str, device: torch.device | str) -> torch.dtype:
    """The type of number that a precision stands for on a device; "auto" is the fast one.

    Raises:
        ValueError: there is no such precision.
    """
    check_precision(name)
    if name == "auto":
        return torch.bfloat16 if has_bfloat16(device) else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def describe_precision(dtype: torch.dtype, device: torch.device | str) -> str:
    """What is computed in and how well it suits the device, in a few words."""
    name, place = str(dtype).removeprefix("torch."), torch.device(device).type
    if has_bfloat16(device):
        return f"{name}; this {place} has bfloat16 units"
    if dtype == torch.float32:
        return f"{name}; this {place} has no bfloat16 units"
    return f"{name}, which is slow: this {place} has no bfloat16 units; --precision float32 is many times faster"


def check_precision(name: str) -> None:
    """Refuse a name that stands for no precision.

    Raises:
        ValueError: there is no such precision.
    """
    if name not in PRECISIONS:
        raise ValueError(f"precision is {name!r}; choose auto, float32 or bfloat16")


def cpu_features() -> frozenset[str]:
    """What the processor can do, as PyTorch says it, or else the kernel of a Linux machine."""
    ask = getattr(torch.cpu, "get_capabilities", None)  # since PyTorch 2.11
    if ask is not None:
        return frozenset(name for name, there in ask().items() if there is True)
    return frozenset(CPU_INFO.read_text().split()) if CPU_INFO.exists() else frozenset()
