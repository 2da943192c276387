"""`slots`: a few learned slots a layer, renewed by a gated update (recurrent memory transformer style, arXiv:2207.06881)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from malt.memory.protocol import Conditions, ContextTokens, Layout, SegmentRecord, unit_rms
from malt.memory.state import State


@dataclass(frozen=True, kw_only=True)
class SlotConfig:
    """num_slots: slots a layer."""

    num_slots: int = 32

    def __post_init__(self) -> None:
        """Refuse a memory of none."""
        if self.num_slots < 1:
            raise ValueError(f"a memory of {self.num_slots} slots cannot be; give at least 1")


class SlotMemory(nn.Module):
    """Slots attend to [slots ; tokens] of the finished segment; a gate decides how much of each slot is renewed."""

    def __init__(self, width: int, num_heads: int, config: SlotConfig = SlotConfig()) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.initial = nn.Parameter(torch.randn(config.num_slots, width))
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_update = nn.Linear(width, width)
        self.to_gate = nn.Linear(2 * width, width)

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """The learned slots, unwritten."""
        tokens = unit_rms(self.initial).to(like).expand(batch, -1, -1)
        return State(tokens, torch.zeros(tokens.shape[:2], dtype=torch.bool, device=like.device))

    def context(self, state: State, conditions: Conditions) -> ContextTokens:
        """The slots, which lie nowhere in the video."""
        return ContextTokens(*state)

    def write(self, record: SegmentRecord, state: State) -> State:
        """Renew the slots from the segment's tokens; an unwritten memory starts from the learned slots."""
        hidden = record.tokens
        slots = unit_rms(self.initial).to(hidden).expand(len(hidden), -1, -1)
        if state.tokens.shape[1]:  # none where the memory has no places, as in training on single segments
            slots = torch.where(state.valid[..., None], state.tokens, slots)
        keys, values = self.to_kv(torch.cat([slots, unit_rms(hidden)], dim=1)).chunk(2, dim=-1)
        heads = [rearrange(x, "b n (k d) -> b k n d", k=self.num_heads) for x in (self.to_q(slots), keys, values)]
        seen = rearrange(F.scaled_dot_product_attention(*heads), "b k n d -> b n (k d)")
        gate = torch.sigmoid(self.to_gate(torch.cat([slots, seen], dim=-1)))
        renewed = (1 - gate) * slots + gate * self.to_update(seen)
        return State(unit_rms(renewed), slots.new_ones(slots.shape[:2], dtype=torch.bool))
