"""GPUs that a plan can name: how much memory each has, and how fast it multiplies."""

from dataclasses import dataclass
from difflib import get_close_matches

from malt.errors import UsageError

ASSUMED_UTILISATION = 0.35  # of the peak: what well-fed training of transformers of some hundred millions reaches


@dataclass(frozen=True)
class Gpu:
    """memory: bytes. peak: floating point operations a second of dense bfloat16 products, by the maker's data sheet."""

    name: str
    memory: int
    peak: float


def _gpu(name: str, gibibytes: int, teraflops: float) -> Gpu:
    return Gpu(name, gibibytes * 2**30, teraflops * 1e12)


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("3090", 24, 71),
        _gpu("4090", 24, 165),
        _gpu("5090", 32, 210),
        _gpu("l4", 24, 121),
        _gpu("l40s", 48, 362),
        _gpu("a100-40", 40, 312),
        _gpu("a100", 80, 312),
        _gpu("h100", 80, 989),
        _gpu("h200", 141, 989),
        _gpu("b200", 180, 2250),
        _gpu("mi300x", 192, 1307),
    )
}


@dataclass(frozen=True)
class Gpus:
    """So many GPUs of a kind."""

    gpu: Gpu
    count: int = 1

    def __str__(self) -> str:
        """As a person says it."""
        return f"{self.count} x {self.gpu.name}"

    def seconds(self, flops: float) -> float:
        """How long so many operations take at the assumed utilisation."""
        return flops / (self.count * self.gpu.peak * ASSUMED_UTILISATION)


def parse_gpus(words: str) -> Gpus:
    """GPUs as they are typed: `h100`, or `h100:8` for eight of them.

    Raises:
        UsageError: there is no such GPU in the table, or less than one of it.
    """
    name, _, count = words.lower().partition(":")
    if name not in GPUS:
        near = get_close_matches(name, GPUS, n=1, cutoff=0.4)
        meant = f", did you mean {near[0]!r}" if near else ""
        raise UsageError(f"there is no GPU {name!r} in the table{meant}; choose one of {', '.join(GPUS)}")
    if count and not (count.isdecimal() and int(count) > 0):
        raise UsageError(f"--gpus cannot be {words!r}; give a GPU and how many of it, as h100:8")
    return Gpus(GPUS[name], int(count or 1))
