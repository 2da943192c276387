"""How much a segment attends to what is remembered, layer by layer: read off as a session makes its last segments again.

Nothing of this runs while a video is made: the hooks are there for the time of the replay only.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.memory.protocol import Conditions, ContextMemory, Layout
from malt.memory.state import KeysValues
from malt.models.attention import MaltAttention
from malt.models.positions import Rotation
from malt.models.transformer import MaltTransformer3DModel
from malt.sessions.session import Session

NO_SHARES = (
    "a pretrained base attends within its library's kernels, which do not say where they look; "
    "--picture is for malt's own models"
)


@dataclass(frozen=True)
class Attended:
    """Where one segment looked, as shares of its attention: means over its passes (the one that remembers too), tokens, heads.

    index, start: its number and that of its first frame. remembered: shares of the remembered moments, oldest first (one
    of all slots together where the memory has no order), in each layer; what is missing from 1 went to the segment itself
    and the frames right before it.
    """

    index: int
    start: int
    remembered: Float[Tensor, "layers moments"]


def watch_memory(session: Session, num_segments: int) -> list[Attended]:
    """Make the last `num_segments` segments of a session again, and say where each of them looked.

    Raises:
        UsageError: nothing has been made yet, or the model's memory does not stand beside the segment in its attention.
    """
    transformer = session.pipe.transformer
    if not isinstance(transformer, MaltTransformer3DModel):
        raise UsageError(NO_SHARES)
    if not any(isinstance(memory, ContextMemory) for memory in transformer.memory_modules()):
        raise UsageError("this model's memory takes no part in its attention; there is nothing to picture")
    if not session.num_segments:
        raise UsageError("the session has made nothing yet; there is nothing to picture")
    given = 0 if session.state.origin is None else session.state.origin.start
    first = max(given, session.num_frames - num_segments * session.frames_ahead)
    replayed, attended = session.replay(first), []
    with _hooks(transformer, _num_moments(session, transformer)) as shares:
        for segment in replayed:
            layers = [torch.stack(layer).mean(dim=0) for layer in shares]
            attended.append(Attended(segment.index, segment.start, torch.stack(layers)))
            for layer in shares:
                layer.clear()
    return attended


def _num_moments(session: Session, transformer: MaltTransformer3DModel) -> int:
    """How many moments a layer remembers: frames where what is remembered has its place in the picture, else one."""
    pipe, settings = session.pipe, session.state.settings
    side = pipe.codec.space_compression
    size = settings["height"] // side, settings["width"] // side
    rows, columns = (length // patch for length, patch in zip(size, transformer.patch_size, strict=True))
    nobody = torch.zeros(1, 0, transformer.config.caption_dim)
    conditions = Conditions(Layout(transformer.segment_frames, rows, columns), nobody, nobody[..., 0].bool())
    layers = zip(transformer.memory_modules(), transformer.empty_memory(1, *size), strict=True)
    contexts = [memory.context(state, conditions) for memory, state in layers if isinstance(memory, ContextMemory)]
    return max([len(context.times) for context in contexts if context.times is not None], default=1)


@contextmanager
def _hooks(transformer: MaltTransformer3DModel, moments: int) -> Iterator[list[list[Tensor]]]:
    """For every layer, the shares that its remembered moments had in each pass so far."""
    shares: list[list[Tensor]] = [[] for _ in transformer.blocks]

    def note(
        layer: list[Tensor], attention: MaltAttention, given: tuple[Tensor, Sequence[KeysValues], Rotation | None]
    ) -> None:
        layer.append(_shares(attention, *given, moments=moments))

    handles = [
        block.get_submodule("attn1").register_forward_pre_hook(
            lambda attention, given, layer=layer: note(layer, attention, given)
        )
        for block, layer in zip(transformer.blocks, shares, strict=True)
    ]
    try:
        yield shares
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _shares(
    attention: MaltAttention, hidden: Tensor, parts: Sequence[KeysValues], turn: Rotation | None = None, *, moments: int
) -> Float[Tensor, " moments"]:
    """softmax(q k^T / sqrt(d)), summed over the places of each remembered moment, which come before the segment's own."""
    seen, kept = parts[0].keys.shape[1], parts[0].kept
    places = 0 if len(parts) == 1 else seen if kept is None else len(kept)
    if not places or places % moments:
        return torch.zeros(moments)
    query, key = attention.queries(hidden, turn), torch.cat([part.keys for part in parts], dim=1)
    scores = torch.einsum("bnkd,bmkd->bknm", query, key) * query.shape[-1] ** -0.5
    counting = torch.cat([part.counting() for part in parts], dim=1)
    scores = scores.masked_fill(~counting[:, None, None, :], float("-inf"))
    shares = scores.softmax(dim=-1)[..., :seen]
    if kept is not None:
        shares = shares.new_zeros(*shares.shape[:-1], places).masked_scatter(kept, shares)
    by_moment: Tensor = shares.unflatten(-1, (moments, -1))
    return by_moment.sum(dim=-1).mean(dim=(0, 1, 2)).cpu()
