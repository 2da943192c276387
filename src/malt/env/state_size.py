"""How many bytes a session's state has, from shapes alone: nothing is computed."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

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
    """What the decoder hands on from segment to segment, at rest."""
    codec, count = pipe.codec, pipe.transformer.segment_frames
    pixels = 3 * rows * columns * codec.space_compression**2
    if reach := getattr(codec, "reach", 0):  # the latents that the rest can be made from again
        return SINGLE * int(reach) * codec.latent_channels * rows * columns
    if overlap := getattr(codec, "overlap", 0):  # latents that are decoded again, and the last frame
        return SINGLE * (int(overlap) * codec.latent_channels * rows * columns + pixels)
    cache: object = None
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():  # tensors that have a shape and hold nothing
        for _ in range(2):
            cache = codec.decode(torch.empty(1, count, codec.latent_channels, rows, columns), cache)[1]
    return held_bytes(cache)
