"""What is computed as it is given: autocast switched off for a while, at no cost where it is not on."""

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """While this lasts, operations on devices of this type take what they are given."""
    return torch.autocast(device_type, enabled=False) if torch.is_autocast_enabled(device_type) else nullcontext()
