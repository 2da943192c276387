"""The state of a training run on disk: safetensors and JSON only, written atomically, the newest kept."""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from malt.errors import CheckpointError
from malt.training.average import Average

PREFIX = "step-"


def save_state(
    folder: Path, step: int, module: nn.Module, average: Average, optimizers: list[Optimizer], keep: int = 2
) -> Path:
    """Write everything that resuming after `step` finished steps needs; it appears under its name only when complete."""
    final = folder / f"{PREFIX}{step:08d}"
    partial = folder / f".{final.name}.partial"
    for broken_off in folder.glob(f".{PREFIX}*.partial"):
        shutil.rmtree(broken_off)
    partial.mkdir(parents=True)
    save_file({name: p.detach().contiguous() for name, p in module.named_parameters()}, partial / "weights.safetensors")
    save_file({name: value.contiguous() for name, value in average.values.items()}, partial / "average.safetensors")
    for index, optimizer in enumerate(optimizers):
        save_file(_flatten(optimizer), partial / f"optimizer-{index}.safetensors")
    (partial / "state.json").write_text(json.dumps({"step": step}))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    for old in saved_states(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def saved_states(folder: Path) -> list[Path]:
    """Complete states in `folder`, oldest first."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if (path / "state.json").exists())


def load_state(path: Path, module: nn.Module, average: Average, optimizers: list[Optimizer]) -> int:
    """Put a saved state back in place and return how many steps were finished.

    Raises:
        CheckpointError: when the state is damaged or belongs to another model.
    """
    try:
        module.load_state_dict(load_file(path / "weights.safetensors"), strict=False)
        average.load(load_file(path / "average.safetensors"))
        for index, optimizer in enumerate(optimizers):
            _unflatten(optimizer, load_file(path / f"optimizer-{index}.safetensors"))
        return int(json.loads((path / "state.json").read_text())["step"])
    except (OSError, KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be resumed ({error}); delete it to resume from the one before") from error


def _flatten(optimizer: Optimizer) -> dict[str, Tensor]:
    states = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value).contiguous()
        for index, state in states.items()
        for name, value in state.items()
    }


def _unflatten(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        states.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
