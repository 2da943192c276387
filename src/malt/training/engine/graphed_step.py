"""Loss and gradients of a step as one CUDA graph: a small model's thousands of kernels are then started by one call.

A step of the model that ships starts 20,000 kernels of a few microseconds; started one by one they leave a fast GPU idle
most of the time. What is computed and drawn is the same (PyTorch's "CUDA Graphs", whole-network capture).
"""

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from malt.errors import MaltError
from malt.training.objectives.rng import Generators

WARM_UP = 3  # steps before a capture, in which kernels are compiled and chosen
Kind = TypeVar("Kind", bound=Hashable)


@runtime_checkable
class GraphableObjective(Protocol[Kind]):
    """A training objective whose loss follows from tensors on the device alone."""

    seed: int

    @property
    def module(self) -> nn.Module:
        """What learns."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it learns."""
        ...

    def objective(self, step: int) -> Kind:
        """Which of its losses a step descends."""
        ...

    def inputs(self, step: int) -> dict[str, Tensor]:
        """What a step learns from."""
        ...

    def loss_of(
        self, objective: Kind, inputs: Mapping[str, Tensor], generators: Generators
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its figures, without a word from the device to the host."""
        ...


@dataclass(frozen=True)
class _Captured:
    """A graph, the tensors that it reads, and those that it writes beside the gradients."""

    graph: torch.cuda.CUDAGraph
    inputs: Mapping[str, Tensor]
    loss: Tensor
    figures: Mapping[str, Tensor]


class GraphedStep:
    """Loss and gradients of each step; a graph is captured for every objective and shape of inputs at its first step.

    Gradients are the parameters' own, which must stay where they are: they are set to zero within the graph.
    """

    def __init__(self, objective: object) -> None:
        assert isinstance(objective, GraphableObjective)
        self.objective: GraphableObjective[Hashable] = objective
        self.generators = Generators.on(objective.device)
        self.captured: dict[Hashable, _Captured] = {}
        self.ahead: tuple[int, dict[str, Tensor]] = (-1, {})
        self.pool = torch.cuda.graph_pool_handle()
        self.parameters = [p for p in objective.module.parameters() if p.requires_grad]
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of a step and its figures; its gradients lie with the parameters."""
        kind, (ahead, inputs) = self.objective.objective(step), self.ahead
        inputs = inputs if ahead == step else self.objective.inputs(step)
        key = kind, tuple((name, tensor.shape) for name, tensor in inputs.items())
        if key not in self.captured:
            self.captured[key] = self._capture(kind, inputs, step)
        found = self.captured[key]
        for name, tensor in inputs.items():
            found.inputs[name].copy_(tensor)
        self.generators.begin(self.objective.seed, step)
        found.graph.replay()
        self.ahead = step + 1, self.objective.inputs(step + 1)  # made while the device computes
        return found.loss, {name: float(value) for name, value in found.figures.items()}

    def clear(self) -> None:
        """Nothing: the graph writes where the gradients are."""

    def _capture(self, kind: Hashable, inputs: Mapping[str, Tensor], step: int) -> _Captured:
        static = {name: tensor.clone() for name, tensor in inputs.items()}
        beside = torch.cuda.Stream(self.objective.device)
        beside.wait_stream(torch.cuda.current_stream(self.objective.device))
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                self.generators.begin(self.objective.seed, step)
                self._descend(kind, static)
        torch.cuda.current_stream(self.objective.device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        for generator in self.generators:
            graph.register_generator_state(generator)
        with _recordable(), torch.cuda.graph(graph, pool=self.pool):
            loss, figures = self._descend(kind, static)
        return _Captured(graph, static, loss, figures)

    def _descend(self, kind: Hashable, inputs: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        torch._foreach_zero_([p.grad for p in self.parameters if p.grad is not None])
        loss, figures = self.objective.loss_of(kind, inputs, self.generators)
        loss.backward()
        return loss.detach(), figures


@contextmanager
def _recordable() -> Iterator[None]:
    """Says in a sentence that a step asks the device for something, or brings it something, in the midst of a recording."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0]
        raise MaltError(
            f"a step of this run cannot be one CUDA graph ({reason}); go on with --resume --cuda-graphs false"
        ) from error
