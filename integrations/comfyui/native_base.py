"""Puts a memory that was trained on a base in diffusers on the same base as ComfyUI loads it: its fit, its weights, its LoRA."""

from pathlib import Path
from typing import Any

from comfy.lora import load_lora, model_lora_keys_unet

from malt.adapters.adapter import MemoryAdapter
from malt.adapters.folder import LORA, AdapterDescription, load_weights, read_adapter, read_tensors
from malt.errors import UsageError

from .native_ltx import ComfyUILTX
from .native_memory import ComfyUIFamily, NativeMemory, attach
from .native_wan import ComfyUIWan

FAMILIES: tuple[type[ComfyUIFamily], ...] = (ComfyUIWan, ComfyUILTX)


def with_memory(model: Any, folder: Path) -> Any:
    """Another MODEL with the memory of a folder, in which nothing has been written; the one that was given stays without.

    Args:
        model: of text to video, as ComfyUI's loaders give it.
        folder: of an adapter; the base that it was trained on is in diffusers' layout, the weights are the same.

    Raises:
        UsageError: the MODEL is none that takes a memory, or the adapter was made for another.
        CheckpointError: the folder holds no whole adapter.
    """
    network = model.model.diffusion_model
    family = next((kind() for kind in FAMILIES if kind.serves(network)), None)
    if family is None:
        known = " and ".join(kind.what for kind in FAMILIES)
        raise UsageError(
            f"{type(model.model).__name__} takes no memory here, only {known}; "
            "load others as a folder of diffusers with Load Malt"
        )
    described = read_adapter(folder)
    _check(described, family, network)
    adapter = MemoryAdapter(**described.adapter)
    load_weights(folder, adapter)
    if described.adapter.get("lora_rank"):
        model = _with_lora(model, family, folder)
    noise = float(described.settings.get("context_noise", 0.0))
    return attach(model, NativeMemory(family, adapter.eval().requires_grad_(False), noise))


def _check(described: AdapterDescription, family: ComfyUIFamily, network: Any) -> None:
    """Refuse an adapter that was made for another family, or for a base of other sizes."""
    base = described.base
    if described.family != family.name:
        raise UsageError(
            f"the adapter was made for {base.class_name} ({base.name}), not for {family.what}; give one for that"
        )
    for name, value in family.sizes(network).items():
        if base.config[name] != value:
            raise UsageError(
                f"the adapter was made for {base.name}, whose {name} is {base.config[name]}, not {value}; load that base"
            )


def _with_lora(model: Any, family: ComfyUIFamily, folder: Path) -> Any:
    """Another MODEL with the adapter's LoRA on its weights, at full strength, as ComfyUI puts any LoRA on them."""
    theirs = family.names(model.model.diffusion_model)
    tensors = read_tensors(folder, LORA)
    found = {}
    for name, tensor in tensors.items():
        layer, _, part = name.partition(".lora_")
        weight = theirs[f"{layer}.weight"]
        found[f"diffusion_model.{weight.removesuffix('.weight')}.lora_{part}"] = tensor
    model = model.clone()
    patches = load_lora(found, model_lora_keys_unet(model.model, {}), log_missing=True)
    if 2 * len(model.add_patches(patches)) != len(tensors):
        raise UsageError(f"the LoRA in {folder / LORA} does not fit this MODEL; copy the adapter again, whole")
    return model
