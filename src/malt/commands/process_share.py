"""Which share of the work is this process's, as torchrun says in the environment."""

import os


def from_environment(name: str, default: int) -> int:
    """A whole number that the environment names, such as RANK; `default` where it does not."""
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default


def own_device(device: str) -> str:
    """The device of this process, where `auto` is for each process of a machine a GPU of its own."""
    import torch

    if device != "auto" or not torch.cuda.is_available() or from_environment("WORLD_SIZE", 1) == 1:
        return device
    return f"cuda:{from_environment('LOCAL_RANK', 0) % torch.cuda.device_count()}"
