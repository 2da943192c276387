"""Several processes that learn together: who takes part, whose rows are whose, and how their gradients become one.

A parameter is either sharded (a `DTensor`, made by `shard`: each rank keeps a part of it) or replicated (an ordinary tensor:
each rank keeps all of it). Both may stand in one module. Without torchrun there is one rank, and no process group.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar, cast

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from malt.errors import UsageError
from malt.memory.protocol import LayerMemory
from malt.precision import choose_precision
from malt.wording import counted

Result = TypeVar("Result")
LONGEST_WAIT = timedelta(days=7)  # of the others for what the first process does alone, such as encoding all videos


@dataclass(frozen=True)
class DistributedContext:
    """Which of how many processes this is."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes journals and samples."""
        return self.rank == 0

    @property
    def rank_and_size(self) -> tuple[int, int]:
        """Which rows of a step's batch are this process's: rank, rank + world_size, ...; the batch is the same for all."""
        return self.rank, self.world_size

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """Each flag as it stands on any of the ranks: raised for all as soon as one has raised it."""
        if self.world_size == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in raised)

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Every figure's mean over the ranks; they all name the same ones."""
        if self.world_size == 1:
            return dict(figures)
        values = torch.tensor([figures[name] for name in sorted(figures)], dtype=torch.float64)
        dist.all_reduce(values)
        return dict(zip(sorted(figures), (values / self.world_size).tolist(), strict=True))

    def average_gradients(self, module: nn.Module) -> None:
        """Replace the gradients of replicated parameters by their mean over the ranks; sharded ones are it already."""
        if self.world_size == 1:
            return
        gradients = [p.grad for p in module.parameters() if p.grad is not None and not isinstance(p, DTensor)]
        if gradients:
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            parts = flat.div_(self.world_size).split([gradient.numel() for gradient in gradients])
            torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])


def current_context() -> DistributedContext:
    """Those of the process group that was launched; one alone where there is none."""
    return DistributedContext(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else DistributedContext()


def by_the_first(context: DistributedContext, work: Callable[[], Result]) -> Result:
    """Done by the first process, then by all others, who wait however long it takes and find what it has written."""
    if context.world_size == 1:
        return work()
    waiting = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
    if not context.is_first:
        dist.barrier(group=waiting)
    result = work()
    if context.is_first:
        dist.barrier(group=waiting)
    return result


def agreed_precision(name: str, device: torch.device | str) -> torch.dtype:
    """What a precision stands for here, alike on all ranks: float32 as soon as one of them is to compute in it."""
    (exact,) = current_context().agree(choose_precision(name, device) == torch.float32)
    return torch.float32 if exact else torch.bfloat16


@contextmanager
def launched(on_gpu: bool | None = None) -> Iterator[DistributedContext]:
    """Join the processes that torchrun started: gloo between CPUs, nccl between GPUs, one of them (the current) a process.

    Outside torchrun, or for a single process, nothing is joined.

    Raises:
        UsageError: when the machine has fewer GPUs than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield DistributedContext()
        return
    if torch.cuda.is_available() if on_gpu is None else on_gpu:
        local_rank = int(os.environ["LOCAL_RANK"])
        if local_rank >= torch.cuda.device_count():
            raise UsageError(
                f"this machine has {counted(torch.cuda.device_count(), 'GPU')}; give torchrun as many processes"
            )
        torch.cuda.set_device(local_rank)
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    try:
        yield current_context()
    finally:
        dist.destroy_process_group()


def shard(
    model: nn.Module,
    blocks: Iterable[nn.Module],
    *,
    precision: torch.dtype = torch.float32,
    num_replicas: int = 1,
    replicated: Iterable[nn.Parameter] = (),
    methods: Iterable[str] = (),
) -> None:
    """Spread the parameters of `model` over the ranks (FSDP2), block by block, the rest at last.

    Do it before the optimizers are built and after the blocks were compiled. Weights stay in their own precision; they are
    gathered and computed with in `precision`, gradients are reduced in float32. `num_replicas` of the model are kept, each
    spread over world_size / num_replicas neighbouring ranks (so that a machine may keep one to itself). What is
    `replicated` is left as it is. `methods` names what is called on the model beside `forward` and needs its weights.

    Raises:
        UsageError: when the ranks cannot be divided into so many copies.
    """
    world_size = current_context().world_size
    if world_size % num_replicas:
        raise UsageError(
            f"{counted(world_size, 'process')} cannot hold {num_replicas} copies of the model; give a divisor"
        )
    device = next(model.parameters()).device.type
    mesh = init_device_mesh(device, (num_replicas, world_size // num_replicas), mesh_dim_names=("copy", "part"))
    policy = MixedPrecisionPolicy(param_dtype=precision, reduce_dtype=torch.float32)
    left = set(replicated)
    for part in (*blocks, model):
        fully_shard(part, mesh=mesh if num_replicas > 1 else mesh["part"], mp_policy=policy, ignored_params=left)
    for method in methods:
        register_fsdp_forward_method(model, method)


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """How a transformer is made to fit: spread over the processes, or computing more to keep less."""

    fsdp: bool = False  # weights, gradients and optimizer in parts over the processes, not all in each (FSDP2)
    num_replicas: int = 1  # of a sharded model; each is spread over world_size / num_replicas neighbouring processes
    activation_checkpointing: bool = (
        False  # only the input of a block is kept, which is computed once more for gradients
    )

    def __post_init__(self) -> None:
        if self.num_replicas < 1:
            raise ValueError(f"num_replicas is {self.num_replicas}; give at least 1")


class BlockModel(Protocol):
    """A transformer whose blocks can be compiled, recomputed and sharded one by one.

    Python 3.12 and later look for the members of a protocol past `nn.Module.__getattr__`, and would find no blocks.
    """

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """In the order in which they run."""
        ...

    def memory_modules(self) -> Iterable[LayerMemory]:
        """The memory of each layer."""
        ...

    def enable_gradient_checkpointing(self) -> None:
        """Keep only the input of each block, and compute it once more for gradients."""
        ...


def parallelize(model: nn.Module, config: ParallelConfig, precision: torch.dtype, compiled: bool) -> None:
    """Make a transformer ready to be learned, in this order: checkpointing, compilation of each block, sharding."""
    transformer = cast(BlockModel, model)
    blocks = list(transformer.blocks)
    if config.activation_checkpointing:
        transformer.enable_gradient_checkpointing()
    if not (config.fsdp and current_context().world_size > 1):
        for block in blocks if compiled else ():
            block.compile(fullgraph=True)
        return
    if compiled:
        compile_blocks(blocks)
    # What a memory begins with (a few tokens) is asked for outside its block, when the block's weights are not gathered.
    beginnings = [
        parameter
        for memory in transformer.memory_modules()
        if isinstance(memory, nn.Module)
        for parameter in memory.parameters(recurse=False)
    ]
    shard(
        model,
        blocks,
        precision=precision,
        num_replicas=config.num_replicas,
        replicated=beginnings,
        methods=("empty_memory",),
    )


def compile_blocks(blocks: Iterable[nn.Module]) -> None:
    """Compile what each block computes, and not the gathering of its weights around it."""
    for block in blocks:
        block.forward = torch.compile(block.forward, fullgraph=True)


def is_sharded(module: nn.Module) -> bool:
    """Whether any of its parameters is spread over the ranks."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def reshard(module: nn.Module) -> None:
    """Let go of gathered weights: a pass without gradients, unlike a backward pass, leaves the outermost ones gathered."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def local_tensor(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor: all of it where it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full_state(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors gathered from all ranks, one after the other, onto the CPU of the first; the others get none.

    All ranks call this together.
    """
    gathered = ((name, v.full_tensor() if isinstance(v, DTensor) else v) for name, v in values.items())
    keep = current_context().is_first
    return {name: value.detach().cpu() for name, value in gathered if keep}


def clip_gradients(module: nn.Module, max_norm: float) -> Float[Tensor, ""]:
    """Scale all gradients so that their norm, over all ranks and parameters, is at most `max_norm`; return what it was."""
    parameters = [p for p in module.parameters() if p.grad is not None]
    norms = []
    for sharded in (False, True):
        gradients = [p.grad for p in parameters if isinstance(p, DTensor) == sharded]
        if gradients:
            norm = nn.utils.get_total_norm([g for g in gradients if g is not None])
            norms.append(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    if not norms:
        return torch.zeros(())
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([local_tensor(p.grad) for p in parameters if p.grad is not None], factor)
    return norm
