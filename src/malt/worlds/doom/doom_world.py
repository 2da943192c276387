"""`doom`: the mazes of `maze`, with Freedoom's pictures drawn by the engine of ViZDoom (the optional extra `doom`).

Floor plans, walks and actions are those of `maze`, seed by seed; the engine only draws, so that any stretch of a video can
be had without what comes before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from malt.errors import UsageError
from malt.worlds.base import HiddenSpan
from malt.worlds.doom.doom_camera import doom_camera
from malt.worlds.doom.freedoom_rooms import freedoom_plan
from malt.worlds.maze.floor_plan import floor_plan
from malt.worlds.maze.maze_oracle import MazeOracle
from malt.worlds.maze.maze_world import Maze


@dataclass(frozen=True)
class DoomOracle(MazeOracle):
    """Knows when one comes back, as that of `maze` does; it reads no pictures, so it tells nothing apart."""

    attributes: tuple[str, ...] = ()
    spans: tuple[HiddenSpan, ...] = ()


@dataclass(frozen=True)
class Doom(Maze):
    """The world `doom`: 64x64 pixels or up to 192x192, 16 frames a second."""

    name: str = "doom"

    @property
    def oracle(self) -> DoomOracle:
        """Who knows when one comes back."""
        return DoomOracle(self.path)

    def on_map(self, path: Path) -> "Doom":
        """No map of one's own: the engine's rooms have the size that Freedoom's pictures fit."""
        raise UsageError("the world doom takes no map; give --map to the world maze")

    def look(
        self, seeds: Sequence[int], poses: Float[Tensor, "b t 3"], device: torch.device | str = "cpu"
    ) -> Float[Tensor, "b t 3 h w"]:
        """What is seen in the rooms of these seeds from these poses.

        Raises:
            UsageError: the package vizdoom is not installed, or its engine cannot be started.
        """
        videos = [self._video(seed, where) for seed, where in zip(seeds, poses, strict=True)]
        return torch.stack(videos).to(device)

    def _video(self, seed: int, poses: Float[Tensor, "t 3"]) -> Float[Tensor, "t 3 h w"]:
        with doom_camera(freedoom_plan(seed, floor_plan(seed))) as camera:
            return torch.stack([self._scaled(camera(*pose)) for pose in poses.tolist()])

    def _scaled(self, picture: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "3 h2 w2"]:
        """A picture in the size of the world's frames, each pixel the mean of those that it covers."""
        levels = rearrange(torch.from_numpy(picture), "h w c -> c h w").float()
        scaled: Tensor = F.adaptive_avg_pool2d(levels, self.frame_size)
        return scaled / 127.5 - 1
