"""How many bytes a session's state has, from shapes alone: nothing is computed."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from malt.codecs.latent_history import LatentHistory
from malt.rollouts.base import held_bytes
from malt.sessions.pipeline import SessionPipeline

SINGLE = 4  # bytes of a number


def state_bytes(pipe: SessionPipeline, height: int, width: int) -> int:
    """Bytes of memory, latest latents and their actions, and of what the decoder carries from segment to segment."""
    model, codec = pipe.transformer, pipe.codec
    rows, columns = height // codec.space_compression, width // codec.space_compression
    kept = max(model.segment_frames, model.context_frames)
    numbers = kept * (codec.latent_channels * rows * columns + (model.action_dim or 0))
    return model.memory_bytes(1, rows, columns) + SINGLE * numbers + _decoder_bytes(pipe, rows, columns)


def _decoder_bytes(pipe: SessionPipeline, rows: int, columns: int) -> int:
    """What the decoder hands on behind two segments, which it is led through with tensors that hold nothing."""
    shape = 1, pipe.transformer.segment_frames, pipe.codec.latent_channels, rows, columns
    cache: object = None
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        for _ in range(2):
            cache = pipe.codec.decode(torch.empty(shape), cache)[1]
    return held_bytes(cache.at_rest() if isinstance(cache, LatentHistory) else cache)
