"""Loads a pretrained base and an adapter: from folders, or from the hub by diffusers, never anything pickled."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

from malt.adapters.folder import AdapterDescription, read_adapter
from malt.errors import CheckpointError, UsageError
from malt.hub.base_names import is_on_hub
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.base_check import check_base_folder, components, used_components
from malt.pipelines.base_folder import base_folder, keep_text_length, read_settings
from malt.pipelines.checkpoint_check import WHAT_LOADING_RAISES, how_to_load
from malt.pipelines.loading import check_complete


def load_adapted(
    base: Path | str | None = None, adapter: Path | str | None = None, *, dtype: torch.dtype = torch.bfloat16
) -> AdaptedPipeline:
    """A pretrained base, with a memory where an adapter is given.

    Args:
        base: a folder with the `model_index.json` of a pipeline of diffusers, or its identifier on the hub, as in
            Wan-AI/Wan2.1-T2V-1.3B-Diffusers; None for the one on the hub that the adapter was made for.
        adapter: a folder that `malt.adapters.save_adapter` wrote; None for a base that goes on without a memory.
        dtype: of the weights, but for those of the autoencoder, which are in single precision.

    Raises:
        UsageError: nothing is given, the base is of no known family, or the adapter was made for another.
        CheckpointError: a folder is missing, incomplete, damaged or pickled, or the base cannot be fetched.
    """
    described = None if adapter is None else describe(adapter)
    folder = whole_base(_named(described) if base is None else base)
    check_base_folder(folder)
    pipe = _load(folder, dtype)
    keep_text_length(pipe, folder)
    return AdaptedPipeline(pipe, adapter, {} if described is None else described.settings, folder=folder)


def _named(described: AdapterDescription | None) -> str:
    """The base that an adapter was made for, where its name says where it is."""
    if described is None:
        raise UsageError("there is no base; give a folder with a pipeline of diffusers, or its name on the hub")
    name = described.base.name
    if not (is_on_hub(name) or Path(name).is_dir()):
        raise UsageError(f"the adapter was made for the base {name}, which lies in a folder; say where, with --base")
    return name


def base_of_adapter(adapter: Path | str) -> str:
    """The base that an adapter was made for, as a folder that is there or a name on the hub.

    Raises:
        UsageError: it lay in a folder that is not there.
        CheckpointError: it is no adapter, or a damaged one.
    """
    return _named(describe(adapter))


def describe(adapter: Path | str) -> AdapterDescription:
    """What an adapter's folder says of itself; of two for one base, the first.

    Raises:
        CheckpointError: it is no adapter, or a damaged one.
    """
    first = Path(adapter) / "transformer"
    return read_adapter(first if first.is_dir() else adapter)


def whole_base(base: Path | str) -> Path:
    """The folder of a base with all its parts, which are fetched where it is an identifier of the hub.

    Raises:
        UsageError: there is no such folder, and it is no identifier either.
        CheckpointError: it cannot be fetched.
    """
    folder = base_folder(str(base), ())
    return base_folder(str(base), used_components(read_settings(folder / "model_index.json")))


def _load(folder: Path, dtype: torch.dtype) -> Any:
    index = read_settings(folder / "model_index.json")
    unused = dict.fromkeys({*components(index)}.difference(used_components(index)))
    kept = {"local_files_only": True, "use_safetensors": True, **unused}
    try:
        pipe = DiffusionPipeline.from_pretrained(folder, dtype={"default": dtype, "vae": torch.float32}, **kept)
    except WHAT_LOADING_RAISES as error:
        reason = str(error).strip().split("\n")[0].split(". ")[0][:200]
        what_to_do = how_to_load(*(folder / name for name in used_components(index)))
        raise CheckpointError(f"the base {folder} cannot be loaded ({reason}); {what_to_do}") from error
    for name, part in pipe.components.items():
        if isinstance(part, nn.Module):
            check_complete(folder / name, part)
    return pipe
