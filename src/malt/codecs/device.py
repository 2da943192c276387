"""Where a model computes, which is what to ask before it is handed tensors: an offloaded one keeps its weights elsewhere."""

import torch
from diffusers.utils.accelerate_utils import apply_forward_hook
from diffusers.utils.torch_utils import get_module_execution_device
from torch import nn

from malt.models.video_model import VideoModel

OFFLOADING = {"_hf_hook", "_diffusers_hook"}  # under which accelerate and diffusers hang what moves weights on a layer


@apply_forward_hook
def compute_device(autoencoder: nn.Module) -> torch.device:
    """The device to hand an autoencoder tensors on; an offloaded one is woken, as its encode and decode do not wake it."""
    return execution_device(autoencoder)


def execution_device(model: nn.Module | VideoModel) -> torch.device:
    """The device to hand a model tensors on."""
    if not isinstance(model, nn.Module):
        return model.device
    weight = next(model.parameters(), None)
    if weight is not None and not _has_hooks(model):  # diffusers would go over all layers three times, at every segment
        return weight.device
    found: torch.device = get_module_execution_device(model)
    return found


def _has_hooks(model: nn.Module) -> bool:
    """Whether anything may move its weights."""
    layers = [model]
    for layer in layers:
        if not OFFLOADING.isdisjoint(vars(layer)):
            return True
        layers.extend(layer.children())
    return False
