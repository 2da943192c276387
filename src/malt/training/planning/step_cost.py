"""What a training step costs, from shapes alone: it is run on tensors that have a size and no numbers.

Every operation of forward and backward pass is met by a counter of floating point operations and of bytes that are alive.
So whatever can be trained can be planned, without a formula for it.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from malt.models.attention import MaltAttention, MaltAttnProcessor
from malt.models.positions import kept_rotation
from malt.training.engine.gradients import TrainingObjective

_aten = torch.ops.aten


class StepCost(NamedTuple):
    """What one step of one process costs.

    flops: of its matrix products, forward and backward. kept: bytes that the forward pass leaves for the backward pass.
    peak: the most bytes alive at once beside weights, gradients among them.
    """

    flops: int
    kept: int
    peak: int

    def further(self, second: "StepCost", count: int) -> "StepCost":
        """What `count` times the way from this to a second one comes to."""
        return StepCost(*(a + count * (b - a) for a, b in zip(self, second, strict=True)))


def measure_step(objective: TrainingObjective, step: int = 0, beside: nn.Module | None = None) -> StepCost:
    """The cost of one step of an objective, real or planned; its gradients are gone afterwards.

    Args:
        objective: of what learns.
        step: which one.
        beside: what else stands there, whose weights are no part of the cost.
    """
    parts = [part for part in (objective.module, beside) if part]
    with CostCounter([tensor for part in parts for tensor in [*part.parameters(), *part.buffers()]]) as counter:
        loss = objective.loss(step)[0]
        kept = counter.now
        loss.backward()
    objective.module.zero_grad(set_to_none=True)
    return StepCost(counter.flops, kept, counter.peak)


@contextmanager
def planned() -> Iterator[None]:
    """Within it every new tensor has a size and no numbers; where a number is asked for, it is 0 or False."""
    kept_rotation.cache_clear()  # real tables are of no use here, nor these outside
    try:
        with _WithoutNumbers():
            yield
    finally:
        kept_rotation.cache_clear()


def as_planned(module: nn.Module) -> None:
    """Make a module of the meta device one that runs inside `planned`, as a GPU would run it."""
    _exchange(module, lambda tensor: tensor.dtype)
    for part in module.modules():
        if isinstance(part, MaltAttention):
            part.processor = GpuAttnProcessor()


def as_sharded(module: nn.Module, precision: torch.dtype) -> None:
    """Make a planned module keep what a sharded one keeps: weights in the precision of passes, no gradients (FSDP2)."""
    _exchange(module, lambda tensor: precision if isinstance(tensor, nn.Parameter) else tensor.dtype)
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_let_go)


def _let_go(parameter: Tensor) -> None:
    parameter.grad = None


def _exchange(module: nn.Module, dtype_of: Callable[[Tensor], torch.dtype]) -> None:
    """Put new tensors in the place of all parameters and buffers; what was one stays one."""
    made = dict[int, Tensor]()
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in list(tensors.items()):
                if tensor is not None:
                    empty = torch.empty(tensor.shape, dtype=dtype_of(tensor))
                    is_weight = isinstance(tensor, nn.Parameter)
                    new = nn.Parameter(empty, tensor.requires_grad) if is_weight else empty
                    setattr(part, name, made.setdefault(id(tensor), new))


class CostCounter(TorchDispatchMode):
    """Counts operations, and the bytes of all tensors that are made inside it and still alive, now and at their most.

    Args:
        standing: tensors that were there before, whose bytes do not count.
    """

    def __init__(self, standing: list[Tensor]) -> None:
        begin: Callable[[], None] = super().__init__
        begin()
        self.flops, self.now, self.peak = 0, 0, 0
        self._standing = [tensor.untyped_storage() for tensor in standing]
        self._known = {id(storage): weakref.ref(storage) for storage in self._standing}

    def __torch_dispatch__(
        self,
        func: OpOverload[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Run the operation and count it and what it made."""
        made = func(*args, **(kwargs or {}))
        count = _FORMULAS.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=made)
        for leaf in (made,) if isinstance(made, Tensor) else tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key in self._known:
            return
        size = storage.nbytes()

        def gone(_: object) -> None:
            del self._known[key]
            self.now -= size

        self._known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


class _WithoutNumbers(FakeTensorMode):
    """Answers the question for a number: training asks for figures to write down, and whom it may spare a mask."""

    def __torch_dispatch__(
        self,
        func: OpOverload[..., object],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Run an operation on shapes."""
        if func is _aten._local_scalar_dense.default:
            return False if args[0].dtype == torch.bool else 0.0 if args[0].is_floating_point() else 0
        if func is _aten.nonzero.default:  # of a mask, all of which counts
            return args[0].new_empty(args[0].numel(), args[0].ndim, dtype=torch.long)
        return super().__torch_dispatch__(func, types, args, kwargs or {})


class GpuAttnProcessor(MaltAttnProcessor):
    """As on a GPU: in half precision where the rest is."""

    _exact_on = ""


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def _attention_backward(gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object) -> int:
    return int(sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape))


# PyTorch's own formulas; it has them for attention on GPUs alone, so those of its kernel for processors are the same here.
_FORMULAS: dict[object, Callable[..., int]] = flop_registry | {
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
