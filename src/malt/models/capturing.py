"""Whether a CUDA graph is being recorded: nothing can then be asked of the device, and each answer must fit all cases."""

import torch


def is_capturing() -> bool:
    """Whether the current stream records a graph; a process that has not begun to use a GPU is not made to."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
