"""Loads a pretrained base and an adapter: from folders, or from the hub by diffusers, never anything pickled."""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline

from malt.adapters.folder import read_adapter
from malt.errors import CheckpointError, UsageError
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.base_check import check_base_folder
from malt.pipelines.checkpoint_check import WHAT_LOADING_RAISES

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_adapted(
    base: Path | str | None = None, adapter: Path | str | None = None, *, dtype: torch.dtype = torch.bfloat16
) -> AdaptedPipeline:
    """A pretrained base, with a memory where an adapter is given.

    Args:
        base: a folder with the `model_index.json` of a pipeline of diffusers, or its identifier on the hub, as in
            Wan-AI/Wan2.1-T2V-1.3B-Diffusers; None for the one that the adapter was made for.
        adapter: a folder that `malt.adapters.save_adapter` wrote; None for a base that goes on without a memory.
        dtype: of the weights, but for those of the autoencoder, which are in single precision.

    Raises:
        UsageError: nothing is given, the base is of no known family, or the adapter was made for another.
        CheckpointError: a folder is missing, incomplete, damaged or pickled, or the base cannot be fetched.
    """
    described = None if adapter is None else read_adapter(adapter)
    named = described.base.name if base is None and described is not None else base
    if named is None:
        raise UsageError("there is no base; give a folder with a pipeline of diffusers, or its name on the hub")
    folder = base_folder(named)
    check_base_folder(folder)
    pipe = _load(folder, dtype)
    return AdaptedPipeline(pipe, adapter, {} if described is None else described.settings, folder=folder)


def base_folder(base: Path | str) -> Path:
    """The folder of a base, which is fetched where it is an identifier of the hub.

    Raises:
        CheckpointError: there is no such folder, and nothing can be fetched.
    """
    if Path(base).is_dir():
        return Path(base)
    if not HUB_ID.fullmatch(str(base)):
        raise CheckpointError(f"there is no base {base}; give a folder with its model_index.json, or a name on the hub")
    try:
        return Path(DiffusionPipeline.download(str(base), use_safetensors=True))
    except WHAT_LOADING_RAISES as error:
        raise CheckpointError(
            f"the base {base} is neither a folder nor can it be fetched; where there is a network, run hf download {base}, "
            "and give the folder that it prints"
        ) from error


def _load(folder: Path, dtype: torch.dtype) -> Any:
    kept = {"local_files_only": True, "use_safetensors": True}
    try:
        return DiffusionPipeline.from_pretrained(folder, dtype={"default": dtype, "vae": torch.float32}, **kept)
    except WHAT_LOADING_RAISES as error:
        reason = str(error).strip().split("\n")[0].split(". ")[0][:200]
        raise CheckpointError(f"the base {folder} cannot be loaded ({reason}); copy it again, whole") from error
