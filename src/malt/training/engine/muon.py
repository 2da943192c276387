"""Muon (Keller Jordan, 2024): every step of a matrix is the nearest orthogonal matrix to its averaged gradient."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import overload

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, steepest at zero
ITERATIONS = 5


class Muon(Optimizer):
    """As `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, but in a precision of one's choice.

    PyTorch's own iterates in bfloat16 only, for which many processors have no units: 0.24 s for one matrix of 576x192.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        precision: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.precision = precision

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Change every matrix that has a gradient; `closure`, where given, computes the loss and its gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for matrices in _together([matrix for matrix in group["params"] if matrix.grad is not None]):
                self._change(matrices, group["lr"], group["weight_decay"], group["momentum"])
        return loss

    def _change(self, matrices: list[Tensor], lr: float, weight_decay: float, momentum: float) -> None:
        """Change matrices of one shape."""
        averages = [self._average(matrix) for matrix in matrices]
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        looked_ahead = torch._foreach_lerp(gradients, averages, momentum)
        directions = [direction.to(matrices[0].dtype) for direction in self._directions(looked_ahead)]
        torch._foreach_mul_(matrices, 1 - lr * weight_decay)
        torch._foreach_add_(matrices, directions, alpha=-lr * 0.2 * math.sqrt(max(matrices[0].shape)))

    def _directions(self, matrices: Sequence[Tensor]) -> Sequence[Tensor]:
        if len(matrices) == 1:  # a processor multiplies matrices one by one faster than a batch of one
            return [orthogonalize(matrices[0], self.precision)]
        return orthogonalize(torch.stack(list(matrices)), self.precision).unbind()

    def _average(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        average: Tensor = state["momentum_buffer"]
        return average


def _together(matrices: list[Tensor]) -> list[list[Tensor]]:
    """Matrices of one shape and kind together on a GPU, which then starts few kernels; on a processor each by itself."""
    groups: dict[tuple[object, ...], list[Tensor]] = {}
    for n, matrix in enumerate(matrices):
        groups.setdefault((matrix.shape, matrix.dtype, n if matrix.device.type == "cpu" else None), []).append(matrix)
    return list(groups.values())


def orthogonalize(matrices: Float[Tensor, "*n a b"], precision: torch.dtype) -> Float[Tensor, "*n a b"]:
    """Matrices with the same singular vectors, whose singular values are near 1 (Newton-Schulz iteration)."""
    a, b, c = COEFFICIENTS
    tall, multiply = matrices.shape[-2] > matrices.shape[-1], torch.addmm if matrices.ndim == 2 else torch.baddbmm
    x = matrices.to(precision, copy=True)
    x = x.mT if tall else x
    x.div_(x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7))
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = multiply(x, multiply(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
