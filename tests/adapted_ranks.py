"""What two processes learn of an adapter together in test_adapted_ranks.py: `python adapted_ranks.py FOLDER`."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from malt.training.engine.parallel import ParallelConfig, current_context, full_state, launched, parallelize
from tiny_bases import TINY_BASES, run

CASES = {
    "wan": {"memory": "slots", "memory_size": 4, "memory_width": 8, "lora_rank": 2, "context_frames": 1},
    "cogvideox": {"memory": "hierarchical", "memory_size": 2, "lora_rank": 2},
    "ltx-video": {"memory": "hierarchical", "memory_size": 2, "memory_width": 16, "read": "behind"},
}
for name in TINY_BASES:
    CASES.setdefault(name, {"memory": "hierarchical", "memory_size": 2, "lora_rank": 2})
CHECKPOINTED = ParallelConfig(activation_checkpointing=True)
SHARDED = ParallelConfig(fsdp=True, activation_checkpointing=True)


def gradients(name: str, config: ParallelConfig) -> dict[str, Tensor]:
    """Of a loss over two videos and three segments, of which each rank has its own videos."""
    tiny, context = TINY_BASES[name], current_context()
    model = tiny.adapted(**CASES[name])
    torch.manual_seed(7)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    parallelize(model, config, torch.float32, compiled=False)
    memory, losses = None, []
    for n in range(3):
        losses.append(run(model, rows(tiny.given(n), context.rank_and_size), memory, update_memory=False).velocity)
        memory = run(model, rows(tiny.given(n, level=0.0), context.rank_and_size), memory).memory
    torch.stack(losses).square().mean().backward()
    context.average_gradients(model)
    return full_state({name: p.grad for name, p in model.named_parameters() if p.grad is not None})


def rows(given: dict[str, Any], rank_and_size: tuple[int, int]) -> dict[str, Any]:
    """This rank's videos, of what may lie a level deeper."""
    rank, size = rank_and_size
    return {
        name: rows(value, rank_and_size) if isinstance(value, dict) else value[rank::size]
        for name, value in given.items()
    }


def start(folder: Path) -> list[int]:
    """Run this file twice, as torchrun would; the two exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    common |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, __file__, str(folder)]
    processes = [subprocess.Popen(command, env=common | {"RANK": rank, "LOCAL_RANK": rank}) for rank in ("0", "1")]
    try:
        return [process.wait(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()


if __name__ == "__main__":
    with launched(on_gpu=False):
        for case in CASES:
            found = gradients(case, SHARDED)
            if current_context().is_first:
                save_file(found, Path(sys.argv[1]) / f"{case}.safetensors")
