"""Finds and brings up a model for a verb: where it computes, with how many threads, and without the libraries' chatter."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from malt.commands.checks import check_one_of
from malt.errors import UsageError
from malt.pipelines.model_place import ModelPlace
from malt.threads import use_threads

if TYPE_CHECKING:
    from malt.pipelines.adapted import AdaptedPipeline
    from malt.pipelines.malt import MaltPipeline
    from malt.pipelines.video_pipeline import VideoPipeline

OFFLOADS = ("none", "model", "group")
PRECISIONS = ("auto", "bfloat16", "float16", "float32")


@dataclass(frozen=True, kw_only=True)
class BaseOptions:
    """Options of every verb that can make video with a pretrained base."""

    base: str | None = None
    """A pretrained base to go on with: a folder with a pipeline of diffusers, or its name on the hub, as in
    Wan-AI/Wan2.1-T2V-1.3B-Diffusers."""
    adapter: Path | None = None
    """Folder of the memory that was trained for the base, or its name on the hub, as in somebody/walks; without it the base
    sees its last frames and no more."""
    offload: str = "none"
    """What of the base waits in main memory: none, model (what is not at work), or group (the blocks not at work, too)."""
    precision: str = "auto"
    """Numbers the model computes with: bfloat16, float16 or float32 (the default, but for a base on a GPU: bfloat16)."""


@dataclass(frozen=True, kw_only=True)
class MakingOptions(BaseOptions):
    """Options of every verb that makes new videos."""

    model: str | None = None
    """A model that comes with the package, by its name (default, teacher, drive, maze), or the folder of one."""
    checkpoint: Path | None = None
    """Folder of the model, with its model_index.json; the default model by default."""
    lora: Path | None = None
    """A LoRA of the model's transformer: a .safetensors file, or a folder with one."""
    device: str = "auto"
    """Device to compute on: auto, cpu, cuda, cuda:1 or mps."""
    threads: int | None = None
    """How many CPU threads to use."""
    compile: bool = False
    """Compile the model's blocks first, for half a minute or less; every segment then takes a tenth less time."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions(BaseOptions):
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


def find_place(model: str | None, checkpoint: Path | None, options: BaseOptions) -> ModelPlace:
    """The model that options name.

    Raises:
        UsageError: more than one is named, or there is no such model.
        CheckpointError: a folder holds no whole model.
    """
    check_one_of(model=model, checkpoint=checkpoint, base=options.base)
    check_one_of(model=model, checkpoint=checkpoint, adapter=options.adapter)
    _check_choice("--offload", options.offload, OFFLOADS)
    _check_choice("--precision", options.precision, PRECISIONS)
    adapter = None if options.adapter is None else find_adapter(options.adapter)
    place = ModelPlace(folder=find_model(model, checkpoint), base=options.base, adapter=adapter)
    if place.is_based:
        place.check_base()
    elif options.offload != "none":
        raise UsageError("--offload is for a pretrained base; give --base, or leave it out")
    return place


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"asked for {value!r} as {option}; choose one of {', '.join(choices)}")


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


@cache
def find_adapter(adapter: Path) -> Path:
    """The folder of an adapter, which is fetched where it is no folder here and could be a name on the hub.

    Raises:
        CheckpointError: it cannot be fetched.
    """
    from malt.hub.base_names import is_on_hub
    from malt.hub.fetching import fetch

    return fetch(adapter.as_posix()) if is_on_hub(adapter.as_posix()) else adapter


def check_lora(lora: Path | None) -> None:
    """Raise a `UsageError` if a LoRA is named that is not there."""
    if lora is not None and not lora.exists():
        raise UsageError(f"there is no LoRA {lora}; give a .safetensors file, or a folder with one")


def load_model(
    place: ModelPlace | Path | None,
    *,
    lora: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    offload: str = "none",
    precision: str = "auto",
) -> "VideoPipeline":
    """Load a model, the default one for None, and its LoRA onto a device.

    Raises:
        UsageError: there is no such device.
        CheckpointError: there is no such model or LoRA, or it cannot be loaded.
    """
    use_threads(threads)
    where = choose_device(device)
    silence_libraries()
    if isinstance(place, ModelPlace) and place.is_based:
        return _load_base(place, lora, where, offload, precision)
    from malt.pipelines.loading import load_pipeline

    pipe = load_pipeline(place.folder if isinstance(place, ModelPlace) else place)
    if lora is not None:
        pipe.load_lora_weights(lora)
    pipe.to(where)
    if precision != "auto":
        compute_in(pipe, precision)
    return pipe


def compute_in(pipe: "MaltPipeline", precision: str) -> None:
    """Let a model's own networks compute in other numbers; what reads the prompt stays as it is."""
    import torch

    for name in ("transformer", "vae"):
        pipe.components[name].to(getattr(torch, precision))


def _load_base(place: ModelPlace, lora: Path | None, device: str, offload: str, precision: str) -> "AdaptedPipeline":
    import torch

    from malt.pipelines.adapted_loading import load_adapted

    chosen = precision if precision != "auto" else "float32" if device == "cpu" else "bfloat16"
    pipe = load_adapted(place.base, place.adapter, dtype=getattr(torch, chosen))
    if lora is not None:
        pipe.load_lora_weights(lora)
    pipe.bring_to(device, offload)
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
