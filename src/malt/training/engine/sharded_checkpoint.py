"""A state that many ranks write and read together, each its part (`torch.distributed.checkpoint`), as safetensors.

The tensors are saved by names `<file>/<name>`, in one file a rank, while training goes on; they can be read back on
another number of ranks, one among them.
"""

import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from malt.training.engine.parallel import current_context

# (file, name, shape, dtype) -> the tensor that is to be filled
Destination = Callable[[str, str, torch.Size, torch.dtype], Tensor]


class BackgroundWriter:
    """Writes tensors in the background, one state after the other; all ranks call its methods together."""

    def __init__(self) -> None:
        self._group = dist.new_group(backend="gloo")  # its own: training uses the others meanwhile
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._pending: Future[None] | None = None

    def write(
        self, begin: Callable[[], Path], tensors: dict[str, dict[str, Tensor]], complete: Callable[[Path], object]
    ) -> None:
        """Copy `tensors` and return; the first rank makes a folder by `begin`, and by `complete` when all have written."""
        self.finish()
        chosen: list[Path | None] = [begin() if current_context().is_first else None]
        dist.broadcast_object_list(chosen, group=self._group)
        folder = chosen[0]
        assert folder is not None
        flat = {f"{file}/{name}": value for file, values in tensors.items() for name, value in values.items()}
        writer = dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True)
        written = dcp.async_save(flat, storage_writer=writer, process_group=self._group)
        assert isinstance(written, Future)
        self._pending = self._thread.submit(_wait, written, folder, complete)

    def finish(self) -> None:
        """Wait until what is being written is in place, on all ranks."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None
            dist.barrier(group=self._group)


def _wait(written: Future[None], folder: Path, complete: Callable[[Path], object]) -> None:
    written.result()
    if current_context().is_first:
        complete(folder)


def holds(path: Path) -> bool:
    """Whether a state was written by many ranks."""
    return any(path.glob("shard-*.safetensors"))


def load(path: Path, destination: Destination) -> None:
    """Fill every tensor that the state has a part of, each rank its own share."""
    tensors = {}
    for key, size, dtype in _contents(path):
        file, name = key.split("/", 1)
        tensors[key] = destination(file, name, size, dtype)
    _load(path, tensors)


def read(path: Path, file: str) -> dict[str, Tensor]:
    """The whole tensors of one file, read by one process alone."""
    found = {key: torch.empty(size, dtype=dtype) for key, size, dtype in _contents(path) if key.startswith(f"{file}/")}
    _load(path, found)
    return {key.removeprefix(f"{file}/"): value for key, value in found.items()}


def _contents(path: Path) -> list[tuple[str, torch.Size, torch.dtype]]:
    described = dcp.HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata
    return [
        (key, about.size, about.properties.dtype)
        for key, about in described.items()
        if isinstance(about, TensorStorageMetadata)
    ]


def _load(path: Path, tensors: dict[str, Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.load(dict(tensors), storage_reader=dcp.HuggingFaceStorageReader(str(path)))
