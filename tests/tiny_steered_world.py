"""A tiny world to act in: a lamp whose ground grows brighter with every push, up to a wall."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tiny_world import COLOURS, MIDDLE, SIDE, Lamp, colour_of


@dataclass(frozen=True)
class PushedLamp(Lamp):
    """The pose is how bright the ground is, from -1 to 1."""

    name: str = "pushed"

    def begin(self, seeds: Sequence[int]) -> Tensor:
        return torch.zeros(len(seeds), 1)

    def act(self, seeds: Sequence[int], pose: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        poses = []
        for push in actions[..., 1].unbind(dim=1):
            pose = (pose + push[:, None] / 8).clamp(-1, 1)
            poses.append(pose)
        return torch.stack(poses, dim=1), actions

    def look(self, seeds: Sequence[int], poses: Tensor, device: torch.device | str = "cpu") -> Tensor:
        frames = poses[..., None, None].expand(-1, -1, 3, SIDE, SIDE).clone()
        for video, seed in enumerate(seeds):
            frames[video, :, :, MIDDLE, MIDDLE] = torch.tensor(COLOURS[colour_of(seed)])[:, None, None]
        return frames
