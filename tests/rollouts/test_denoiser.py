"""Laws of the seam between a rollout and its network, with a network that is none of ours."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import tiny
import tiny_pipeline
from malt.diffusion.guidance import Guidance
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
    patch_size, remembers, distilled, boundary = (1, 1), True, None, None

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


class CountingModel(GreyModel):
    """Notes its passes: how many videos and frames, at which level of the segment, and whether the memory was written."""

    def __init__(self) -> None:
        self.passes: list[tuple[int, int, float, bool]] = []

    def __call__(self, latents: Tensor, timestep: Tensor, *args: Any, **told: Any) -> TransformerOutput:
        self.passes.append((len(latents), latents.shape[1], float(timestep[0, -1]), told.get("update_memory", True)))
        return super().__call__(latents, timestep, *args, **told)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_segment_remembered_in_its_last_step_takes_no_pass_more_than_its_steps(scale: float) -> None:
    model = CountingModel()
    guided = Guidance(text=scale)
    rollout = replace(tiny_pipeline.rollout(), transformer=model, remembers_in_last_step=True, guidance=guided)
    state = rollout.begin(3)
    for count in range(3):
        assert state.memory[0].tokens.tolist() == [[[count]]]
        model.passes.clear()
        _, state = rollout.advance(state)
        videos, frames = 1 + (scale != 1), 1 + tiny.FRAMES
        assert model.passes == [(videos, frames, 1.0, False), (videos, frames, 0.5, True)]


def test_what_the_last_step_remembers_is_the_segment_and_not_its_context() -> None:
    """As the transformer writes it, told of the caption, of the videos' own memory."""
    rollout = replace(tiny_pipeline.rollout(prompts=2, memory="slots"), remembers_in_last_step=True)
    rollout = replace(rollout, guidance=Guidance(text=3.0), num_steps=1, context_noise=0.0)
    _, before = rollout.advance(rollout.begin(3))
    _, state = rollout.advance(before)
    assert before.tail is not None
    noise = rollout.generators(before).draw(1 + tiny.FRAMES)
    frames = torch.cat([before.tail[:, -1:], noise[:, 1:]], dim=1)
    levels = torch.tensor([0.0] + [1.0] * tiny.FRAMES).repeat(2, 1)
    told = rollout.caption.arguments
    made = rollout.transformer(frames, levels, before.memory, **told, num_context_frames=1).memory
    for wanted, found in zip(made, state.memory, strict=True):
        assert torch.equal(wanted.valid, found.valid)
        torch.testing.assert_close(found.tokens.float(), wanted.tokens.float(), rtol=0, atol=2e-3)


def test_given_frames_are_remembered_by_a_pass_of_their_own_whichever_way() -> None:
    rollout = replace(tiny_pipeline.rollout(), transformer=GreyModel(), remembers_in_last_step=True)
    *_, (_, state) = rollout.prefill(rollout.begin(3), tiny_pipeline.video(2 * SEGMENT, batch=(1,)))
    assert state.memory[0].tokens.tolist() == [[[2]]]


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
