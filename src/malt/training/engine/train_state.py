"""All that changes while a run learns, as tensors by file and name: what a saved state holds."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from malt.training.engine.ema import EMA
from malt.training.engine.parallel import local_tensor
from malt.training.engine.trainable import trainable


class TrainState:
    """The weights of a module that learn, their average, and optimizers whose state goes by the parameters' names."""

    def __init__(self, module: nn.Module, ema: EMA, optimizers: list[Optimizer]) -> None:
        self.module, self.ema, self.optimizers = module, ema, optimizers
        self._parameters = trainable(module)
        self._names = {id(parameter): name for name, parameter in self._parameters.items()}

    @property
    def is_finite(self) -> bool:
        """Whether all weights, of this rank's parts, are finite numbers."""
        return all(bool(torch.isfinite(local_tensor(weight.detach())).all()) for weight in self._parameters.values())

    @property
    def files(self) -> list[str]:
        """What the files of a state are called, without their suffix."""
        return ["weights", "average", *(f"optimizer-{index}" for index in range(len(self.optimizers)))]

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything there is to save, by file and name."""
        weights = {name: parameter.detach() for name, parameter in self._parameters.items()}
        states = [self._optimizer_state(optimizer) for optimizer in self.optimizers]
        return dict(zip(self.files, [weights, self.ema.values, *states], strict=True))

    def named(self, file: str, saved: dict[str, Tensor]) -> dict[str, Tensor]:
        """Saved tensors by name, after a look that none is missing; optimizer states were once saved by number.

        Raises:
            KeyError: when a weight or an average is missing.
        """
        if not file.startswith("optimizer"):
            return {name: saved[name] for name in self._parameters}
        if not all(key.split(".")[0].isdigit() for key in saved):
            return saved
        order = [self._names[id(p)] for p in _parameters_of(self._optimizer(file))]
        numbered = ((key.split(".", 1), value) for key, value in saved.items())
        return {f"{order[int(index)]}.{key}": value for (index, key), value in numbered}

    def destination(self, file: str, name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """The tensor that a saved one of this file, name and shape belongs into.

        Raises:
            KeyError: when there is none of this name.
            ValueError: when it has another shape.
        """
        if file == "weights":
            found = self._parameters[name].detach()
        elif file == "average":
            found = self.ema.values[name]
        else:
            parameter, key = name.rsplit(".", 1)
            found = self._slot(self._optimizer(file), parameter, key, shape, dtype)
        if found.shape != shape:
            raise ValueError(f"{name} is {tuple(found.shape)} here and {tuple(shape)} there")
        return found

    def _optimizer(self, file: str) -> Optimizer:
        return self.optimizers[self.files.index(file) - 2]

    def _optimizer_state(self, optimizer: Optimizer) -> dict[str, Tensor]:
        return {
            f"{self._names[id(parameter)]}.{key}": torch.as_tensor(value)
            for parameter in _parameters_of(optimizer)
            for key, value in optimizer.state[parameter].items()
        }

    def _slot(self, optimizer: Optimizer, name: str, key: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """A new place in an optimizer's state, sharded like its parameter where it has that one's shape."""
        parameter = self._parameters[name]
        if not any(parameter is own for own in _parameters_of(optimizer)):
            raise KeyError(f"{name} is learned by another optimizer")
        alike = shape == parameter.shape and len(shape) > 0
        like = parameter.detach()
        new = torch.empty_like(like, dtype=dtype) if alike else torch.empty(shape, dtype=dtype, device=like.device)
        optimizer.state[parameter][key] = new
        return new


def _parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
