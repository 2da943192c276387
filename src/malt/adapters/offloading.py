"""Whether a base keeps its weights elsewhere until it computes."""

from torch import nn

from malt.adapters.base_hooks import hooks_of
from malt.errors import UsageError


def check_here(base: nn.Module) -> None:
    """Refuse to read the weights of a base that keeps them elsewhere until it computes.

    Raises:
        UsageError: for an offloaded base.
    """
    if is_offloaded(base):
        raise UsageError(
            "this base is offloaded, so a new adapter cannot begin from its weights; attach it, then offload"
        )


def is_offloaded(base: nn.Module) -> bool:
    """Whether weights are put in place only while their module computes."""
    groups = any("group_offloading" in registry.hooks for registry in hooks_of(base.modules()))
    hooked = any(hasattr(module, "_hf_hook") for module in base.modules())
    return groups or (hooked and any(weight.is_meta for weight in base.parameters()))
