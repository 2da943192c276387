"""A LoRA on a frozen base that learns along with the memory: how a base of one noise level a video learns one a frame."""

import re
from collections.abc import Sequence
from typing import Any

from malt.adapters.family import Family
from malt.errors import UsageError

NAME = "malt"  # of our LoRA among those of a base


def add_lora(base: Any, family: Family, rank: int, targets: Sequence[str], every: int = 1) -> None:
    """Put a LoRA (arXiv:2106.09685) that changes nothing yet on a base, beside those that it has; its scale is 1.

    Args:
        base: a transformer of the library.
        family: its family, which knows the names of its layers.
        rank: of the LoRA.
        targets: what it changes, of the family's names.
        every: every how many blocks one has it.

    Raises:
        UsageError: for a target that the family does not have, a base that takes no LoRA, or where PEFT is not installed.
    """
    config = _config(family, rank, targets, _blocks(base, family, every))
    if not hasattr(base, "add_adapter"):
        raise UsageError(f"{type(base).__name__} takes no LoRA; give the adapter a lora_rank of 0")
    others = lora_names(base)
    base.add_adapter(config, adapter_name=NAME)
    _activate(base, others)


def keep_active(base: Any) -> None:
    """Let ours work beside a LoRA that was loaded after it, which PEFT would let work alone."""
    if NAME in lora_names(base) and NAME not in (active := _active(base)):
        _activate(base, active)


def remove_lora(base: Any) -> None:
    """Take it off again; where there are no others, the base's layers are those that it was made with."""
    if NAME not in lora_names(base):
        return
    if lora_names(base) == [NAME]:
        base.unload_lora()
    else:
        base.delete_adapters(NAME)


def lora_names(base: Any) -> list[str]:
    """Names of the LoRAs on a base."""
    return list(getattr(base, "peft_config", {}))


def _active(base: Any) -> list[str]:
    """As `base.active_adapters()`, which looks up the version of PEFT each time."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return next((list(layer.active_adapters) for layer in base.modules() if isinstance(layer, BaseTunerLayer)), [])


def _activate(base: Any, others: Sequence[str]) -> None:
    """Let ours work beside others, and be the only one that learns."""
    base.set_adapter([*others, NAME])
    for name, parameter in base.named_parameters():
        if ".lora_" in name:
            parameter.requires_grad_(f".{NAME}." in name)


def _blocks(base: Any, family: Family, every: int) -> list[str]:
    """Names of every so many blocks, counted through all lists as the adapter's layers are."""
    names = [rf"{name}\.{index}" for name in family.lists for index in range(len(getattr(base, name)))]
    return names[every - 1 :: every]


def _config(family: Family, rank: int, targets: Sequence[str], blocks: Sequence[str]) -> Any:
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UsageError("a LoRA needs PEFT; run pip install 'malt-diffusion[lora]'") from error
    if unknown := set(targets) - family.lora.keys():
        raise UsageError(f"there is no LoRA on {min(unknown)}; choose of {', '.join(family.lora)}")
    linears = "|".join(re.escape(linear) for target in targets for linear in family.lora[target])
    within = "|".join(blocks)  # and not what else a base calls its attention
    return LoraConfig(r=rank, lora_alpha=rank, target_modules=rf"({within})\.({linears})")
