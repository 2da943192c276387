"""What of a module learns: a run averages, steps and saves these weights alone, so a frozen base costs it nothing."""

from torch import nn


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that gradients are asked of, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
