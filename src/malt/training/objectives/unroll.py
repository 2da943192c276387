"""The memory, unrolled over a video's segments in turn, as generation writes it (truncated BPTT)."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from malt.diffusion.flow import interpolate
from malt.memory.regularisation import memory_regularisation
from malt.memory.state import Memory, State, forget, join, without_places
from malt.models.video_model import TwoTransformers, VideoModel
from malt.training.objectives.autocast import no_gradients
from malt.training.objectives.objective import NoiseConfig, Objective, SelfForcingConfig
from malt.training.objectives.rng import StepRandom
from malt.training.objectives.segments import SegmentedSequence
from malt.training.objectives.self_forcing import SelfForcing


class UnrolledMemory(NamedTuple):
    """What is left when the segments but the last are written.

    memory: before every segment that is denoised, as one batch (noise sample, segment, video). seen: the sequence's
    frames before the last segment as the model knows them. regularisation: of the memory, averaged over the writes that
    carry gradients; None where it was not asked for or nothing was written.
    """

    memory: Memory
    seen: Float[Tensor, "b t c h w"]
    regularisation: Float[Tensor, ""] | None


def unroll_memory(
    model: VideoModel,
    sequence: SegmentedSequence,
    objective: Objective,
    rng: StepRandom,
    forcing: Callable[[VideoModel, SelfForcingConfig, StepRandom], SelfForcing] = SelfForcing,
    is_high: bool | None = None,
) -> UnrolledMemory:
    """Write all segments but the last; only the last `bptt_segments` writes carry gradients.

    At any time there are the memories that will be needed, and one more. `forcing` makes the model's own segments.
    `is_high` is the one of two transformers that learns: the other's memory is written only where it is read.
    """
    unroll, seen = objective.unroll, sequence.latents[:, : sequence.context_frames]
    own = forcing(model, objective.self_forcing, rng) if objective.self_forcing.prob else None
    remembers = unroll.num_segments > 1 and model.remembers
    memory = empty = _empty(model, sequence, 1, remembers)
    if is_high is not None and isinstance(model, TwoTransformers) and not (own or unroll.memory_regularisation):
        memory = model.only(empty, is_high)
    before, penalties = list[Memory](), list[Tensor]()
    for index in range(unroll.num_segments - 1):
        if index >= unroll.first_denoised:
            before.append(memory)
        # What is far stays true: a memory holds it since it was fresh, and the segments made since then are worse.
        segment = (
            sequence.latents[:, sequence.frames(index)]
            if own is None or index < unroll.far_segments
            else own.segment(sequence, index, seen, memory)
        )
        seen = torch.cat([seen, segment], dim=1)
        if not remembers:
            continue
        is_learned = index >= unroll.first_learned_write
        with nullcontext() if is_learned else no_gradients():
            memory = _write(model, sequence, index, segment, memory, objective.noise, rng)
        if is_learned and unroll.memory_regularisation:
            penalties.append(memory_regularisation(memory, unroll.normalize_memory))
    regularisation = torch.stack(penalties).mean() if penalties else None
    before = objective.noise.num_noise_samples * [_with_places(each, empty) for each in (*before, memory)]
    met = _as_met(before, objective, rng) if remembers else _empty(model, sequence, len(before), remembers)
    return UnrolledMemory(met, seen, regularisation)


def _empty(model: VideoModel, sequence: SegmentedSequence, groups: int, remembers: bool) -> Memory:
    """Memories in which nothing is written; with no places to attend to where nothing ever will be."""
    memory = model.empty_memory(groups * len(sequence.latents), *sequence.latents.shape[-2:])
    return memory if remembers else without_places(memory)


def _with_places(memory: Memory, empty: Memory) -> Memory:
    """The same memory, empty where it has no room: so the same is drawn for it whoever has written."""
    return tuple(state if state.tokens.shape[1] else nothing for state, nothing in zip(memory, empty, strict=True))


def _write(
    model: VideoModel,
    sequence: SegmentedSequence,
    index: int,
    segment: Tensor,
    memory: Memory,
    noise: NoiseConfig,
    rng: StepRandom,
) -> Memory:
    """The memory after a segment, which is written slightly noisy."""
    level = (noise.memory_write_noise * rng.uniform()).to(segment)
    levels = repeat(level, "b -> b s", s=segment.shape[1])
    noisy = interpolate(segment, rng.normal(shape=segment.shape[1:]).to(segment), levels)
    actions = sequence.actions_of(index, with_context=False)
    written: Memory = model(noisy, levels, memory, **sequence.caption.arguments, actions=actions).memory
    return written


def _as_met(before: list[Memory], objective: Objective, rng: StepRandom) -> Memory:
    """The memories before the denoised segments as one batch, noisy, and some of them lost."""
    groups, device = len(before), before[0][0].tokens.device
    scale = (objective.noise.memory_noise * rng.uniform(groups)).to(device)
    noisy = tuple(_noisy(state, scale, groups, rng) for state in join(before))
    return forget(noisy, (rng.uniform(groups) < objective.dropout.memory_dropout).to(device))


def _noisy(state: State, scale: Tensor, groups: int, rng: StepRandom) -> State:
    noise = rng.normal(groups, state.tokens.shape[1:]).to(state.tokens)
    return State(state.tokens + scale[:, None, None].to(state.tokens) * noise, state.valid)
