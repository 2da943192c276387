"""`maze`: rooms that differ, seen by who turns and walks through them; turn round, and the room must be the same."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.worlds.base import RenderedClip
from malt.worlds.maze.floor_plan import FloorPlan, floor_plan
from malt.worlds.maze.map_file import read_map
from malt.worlds.maze.map_plan import MapPlan, entered
from malt.worlds.maze.maze_oracle import MazeOracle
from malt.worlds.maze.maze_policies import POLICIES, possible
from malt.worlds.maze.maze_walks import walk
from malt.worlds.maze.motion import ACTIONS, walk_with_walls
from malt.worlds.maze.ray_casting import paint
from malt.worlds.maze.scene_tables import scene_tables
from malt.worlds.maze.seen_walls import View, stop_at_walls

FRAME_RATE = 16.0


@dataclass(frozen=True)
class Maze:
    """The world `maze`: 64x64 pixels or more, 16 frames a second.

    policy: how one walks in its videos; None for each of the policies in turn, by the seed. own_map: the one map of all
    its videos, of which a seed then says where it is entered and walked to; None for a maze from every seed.
    """

    name: str = "maze"
    frame_size: tuple[int, int] = (64, 64)
    frame_rate: float = FRAME_RATE
    action_names: tuple[str, ...] = ACTIONS
    pose_names: tuple[str, ...] = ("x", "y", "heading")
    words: tuple[str, ...] = ()
    plain_caption: str = ""
    policy: str | None = None
    policies: tuple[str, ...] = tuple(POLICIES)
    own_map: MapPlan | None = None

    @property
    def oracle(self) -> MazeOracle | None:
        """Who knows what stands where; nobody on a map of one's own."""
        return MazeOracle(self.path) if self.own_map is None else None

    def plan(self, seed: int) -> FloorPlan:
        """The floor plan of a seed's video."""
        return floor_plan(seed) if self.own_map is None else entered(self.own_map, seed)

    def on_map(self, path: Path) -> "Maze":
        """The world on the map of a text file (see `map_file`).

        Raises:
            UsageError: it is no map.
        """
        own_map, content = read_map(path)
        return replace(self, name=f"{self.name}-{content}", own_map=own_map, policies=possible(own_map))

    def under(self, policy: str) -> "Maze":
        """The same mazes, walked through by this policy.

        Raises:
            UsageError: there is no such policy.
        """
        if policy not in self.policies:
            raise UsageError(
                f"the world {self.name} has no policy {policy!r}; choose one of {', '.join(self.policies)}"
            )
        return replace(self, policy=policy)

    def path(self, seed: int, start: int, num_frames: int) -> tuple[Float[Tensor, "t 2"], Float[Tensor, "t 3"]]:
        """Actions and poses of a stretch of a video."""
        frames = walk(seed, self.policy or self.policies[seed % len(self.policies)], self.own_map).frames(
            start, num_frames
        )
        return frames[:, :2], frames[:, 2:]

    def actions(self, seed: int, start: int, num_frames: int) -> Float[Tensor, "t 2"]:
        """What is done in a stretch of a video."""
        return self.path(seed, start, num_frames)[0]

    def render(
        self, seeds: Sequence[int], start: int, num_frames: int, device: torch.device | str = "cpu"
    ) -> RenderedClip:
        """What is seen on the walks of these seeds."""
        paths = [self.path(seed, start, num_frames) for seed in seeds]
        actions, poses = (torch.stack(each) for each in zip(*paths, strict=True))
        return RenderedClip(self.look(seeds, poses, device), actions.to(device), poses.to(device))

    def begin(self, seeds: Sequence[int]) -> Float[Tensor, "b 3"]:
        """The poses in which these mazes are entered."""
        return torch.stack([self.path(seed, 0, 1)[1][0] for seed in seeds])

    def act(
        self, seeds: Sequence[int], pose: Float[Tensor, "b 3"], actions: Float[Tensor, "b t 2"]
    ) -> tuple[Float[Tensor, "b t 3"], Float[Tensor, "b t 2"]]:
        """The poses that actions lead to, and what of the actions was done: walls stop a step."""
        walls = scene_tables([self.plan(seed) for seed in seeds]).walls
        return walk_with_walls(pose, actions.clamp(-1, 1), walls)

    def stopped(
        self,
        picture: Float[Tensor, "3 h w"],
        pose: Float[Tensor, " 3"],
        actions: Float[Tensor, "t 2"],
        walked: Sequence[tuple[float, float]],
    ) -> Float[Tensor, "t 2"]:
        """What of the actions is done by who began in the middle of a room: no step towards a wall that is in sight."""
        x, y, heading = pose.tolist()
        return stop_at_walls(View(picture, (x, y), heading), actions, walked)

    def look(
        self, seeds: Sequence[int], poses: Float[Tensor, "b t 3"], device: torch.device | str = "cpu"
    ) -> Float[Tensor, "b t 3 h w"]:
        """What is seen in these mazes from these poses."""
        tables = scene_tables([self.plan(seed) for seed in seeds]).to(device)
        maze = torch.arange(len(seeds), device=device).repeat_interleave(poses.shape[1])
        frames = paint(tables, maze, poses.to(device).flatten(0, 1), self.frame_size)
        return torch.stack(frames.chunk(len(seeds)))

    def captions(self, seeds: Sequence[int], draws: Sequence[int]) -> list[str]:
        """Nothing is said of a maze."""
        return [""] * len(seeds)
