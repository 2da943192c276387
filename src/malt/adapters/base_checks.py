"""What a base must be like for an adapter to be put on it, and to work on it: each refusal is a sentence."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from malt.adapters.adapter import MemoryAdapter
from malt.adapters.base_hooks import hooks_of
from malt.adapters.family import Family
from malt.adapters.memory_pass import Blocks
from malt.errors import UsageError


def check_fit(base: Any, adapter: MemoryAdapter, family: Family) -> None:
    """Refuse an adapter that was made for other sizes or another family, and a second one.

    Raises:
        UsageError: where the two do not fit.
    """
    count = sum(len(getattr(base, name)) for name in family.lists)
    if any(isinstance(getattr(base, name), Blocks) for name in family.lists):
        raise UsageError("this base has an adapter already; detach it first")
    if adapter.config.read == "beside" and not family.reads_beside(base):
        raise UsageError(
            "the self-attention of this base cannot read a memory beside its own keys; read it behind the blocks"
        )
    made_for = (adapter.config.family, adapter.config.width, adapter.config.num_layers)
    if made_for != (family.name, family.width(base), count):
        raise UsageError(
            f"the adapter was made for {made_for[2]} layers of {made_for[1]} channels of the family {made_for[0]}, "
            f"the base has {count} of {family.width(base)} of the family {family.name}; use the base it was trained on"
        )


def check_ready(modules: Iterable[nn.Module], attentions: Iterable[tuple[nn.Module, Any]]) -> None:
    """Refuse to compute where what is remembered would not be read, or results of another segment be given back.

    Args:
        modules: of a base with an adapter on it.
        attentions: its self-attentions, and the processors that the adapter gave them.

    Raises:
        UsageError: where attention processors were changed, attention is split over GPUs, or a cache is on.
    """
    for attention, processor in attentions:
        if attention.processor is not processor:
            raise UsageError(
                "the attention processors of this base were changed; set them first, then attach the adapter"
            )
        if getattr(processor, "_parallel_config", None) is not None:
            raise UsageError("a base with a memory cannot be split over its tokens; use FSDP or offloading instead")
    if any(hook._is_stateful for registry in hooks_of(modules) for hook in registry.hooks.values()):
        raise UsageError("a cache between steps would hide what is remembered; call disable_cache() on the base")
