"""Where an autoencoder computes: what a codec asks before it hands it tensors."""

import torch
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn


@apply_forward_hook
def compute_device(autoencoder: nn.Module) -> torch.device:
    """The device to hand it tensors on; an offloaded autoencoder is woken, and may keep its weights elsewhere."""
    hooks = (getattr(module, "_hf_hook", None) for module in autoencoder.modules())
    devices = (getattr(hook, "execution_device", None) for hook in hooks)
    device = next((device for device in devices if device is not None), None)
    return torch.device(device) if device is not None else next(autoencoder.parameters()).device
