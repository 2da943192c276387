"""What diffusers hooked onto a base, and what it computes in: asked in every pass, and so without a walk over all modules."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn


def hooks_of(modules: Iterable[nn.Module]) -> Iterator[Any]:
    """The hooks that diffusers has put on modules."""
    for module in modules:
        if (registry := vars(module).get("_diffusers_hook")) is not None:
            yield registry


def compute_dtype(base: Any, modules: Iterable[nn.Module]) -> torch.dtype:
    """What `base.dtype` says, found at the first weight that tells it.

    Args:
        base: a transformer of diffusers.
        modules: its own, where hooks may be.
    """
    dtype: torch.dtype | None = None
    if next(hooks_of(modules), None) is None:
        finer = base._keep_in_fp32_modules or ()
        weights = ((name, weight) for name, weight in base.named_parameters() if weight.is_floating_point())
        dtype = next((weight.dtype for name, weight in weights if not any(part in name for part in finer)), None)
    if dtype is None:
        dtype = base.dtype
    return dtype
