"""What the training loop descends: an objective, and the loss and gradients of one of its steps."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class TrainingObjective(Protocol):
    """Something to learn: a module, and its loss at each step. The step alone decides what is drawn.

    Where several ranks learn together, each is asked for the loss of its own rows of the step's
    batch (`DistributedContext.rank_and_size`).
    """

    @property
    def module(self) -> nn.Module:
        """What learns."""
        ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The scalar to descend, and figures for the metrics."""
        ...


@runtime_checkable
class StepGradients(Protocol):
    """Gives the parameters the gradients of a step."""

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a step and its figures; its gradients lie with the parameters."""
        ...

    def clear(self) -> None:
        """Let go of the gradients, where their memory can be used for something else."""
        ...


class EagerStep:
    """Kernel by kernel, as PyTorch does by itself."""

    def __init__(self, objective: TrainingObjective) -> None:
        self.objective = objective

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a step and its figures; its gradients lie with the parameters."""
        loss, figures = self.objective.loss(step)
        loss.backward()
        return loss.detach(), figures

    def clear(self) -> None:
        """Let go of the gradients."""
        self.objective.module.zero_grad(set_to_none=True)
