"""Where a model computes, which is what to ask before it is handed tensors: an offloaded one keeps its weights elsewhere."""

import torch
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

from malt.models.video_model import VideoModel


@apply_forward_hook
def compute_device(autoencoder: nn.Module) -> torch.device:
    """The device to hand an autoencoder tensors on; an offloaded one is woken, as its encode and decode do not wake it."""
    return execution_device(autoencoder)


def execution_device(model: nn.Module | VideoModel) -> torch.device:
    """The device to hand a model tensors on."""
    if not isinstance(model, nn.Module):
        return model.device
    hooks = (getattr(module, "_hf_hook", None) for module in model.modules())
    devices = (getattr(hook, "execution_device", None) for hook in hooks)
    device = next((device for device in devices if device is not None), None)
    return torch.device(device) if device is not None else next(model.parameters()).device
