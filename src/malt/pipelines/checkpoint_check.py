"""Whether a folder holds a whole, safe MaltPipeline checkpoint, found out without building the model."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

from safetensors import SafetensorError, safe_open

from malt.errors import CheckpointError

MODELS = ("transformer", "vae", "text_encoder")
COMPONENTS = (*MODELS, "tokenizer", "scheduler")
# What the libraries raise over weights and configs that are damaged or do not fit.
WHAT_LOADING_RAISES = (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)
VARIANT = re.compile(r"[^.]+\.(?P<variant>[^.]+?)(-\d+-of-\d+)?\.safetensors")
QUANTISERS = ("bitsandbytes", "torchao")
PICKLES = {".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth"}


def check_checkpoint(path: Path) -> None:
    """Raise a `CheckpointError` unless `path` is a checkpoint with every component and undamaged weights."""
    if not path.is_dir():
        raise CheckpointError(f"there is no checkpoint folder {path}; check the name")
    index_file = path / "model_index.json"
    if not index_file.is_file():
        raise CheckpointError(f"{path} is not a checkpoint (it has no model_index.json); give the folder that has one")
    index = read_json(index_file)
    if index.get("_class_name") != "MaltPipeline":
        raise CheckpointError(f"{path} holds {index.get('_class_name')}, not a MaltPipeline; choose another checkpoint")
    for name in COMPONENTS:
        if name not in index or not (path / name).is_dir():
            raise CheckpointError(f"the checkpoint {path} lacks its {name}; copy it again, whole")
    for name in MODELS:
        check_model(path / name)


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files of one model, every shard its index names included, whether there or not."""
    named: set[Path] = set(folder.glob("*.safetensors"))
    for index in folder.glob("*.safetensors.index.json"):
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise CheckpointError(f"{index} is damaged: it says of no shard; copy the checkpoint again")
        named.update(folder / shard for shard in weight_map.values())
    return sorted(named)


def tensor_names(folder: Path) -> set[str]:
    """Give the names of all tensors one model's files hold.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    return {name for file in weight_files(folder) for name in _names_in(file)}


def only_variant(path: Path) -> str | None:
    """The variant that all weights of a checkpoint are of, such as fp16; None where there are those without one.

    A variant stands before the ending: `diffusion_pytorch_model.fp16.safetensors`, and before a shard's number.
    """
    files = [file for name in MODELS for file in weight_files(path / name)]
    variants = {VARIANT.fullmatch(file.name) for file in files}
    names = {None if found is None else found["variant"] for found in variants}
    return names.pop() if len(names) == 1 else None


def check_model(folder: Path) -> None:
    """Raise a `CheckpointError` unless a folder has one model, whole, in safetensors."""
    config = folder / "config.json"
    if not config.is_file():
        raise CheckpointError(f"{folder} has no config.json; copy the checkpoint again, whole")
    check_quantiser(folder)
    if not weight_files(folder):
        raise CheckpointError(_no_weights(folder))
    tensor_names(folder)


def check_quantiser(folder: Path) -> None:
    """Refuse a model that was quantised by a library that is not installed, or that needs a GPU where there is none.

    Raises:
        CheckpointError: for such a model.
    """
    library = quantiser_of(folder)
    if library == "bitsandbytes" and _is_of_diffusers(folder) and not _has_gpu():
        raise CheckpointError(
            f"{folder} is quantised by bitsandbytes, which needs a GPU, and there is none; "
            "use a computer that has one, or a base that is not quantised"
        )
    if library in QUANTISERS and find_spec(library) is None:
        raise CheckpointError(f"{folder} is quantised by {library}, which is not installed; pip install {library}")


def quantiser_of(folder: Path) -> str | None:
    """The library that a model was quantised by, None where it was not."""
    config = folder / "config.json"
    settings = read_json(config).get("quantization_config") if config.is_file() else None
    return str(settings.get("quant_method")) if isinstance(settings, dict) else None


def how_to_load(*models: Path) -> str:
    """What to do where these models cannot be loaded though their files are there."""
    library = next(filter(None, map(quantiser_of, models)), None)
    if library is None:
        return "where that is no matter of this computer, copy it again, whole"
    return f"it is quantised: see that {library} runs on this computer, or give a base that is not quantised"


def _is_of_diffusers(folder: Path) -> bool:
    """Whether diffusers loads a model; transformers lets bitsandbytes say what it computes on."""
    return "_class_name" in read_json(folder / "config.json")


def _has_gpu() -> bool:
    import torch

    return bool(torch.accelerator.is_available())


def _no_weights(folder: Path) -> str:
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)
    if not pickles:
        return f"{folder} has no weights (*.safetensors); copy the checkpoint again, whole"
    return (
        f"{folder} has pickled weights ({pickles[0]}), which can run code and are refused; convert them to safetensors"
    )


def _names_in(file: Path) -> list[str]:
    """Open a file as far as its header, whose lengths `safe_open` holds against the file's size."""
    try:
        with safe_open(file, framework="pt") as tensors:
            return list(tensors.keys())
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing; copy the checkpoint again, whole") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} is damaged or cut short; copy it again") from error


def read_json(file: Path) -> dict[str, object]:
    """The object in a JSON file.

    Raises:
        CheckpointError: there is none in it.
    """
    try:
        content: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is damaged: it is not JSON; copy the checkpoint again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is damaged: it is not a JSON object; copy the checkpoint again")
    return content
