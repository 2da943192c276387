"""Puts a memory that was trained on diffusers' Wan on the same Wan as ComfyUI loads it: its fit, its weights, its LoRA."""

from pathlib import Path
from typing import Any

from comfy.ldm.wan.model import WanModel
from comfy.lora import load_lora, model_lora_keys_unet
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

from malt.adapters.adapter import MemoryAdapter
from malt.adapters.folder import LORA, AdapterDescription, load_weights, read_adapter, read_tensors
from malt.errors import UsageError

from .native_memory import NativeMemory, attach


def with_memory(model: Any, folder: Path) -> Any:
    """Another MODEL with the memory of a folder, in which nothing has been written; the one that was given stays without.

    Args:
        model: Wan of text to video, as ComfyUI's loaders give it.
        folder: of an adapter; the base that it was trained on is in diffusers' layout, the weights are the same.

    Raises:
        UsageError: the MODEL is none that takes a memory, or the adapter was made for another.
        CheckpointError: the folder holds no whole adapter.
    """
    network = model.model.diffusion_model
    if type(network) is not WanModel or network.model_type != "t2v" or network.in_dim != network.out_dim:
        raise UsageError(
            f"a {type(model.model).__name__} takes no memory here, only Wan 2.1 and 2.2 of text to video; "
            "load others as a folder of diffusers with Load Malt"
        )
    described = read_adapter(folder)
    _check(described, network)
    adapter = MemoryAdapter(**described.adapter)
    load_weights(folder, adapter)
    if described.adapter.get("lora_rank"):
        model = _with_lora(model, folder)
    noise = float(described.settings.get("context_noise", 0.0))
    return attach(model, NativeMemory(adapter.eval().requires_grad_(False), noise))


def _check(described: AdapterDescription, network: WanModel) -> None:
    """Refuse an adapter that was made for a Wan of other sizes."""
    base = described.base
    if described.family != "wan":
        raise UsageError(f"the adapter was made for a {base.class_name} ({base.name}), not for Wan; give one for Wan")
    has = {
        "num_layers": network.num_layers,
        "num_attention_heads": network.num_heads,
        "attention_head_dim": network.dim // network.num_heads,
        "ffn_dim": network.ffn_dim,
        "in_channels": network.in_dim,
        "text_dim": network.text_dim,
        "patch_size": list(network.patch_size),
    }
    for name, value in has.items():
        if base.config[name] != value:
            raise UsageError(
                f"the adapter was made for {base.name}, whose {name} is {base.config[name]}, not {value}; load that base"
            )


def _with_lora(model: Any, folder: Path) -> Any:
    """Another MODEL with the adapter's LoRA on its weights, at full strength, as ComfyUI puts any LoRA on them."""
    names = {name: name for name in model.model.diffusion_model.state_dict()}
    theirs = convert_wan_transformer_to_diffusers(names)
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
