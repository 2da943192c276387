"""A running average of the weights that learn, kept beside the model: what is sampled from and shipped."""

import torch
from torch import Tensor, nn

from malt.training.engine.parallel import full_state, local_tensor
from malt.training.engine.trainable import trainable


class EMA:
    """Exponential moving average of a module's parameters that learn; the first steps count more, so that it starts unbiased.

    Of a sharded parameter every rank averages its own part.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: p.detach().clone() for name, p in trainable(module).items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module's parameters after (0-based) `step`."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        values, current = (
            map(local_tensor, self.values.values()),
            (local_tensor(p.detach()) for p in trainable(module).values()),
        )
        torch._foreach_lerp_(list(values), list(current), weight)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module's parameters with the average; both are sharded alike."""
        for name, parameter in trainable(module).items():
            local_tensor(parameter).copy_(local_tensor(self.values[name]))

    def whole(self) -> dict[str, Tensor]:
        """The average gathered onto the CPU of the first rank (the others get nothing); all ranks call this together."""
        return full_state(self.values)
