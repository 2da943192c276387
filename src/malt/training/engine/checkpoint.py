"""The state of a training run on disk: safetensors and JSON only, written atomically, checksummed, the newest kept."""

import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from malt.errors import CheckpointError
from malt.media.files import file_sha256, write_whole
from malt.training.engine import sharded_checkpoint
from malt.training.engine.parallel import current_context, local_tensor
from malt.training.engine.train_state import TrainState

PREFIX = "step-"
MOST_SKIPPED = 10  # steps in a row


@dataclass(frozen=True)
class TrainProgress:
    """How far a run has come: steps taken, how many of them were skipped as not finite, and how many of the last ones."""

    step: int = 0
    skipped: int = 0
    skipped_last: int = 0

    def after(self, is_finite: bool) -> "TrainProgress":
        """As it stands after one step more."""
        if is_finite:
            return TrainProgress(self.step + 1, self.skipped)
        return TrainProgress(self.step + 1, self.skipped + 1, self.skipped_last + 1)

    def has_diverged(self, num_steps: int) -> bool:
        """Whether too many steps in a row, or half of a run's steps, were skipped for anything good to come of it."""
        return self.skipped_last >= MOST_SKIPPED or 2 * self.skipped >= num_steps


def save_state(folder: Path, progress: TrainProgress, state: TrainState, keep: int = 2) -> Path:
    """Write everything that resuming after `progress` needs; it appears under its name only when complete."""
    partial = begin(folder, progress)
    for file, tensors in state.tensors().items():
        save_file({name: value.contiguous() for name, value in tensors.items()}, partial / f"{file}.safetensors")
    return complete(partial, progress, keep)


class Saver:
    """Saves the states of one run: by one process at once, by many together and in the background.

    States whose weights are not finite are not saved, so that they never take the place of good ones.
    """

    def __init__(self, state: TrainState) -> None:
        self._state = state
        self._writer = sharded_checkpoint.BackgroundWriter() if current_context().world_size > 1 else None

    def save(self, folder: Path, progress: TrainProgress, keep: int = 2) -> bool:
        """Save the state as it is now, if its weights are finite; of those in `folder` the newest `keep` stay."""
        (is_spoilt,) = current_context().agree(not self._state.is_finite)
        if is_spoilt:
            return False
        if self._writer is None:
            save_state(folder, progress, self._state, keep)
        else:
            tensors = self._state.tensors()
            self._writer.write(
                lambda: begin(folder, progress), tensors, lambda partial: complete(partial, progress, keep)
            )
        return True

    def finish(self) -> None:
        """Wait until all is in place."""
        if self._writer is not None:
            self._writer.finish()


def begin(folder: Path, progress: TrainProgress) -> Path:
    """An empty folder for a state that is being written; what was broken off earlier is cleared away."""
    for broken_off in folder.glob(f".{PREFIX}*.partial"):
        shutil.rmtree(broken_off)
    partial = folder / f".{PREFIX}{progress.step:08d}.partial"
    partial.mkdir(parents=True)
    return partial


def complete(partial: Path, progress: TrainProgress, keep: int) -> Path:
    """Add step and checksums to a state whose tensors are written, give it its name, and let all but the newest go."""
    files = {path.name: file_sha256(path) for path in sorted(partial.iterdir())}
    write_whole(partial / "state.json", json.dumps({**asdict(progress), "sha256": files}, indent=1))
    final = partial.parent / partial.stem.removeprefix(".")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    for old in saved_states(final.parent)[:-keep]:
        shutil.rmtree(old)
    return final


def saved_states(folder: Path) -> list[Path]:
    """Complete states in `folder`, oldest first."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if (path / "state.json").exists())


def resume(folder: Path, state: TrainState) -> TrainProgress:
    """Put the newest sound state in `folder` back in place; the beginning where there is none.

    A damaged state is set aside under another name, and said so, when one before it is sound.

    Raises:
        CheckpointError: when all of them are damaged, or the sound one belongs to another model.
    """
    found: list[Path | CheckpointError | None] = [_newest_sound(folder) if current_context().is_first else None]
    if dist.is_initialized():
        dist.broadcast_object_list(found)
    if isinstance(found[0], CheckpointError):
        raise found[0]
    return load_state(found[0], state) if found[0] else TrainProgress()


def load_state(path: Path, state: TrainState) -> TrainProgress:
    """Put a saved state back in place, on as many ranks as there are now, and return how far it had come.

    Raises:
        CheckpointError: when the state is damaged or belongs to another model.
    """
    try:
        if sharded_checkpoint.holds(path):
            sharded_checkpoint.load(path, state.destination)
        else:
            for file in state.files:
                for name, value in state.named(file, load_file(path / f"{file}.safetensors")).items():
                    _put(state.destination(file, name, value.shape, value.dtype), value)
        saved = json.loads((path / "state.json").read_text())
        return TrainProgress(*(int(saved.get(field.name, field.default)) for field in fields(TrainProgress)))
    except (OSError, KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be resumed ({error}); it is damaged or of another model") from error


def load_average(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a saved state, whole, however many ranks wrote it.

    Raises:
        CheckpointError: when the state is damaged.
    """
    if wrong := damage(path):
        raise CheckpointError(f"{path} cannot be read ({wrong}); use the state before it")
    if not sharded_checkpoint.holds(path):
        return load_file(path / "average.safetensors")
    return sharded_checkpoint.read(path, "average")


def damage(path: Path) -> str | None:
    """What is wrong with a saved state, in a few words; None where nothing is."""
    try:
        state = json.loads((path / "state.json").read_text())
        int(state["step"])
        for name, checksum in state.get("sha256", {}).items():
            if file_sha256(path / name) != checksum:
                return f"{name} is not what was written"
        for file in path.glob("*.safetensors"):
            with safe_open(file, framework="pt"):
                pass
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        return str(error)
    return None


def _newest_sound(folder: Path) -> Path | CheckpointError | None:
    """The state to go on from, None for none; or, for all ranks to raise, what is wrong."""
    states = saved_states(folder)
    wrong: dict[Path, str] = {}
    for path in reversed(states):
        reason = damage(path)
        if reason is None:
            for damaged, what in wrong.items():
                aside = damaged.with_name(f"damaged-{damaged.name}")
                shutil.rmtree(aside, ignore_errors=True)
                damaged.rename(aside)
                print(f"{damaged} is damaged ({what}); resuming from {path.name} before it", file=sys.stderr)
            return path
        wrong[path] = reason
    if not wrong:
        return None
    newest = states[-1]
    return CheckpointError(
        f"{newest} cannot be resumed ({wrong[newest]}) and no state before it is sound; delete it to begin again"
    )


def _put(destination: Tensor, value: Tensor) -> None:
    """Copy a whole tensor to its place: each rank's part of it where that is sharded_checkpoint."""
    value = value.to(destination.device)
    if isinstance(destination, DTensor):
        value = distribute_tensor(value, destination.device_mesh, destination.placements, src_data_rank=None)
    with torch.no_grad():
        local_tensor(destination).copy_(local_tensor(value))
