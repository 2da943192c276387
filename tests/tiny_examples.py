"""Lessons for the tiny transformer: random examples, and what it loses on them.

Segments are 2 latent frames behind 1 of context, so that of the latents of k segments frame 0 is the first's context,
frames 1 and 2 the first segment, frames 3 and 4 the second, whose context is frame 2, and so on.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

import tiny
from malt.data.batch import Batch
from malt.models.text import build_text_encoder, build_tokenizer
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import CaptionedTransformer, DenoisingObjective
from malt.training.objectives.objective import Objective
from malt.training.objectives.rng import Generators, StepRandom
from malt.training.objectives.segments import SegmentedSequence

Settings = dict[str, Any]  # of an objective, by their names

CAPTIONS = ["a red circle", "a blue square", "two shapes"]
EXACT: Settings = {"context_noise": 0.0, "memory_write_noise": 0.0, "memory_noise": 0.0}
NOTHING_LOST: Settings = {"caption_dropout": 0.0, "memory_dropout": 0.0, "context_dropout": 0.0}

Change = Callable[[Tensor], Tensor]


def captioned(**settings: Any) -> CaptionedTransformer:
    tokenizer = build_tokenizer(["a", "and", "blue", "circle", "red", "shapes", "square", "two"], max_length=6)
    encoder = build_text_encoder(len(tokenizer), width=tiny.CAPTION, num_layers=1, num_heads=2)
    return CaptionedTransformer(tiny.transformer(**settings), tiny.randomised(encoder), tokenizer)


@cache
def untouched() -> CaptionedTransformer:
    """One for the tests that change nothing in it."""
    return captioned()


class Examples:
    """Random latents, and actions of `action_dim` numbers, by step; `change` is done to those and `act` to these."""

    def __init__(
        self,
        change: Change | None = None,
        begins: bool = False,
        captions: list[str] = CAPTIONS,
        action_dim: int | None = None,
        act: Change | None = None,
    ) -> None:
        self.change, self.begins, self.captions = change or (lambda latents: latents), begins, captions
        self.action_dim, self.act = action_dim, act or (lambda actions: actions)

    def __call__(
        self, step: int, num_videos: int, num_frames: int, context_frames: int, start_share: float, far_frames: int = 0
    ) -> Batch:
        self.asked = (num_videos, num_frames, context_frames, start_share)
        chance, size = (
            torch.Generator().manual_seed(step),
            (num_videos, context_frames + num_frames, tiny.CHANNELS, 4, 4),
        )
        latents = self.change(torch.randn(size, generator=chance))
        captions = (self.captions * num_videos)[:num_videos]
        return Batch(latents, captions, torch.full((num_videos,), self.begins), self._actions(latents, chance))

    def _actions(self, latents: Tensor, chance: torch.Generator) -> Tensor | None:
        if self.action_dim is None:
            return None
        return self.act(torch.randn(*latents.shape[:2], self.action_dim, generator=chance))


def task(
    examples: Examples | None = None, model: CaptionedTransformer | None = None, **objective: Any
) -> DenoisingObjective:
    return curriculum((Stage(until=9, objectives=(asked(**objective),)),), examples, model)


def asked(**settings: Any) -> Objective:
    """An objective of 3 videos, whose settings are found by their names in whichever config has them."""
    configs = [field for field in fields(Objective) if is_dataclass(field.type)]
    given = {"batch_size": settings.pop("batch_size", 3)}
    for config in configs:
        own = {field.name for field in fields(config.type)} & settings.keys()  # type: ignore[arg-type]
        given[config.name] = config.type(**{name: settings.pop(name) for name in own})  # type: ignore[operator]
    assert not settings, f"no such settings: {settings}"
    return Objective(**given)


def curriculum(
    stages: tuple[Stage, ...], examples: Examples | None = None, model: CaptionedTransformer | None = None
) -> DenoisingObjective:
    return DenoisingObjective(model or untouched(), examples or Examples(), stages, 0, torch.float32)


def losses(learner: DenoisingObjective, step: int = 0) -> list[float]:
    """The error of every segment."""
    return list(learner.loss(step)[1].values())


def window(model: CaptionedTransformer, latents: Tensor, captions: list[str] = CAPTIONS) -> SegmentedSequence:
    """Latents that begin no film, as a lesson sees them."""
    return SegmentedSequence(
        latents=latents,
        caption=model.caption(captions),
        begins=torch.zeros(len(latents), dtype=torch.bool),
        actions=None,
        segment_frames=tiny.FRAMES,
        context_frames=1,
    )


def chance(step: int = 0, batch_size: int = 3) -> StepRandom:
    return StepRandom(Generators.on(torch.device("cpu")).begin(0, step), batch_size)


def jolt(*frames: int) -> Change:
    """Add one to some frames."""

    def change(latents: Tensor) -> Tensor:
        return latents.index_add(1, torch.tensor(frames), torch.ones_like(latents[:, : len(frames)]))

    return change
