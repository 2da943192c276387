"""Finds and brings up a model for a verb: where it computes, with how many threads, and without the libraries' chatter."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from malt.commands.checks import check_one_of
from malt.errors import UsageError
from malt.threads import use_threads

if TYPE_CHECKING:
    from malt.pipelines.malt import MaltPipeline


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options of every verb that goes on with a video: where the model that made it is, and where it computes."""

    model: str | None = None
    """The model that made it, if it is no longer where it was: its name or folder."""
    checkpoint: Path | None = None
    """Folder of the model that made it, if it is no longer where it was."""
    lora: Path | None = None
    """The LoRA it was made with, if it is no longer where it was."""
    device: str = "auto"
    """Device to compute on: auto, cpu, cuda, cuda:1 or mps."""
    threads: int | None = None
    """How many CPU threads to use."""


def find_model(model: str | None, checkpoint: Path | None) -> Path | None:
    """The folder of a model: one that comes with the package, by its name, or any other; None for the default.

    Raises:
        UsageError: both were given, or there is no such model.
        CheckpointError: the folder holds no whole model.
    """
    from malt.pipelines.checkpoint_check import check_checkpoint
    from malt.pipelines.packaged import packaged_models

    check_one_of(model=model, checkpoint=checkpoint)
    packaged = packaged_models()
    folder = checkpoint if model is None else packaged.get(model, Path(model))
    if model is not None and model not in packaged and not Path(model).is_dir():
        raise UsageError(
            f"there is no model {model!r}; give one of {', '.join(packaged)} or a folder with model_index.json"
        )
    if folder is not None:
        check_checkpoint(folder)
    return folder


def takes_actions(checkpoint: Path | None) -> bool:
    """Whether a model takes actions, found out without loading it."""
    from malt.pipelines.packaged import default_checkpoint

    config = (checkpoint or default_checkpoint()) / "transformer" / "config.json"
    return json.loads(config.read_text(encoding="utf-8")).get("action_dim") is not None


def check_lora(lora: Path | None) -> None:
    """Raise a `UsageError` if a LoRA is named that is not there."""
    if lora is not None and not lora.exists():
        raise UsageError(f"there is no LoRA {lora}; give a .safetensors file, or a folder with one")


def load_model(
    checkpoint: Path | None, *, lora: Path | None = None, device: str = "auto", threads: int | None = None
) -> "MaltPipeline":
    """Load the checkpoint, or the default model, and its LoRA onto a device.

    Raises:
        UsageError: there is no such device.
        CheckpointError: there is no such checkpoint or LoRA, or it cannot be loaded.
    """
    from malt.pipelines.loading import load_pipeline

    use_threads(threads)
    place = choose_device(device)
    silence_libraries()
    pipe = load_pipeline(checkpoint)
    if lora is not None:
        pipe.load_lora_weights(lora)
    pipe.to(place)
    return pipe


def choose_device(name: str) -> str:
    """Give the device's name, the first GPU or else the processor for "auto".

    Raises:
        UsageError: nothing can be computed on it here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name).sum().item()
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise UsageError(f"cannot compute on the device {name!r} here; give auto, cpu or one that is there") from error
    return name


def silence_libraries() -> None:
    """Keep the libraries' own progress bars and advice off the screen."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.disable_progress_bar()
        logging.set_verbosity_error()
