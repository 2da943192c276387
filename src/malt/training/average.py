"""A running average of the weights, kept beside the model: what is sampled from and shipped."""

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of a module's parameters; the first steps count more, so that it starts unbiased."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards the module's parameters after (0-based) `step`."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        values, current = list(self.values.values()), [p.detach() for p in module.parameters()]
        torch._foreach_lerp_(values, current, weight)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module's parameters with the average."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.values[name])

    def load(self, values: dict[str, Tensor]) -> None:
        """Take over saved values."""
        for name, value in self.values.items():
            value.copy_(values[name])
