"""Videos that a world lends to a measurement: captions to ask for, and its own renderings to compare with.

They come from seeds that no training uses, and every seed of a measurement has videos of its own.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from malt.worlds.base import RenderedClip, ScriptedWorld, World

Naming = Literal["nothing", "some", "everything"]
DRAWS = 64  # captions of a video of which the fullest names everything that captions name

FIRST, APART = 900_000_000, 1_000_000  # seed of the first video, and from one seed of a measurement to the next


def first_seed(seed: int, room: int = 0) -> int:
    """The seed of the first video of a measurement's seed; `room` 0, 1, ... are disjoint sets of videos."""
    return FIRST + APART * (16 * seed + room)


def seeds_of(num: int, seed: int, *, room: int = 0) -> range:
    """The seeds of so many videos."""
    first = first_seed(seed, room)
    return range(first, first + num)


def captions_of(world: World, num: int, seed: int, *, room: int = 0, naming: Naming = "some") -> list[str]:
    """A caption of each of these videos, which names nothing, some of what there is, or as much as captions do."""
    seeds = seeds_of(num, seed, room=room)
    if naming == "nothing":
        return [world.plain_caption] * num
    if naming == "everything":
        return [max(world.captions([each] * DRAWS, range(DRAWS)), key=lambda said: len(said.split())) for each in seeds]
    return world.captions(seeds, seeds) if num else []


def true_videos(
    world: World, seeds: Sequence[int], start: int | Sequence[int], num_frames: int, size: tuple[int, int]
) -> Float[Tensor, "b t 3 h w"]:
    """Render videos from frame `start` on (one number, or one a video), in (height, width)."""
    starts = [start] * len(seeds) if isinstance(start, int) else start
    clips = [world.render([seed], first, num_frames).frames for seed, first in zip(seeds, starts, strict=True)]
    return torch.cat([in_size(clip, size) for clip in clips])


def acts_in(world: World, action_names: Sequence[str]) -> bool:
    """Whether a model that takes these actions can be told what is done in the world's videos."""
    return bool(action_names) and set(action_names) <= set(world.action_names)


def true_actions(
    world: World, clips: Sequence[RenderedClip], action_names: Sequence[str]
) -> Float[Tensor, "b t a"] | None:
    """What is done in rendered clips, in a model's order; None for a model that takes no or other actions."""
    if not acts_in(world, action_names):
        return None
    order = [world.action_names.index(name) for name in action_names]
    done = [clip.actions[..., order].cpu() for clip in clips if clip.actions is not None]
    return torch.cat(done)


def actions_of(
    world: World, seeds: Sequence[int], num_frames: int, action_names: Sequence[str]
) -> Float[Tensor, "b t a"] | None:
    """What is done in the first frames of the world's videos, in a model's order; None for a model of other actions."""
    if not acts_in(world, action_names):
        return None
    if not isinstance(world, ScriptedWorld):
        return true_actions(world, [world.render([seed], 0, num_frames) for seed in seeds], action_names)
    order = [world.action_names.index(name) for name in action_names]
    return torch.stack([world.actions(seed, 0, num_frames)[:, order] for seed in seeds])


def in_size(videos: Float[Tensor, "b t 3 h w"], size: tuple[int, int]) -> Float[Tensor, "b t 3 h2 w2"]:
    """Videos scaled to (height, width)."""
    if tuple(videos.shape[-2:]) == size:
        return videos
    frames: Tensor = F.interpolate(videos.flatten(0, 1), size, mode="bilinear", antialias=True, align_corners=False)
    return rearrange(frames, "(b t) c h w -> b t c h w", b=len(videos))
