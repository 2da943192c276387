"""`multimodal`: every entry is a pooled frame with the caption and the actions it was made under; the caption of now decides.

The last few entries roll on. What falls out of them is kept if it is new as a whole: other things seen, under another
caption, while something else was done. What is read is what was written under such captions as that of now. So when a prompt
comes back its scene does, whose walls and colours no caption named, and the scene in between stays out of it.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from malt.memory.hierarchical import pool
from malt.memory.novelty import Novelty, choose, pick
from malt.memory.protocol import (
    Conditions,
    ContextTokens,
    Layout,
    SegmentRecord,
    frames_before,
    nothing_written,
    unit_rms,
    with_segment,
)
from malt.memory.similar_tokens import without_alike
from malt.memory.state import State, places, side_by_side

SAME = 1e-4  # squared distance, by channel, below which two captions are the same but for rounding


@dataclass(frozen=True, kw_only=True)
class MultimodalConfig:
    """num_entries: how many entries are kept. num_recent: how many of them are the last ones, whatever they resemble.

    threshold: the cosine, over what was seen, said and done alike, from which on an entry is not new.
    """

    num_entries: int = 8
    num_recent: int = 3
    threshold: float = 0.98

    def __post_init__(self) -> None:
        """Refuse a memory of nothing but the last entries."""
        if not 0 <= self.num_recent < self.num_entries:
            raise ValueError(
                f"num_recent is {self.num_recent} of num_entries {self.num_entries}; give 0 or more, and fewer than all"
            )
        Novelty(threshold=self.threshold)


class _Parts(NamedTuple):
    """What a state holds: of every entry, and last of the segment before, its caption and its actions; frames; that segment."""

    captions: State  # (b, e + 1, d)
    actions: State  # (b, e + 1, d)
    unused: State
    frames: State  # (b, e x tokens per frame, d)
    last: State


class MultimodalMemory(nn.Module):
    """`num_entries` pooled frames with a token each for caption and actions, and the last segment; no parameters."""

    def __init__(self, width: int, num_heads: int, config: MultimodalConfig = MultimodalConfig()) -> None:
        super().__init__()
        self.width, self.num_entries, self.num_recent = width, config.num_entries, config.num_recent
        self.novelty = Novelty(threshold=config.threshold)

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """Places for the entries and for a segment, and whole frames of them for captions and actions."""
        frames = self._label_frames(layout) + self.num_entries + layout.frames
        return nothing_written(frames * layout.tokens_per_frame, self.width, batch, like)

    def context(self, state: State, conditions: Conditions) -> ContextTokens:
        """The entries whose caption is near that of now, and the last segment; those that are not recent are all at one time."""
        layout = conditions.layout
        parts, is_near = self._split(state, layout), self.relevance(state, conditions) > 0
        shown = parts.frames.valid & is_near.repeat_interleave(layout.tokens_per_frame, dim=1)
        frames = State(parts.frames.tokens, shown)
        return frames_before(side_by_side(frames, parts.last), layout, num_timeless=self.num_entries - self.num_recent)

    def relevance(self, state: State, conditions: Conditions) -> Float[Tensor, "b e"]:
        """Cosine between the captions of the entries and that of now, as they differ from the mean of all of them.

        1 where either has no caption, or where all are one.
        """
        captions = self._split(state, conditions.layout).captions
        stored = places(captions, slice(self.num_entries))
        now = self._token(conditions.caption, conditions.caption_mask)
        known = side_by_side(State(stored.tokens.float(), stored.valid), State(now.tokens.float(), now.valid))
        weight = known.valid[..., None].float()
        mean = (known.tokens * weight).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True).clamp(min=1)
        apart = (known.tokens - mean) * self.width**-0.5
        ours, theirs = apart[:, -1:], apart[:, :-1]
        cosine = ((ours * theirs).sum(dim=-1) + SAME) / (ours.norm(dim=-1) * theirs.norm(dim=-1) + SAME)
        return torch.where(stored.valid & now.valid, cosine, 1.0)

    def write(self, record: SegmentRecord, state: State) -> State:
        """What the segment pushes out is pooled into an entry, with the caption and the actions it was made under."""
        if not state.tokens.shape[1]:
            return state  # it has no places, since nothing will be written
        conditions, per_frame = record.conditions, record.conditions.layout.tokens_per_frame
        state = State(state.tokens.to(record.hidden.dtype), state.valid)
        parts, count = self._split(state, conditions.layout), record.tokens.shape[1]
        known = with_segment(parts.last, record)
        frames = side_by_side(parts.frames, pool(places(known, slice(count)), per_frame))
        stay = self._stay(_as_a_whole(frames, parts, per_frame))
        caption, actions = self._token(conditions.caption, conditions.caption_mask), self._actions(conditions, record)
        labels = side_by_side(_at(parts.captions, stay), caption, _at(parts.actions, stay), actions, parts.unused)
        labels = State(labels.tokens.to(record.hidden.dtype), labels.valid)
        return side_by_side(labels, _frames_at(frames, stay, per_frame), places(known, slice(count, None)))

    def _stay(self, entries: State) -> Int[Tensor, "b e"]:
        """Which of one entry too many stay: the last ones, and of those before them all but one."""
        older = self.num_entries - self.num_recent + 1
        stay = choose(places(entries, slice(older)), self.novelty).stay
        recent = torch.arange(older, self.num_entries + 1, device=stay.device)
        return torch.cat([stay, recent.expand(len(stay), -1)], dim=1)

    def forget(self, state: State, gone: State, layout: Layout) -> State:
        """Without the entries most of whose tokens resemble those of another memory, and such tokens of the last segment."""
        per_frame, parts, theirs = layout.tokens_per_frame, self._split(state, layout), self._split(gone, layout)
        known = side_by_side(theirs.frames, theirs.last)
        left, last = (without_alike(each, known) for each in (parts.frames, parts.last))
        held, unlike = (each.valid.unflatten(1, (-1, per_frame)).sum(dim=2) for each in (parts.frames, left))
        stays = 2 * unlike > held
        labelled = F.pad(stays, (0, 1), value=True)  # the segment before keeps its caption and its actions
        captions, actions = (State(each.tokens, each.valid & labelled) for each in (parts.captions, parts.actions))
        frames = State(parts.frames.tokens, parts.frames.valid & stays.repeat_interleave(per_frame, dim=1))
        return side_by_side(captions, actions, parts.unused, frames, last)

    def _label_frames(self, layout: Layout) -> int:
        return math.ceil(2 * (self.num_entries + 1) / layout.tokens_per_frame)

    def _split(self, state: State, layout: Layout) -> _Parts:
        count, frames = self.num_entries + 1, self._label_frames(layout) * layout.tokens_per_frame
        ends = (0, count, 2 * count, frames, frames + self.num_entries * layout.tokens_per_frame, state.valid.shape[1])
        return _Parts(*(places(state, slice(*each)) for each in pairwise(ends)))

    def _actions(self, conditions: Conditions, record: SegmentRecord) -> State:
        """One token for what was done on average, behind a constant so that how much of it counts; unwritten without any."""
        done = conditions.actions
        if done is None:
            return nothing_written(1, self.width, len(record.hidden), record.hidden)
        own = F.pad(done[:, conditions.layout.num_context :], (1, 0), value=1.0)
        return self._token(own, torch.ones_like(own[..., 0], dtype=torch.bool))

    def _token(self, states: Float[Tensor, "b n e"], counts: Bool[Tensor, "b n"]) -> State:
        """The mean of what counts as one token of unit size, folded or filled up to the width; unwritten where nothing does."""
        weight = counts[..., None].to(states.dtype)
        mean = (states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        folded = F.pad(mean, (0, -mean.shape[-1] % self.width)).unflatten(-1, (-1, self.width)).sum(dim=-2)
        return State(unit_rms(folded)[:, None], counts.any(dim=1, keepdim=True))


def _as_a_whole(frames: State, parts: _Parts, per_frame: int) -> State:
    """Every entry as one token (b, e + 1, ...), in which what was seen, said and done weigh alike."""
    seen = (frames.tokens * frames.valid[..., None]).unflatten(1, (-1, per_frame)).flatten(2) * per_frame**-0.5
    said, done = (each.tokens * each.valid[..., None] for each in (parts.captions, parts.actions))
    valid = frames.valid.unflatten(1, (-1, per_frame)).any(dim=2)
    return State(torch.cat([seen, said.to(seen.dtype), done.to(seen.dtype)], dim=-1), valid)


def _at(state: State, index: Tensor) -> State:
    return State(pick(state.tokens, index), state.valid.gather(1, index))


def _frames_at(frames: State, index: Tensor, per_frame: int) -> State:
    """Some of the frames, by their numbers."""
    within = torch.arange(per_frame, device=index.device)
    return _at(frames, (index[..., None] * per_frame + within).flatten(1))
