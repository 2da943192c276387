"""Laws of the seam between a rollout and its network, with a network that is none of ours."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor

import tiny
import tiny_pipeline
from malt.memory.protocol import LayerMemory
from malt.memory.state import KVCache, Memory, State, num_bytes
from malt.models.video_model import TransformerOutput, VideoModel
from malt.rollouts.base import RolloutState
from malt.rollouts.registry import ROLLOUTS, build_rollout
from malt.sessions.serialization import put_together, take_apart
from tiny_pipeline import SEGMENT

GREY = 0.25  # all that it wants to see


class GreyModel:
    """Denoises towards one value; its memory counts the segments that it was shown."""

    segment_frames, context_frames, action_dim, device = tiny.FRAMES, 1, None, torch.device("cpu")
    patch_size, remembers, distilled = (1, 1), True, None

    def empty_memory(self, batch: int, height: int, width: int) -> Memory:
        return (State(torch.zeros(batch, 1, 1), torch.zeros(batch, 1, dtype=torch.bool)),)

    def memory_bytes(self, batch: int, height: int, width: int) -> int:
        return num_bytes(self.empty_memory(batch, height, width))

    def memory_modules(self) -> list[LayerMemory]:
        return []

    def __call__(
        self,
        latents: Tensor,
        timestep: Tensor,
        memory: Memory | None,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor,
        actions: Tensor | None = None,
        num_context_frames: int = 0,
        cache: KVCache | None = None,
        update_memory: bool = True,
        added_conditions: Mapping[str, Tensor] | None = None,
    ) -> TransformerOutput:
        memory = self.empty_memory(len(latents), 1, 1) if memory is None else memory
        velocity = (latents - GREY) / timestep.clamp(min=1e-6)[:, :, None, None, None]
        if not update_memory:
            return TransformerOutput(velocity, memory, ())
        return TransformerOutput(velocity, tuple(State(s.tokens + 1, torch.ones_like(s.valid)) for s in memory), None)


def test_our_transformer_is_a_video_model() -> None:
    assert isinstance(tiny.transformer(), VideoModel)


def test_our_transformer_refuses_conditions_that_it_does_not_take() -> None:
    with pytest.raises(ValueError, match="this model takes no pooled; give it a caption and actions alone"):
        tiny.transformer()(memory=None, added_conditions={"pooled": torch.zeros(2, 3)}, **tiny.segment())


@pytest.mark.parametrize("name", ROLLOUTS)
def test_every_way_makes_video_with_any_network_that_has_what_a_rollout_asks_for(name: str) -> None:
    base = replace(tiny_pipeline.rollout(), transformer=GreyModel())
    rollout = build_rollout(name, base)
    segments = list(rollout.stream(3 * SEGMENT, rollout.begin(3)))
    assert sum(segment.frames.shape[1] for segment in segments) == 3 * SEGMENT
    for segment in segments:
        torch.testing.assert_close(segment.latents, torch.full_like(segment.latents, GREY), rtol=0, atol=1e-4)


def test_a_network_that_is_none_of_ours_is_shown_every_finished_segment_once() -> None:
    rollout = replace(tiny_pipeline.rollout(), transformer=GreyModel())
    state = rollout.begin(3)
    for count in range(3):
        assert state.memory[0].tokens.unique().tolist() == [count]
        _, state = rollout.advance(state)


@pytest.mark.parametrize("missing", [{"ahead", "num_made"}, set[str]()])
def test_what_was_stored_of_a_video_before_every_way_had_one_state_is_read(missing: set[str]) -> None:
    """MALT's state had neither field, that of the ways without memory had both."""
    rollout = tiny_pipeline.rollout()
    _, state = rollout.advance(rollout.begin(3))
    tensors: list[Tensor] = []
    held = cast(dict[str, object], take_apart(state, tensors)["fields"])
    for name in missing:
        del held[name]
    found = put_together({"fields": held}, tensors, rollout.begin(0))
    assert isinstance(found, RolloutState)
    assert torch.equal(rollout.advance(found)[0].frames, rollout.advance(state)[0].frames)
