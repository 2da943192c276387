"""The oracle of a maze: what was there when one comes back, by the true pictures of all that could be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from malt.worlds.base import DriftSign, HiddenSpan, Inventory, Occlusion, Return, Sighting, Thing
from malt.worlds.maze.floor_plan import COLOURS, KINDS, ROOMS, floor_plan
from malt.worlds.maze.maze_features import CoarsePixels
from malt.worlds.maze.maze_moments import HORIZON, LEAD, SPANS, find_moments, object_in_sight
from malt.worlds.maze.maze_reading import read_room
from malt.worlds.maze.maze_returns import find_returns
from malt.worlds.video_features import Features

LEARNABLE = 160  # frames that a memory is practised over
EVERY = 4  # frames of which one is read
Path = Callable[[int, int, int], tuple[Float[Tensor, "t 2"], Float[Tensor, "t 3"]]]  # seed, start, frames


@dataclass(frozen=True)
class MazeOracle:
    """Knows where one is; `path` says what is done in a seed's video, and where that leads."""

    path: Path
    attributes: tuple[str, ...] = ("place", "object")
    chance: float = 1 / (ROOMS**2 * len(KINDS) * len(COLOURS))
    spans: tuple[HiddenSpan, ...] = SPANS
    horizon: int = HORIZON
    drift_signs: tuple[DriftSign, ...] = ()

    def read(self, video: Float[Tensor, "t 3 h w"]) -> list[list[Sighting]]:
        """Nothing: what is in a picture can be told only by who knows from where it is seen."""
        return [[] for _ in video]

    def occlusions(self, per_span: int, first_seed: int) -> dict[str, list[Occlusion]]:
        """Rooms with an object in sight that one comes back to; their place is the room's number."""
        return find_moments(per_span, first_seed, self._poses)

    def returning(self, video: Float[Tensor, "t 3 h w"], occlusion: Occlusion) -> Thing | None:
        """The room and the object that are seen once one is back."""
        back = occlusion.start + occlusion.given_frames + LEAD
        poses, plan = self._poses(occlusion.seed, back, HORIZON - LEAD), floor_plan(occlusion.seed)
        thing = object_in_sight(plan, poses)
        return read_room(video[LEAD::EVERY], poses[::EVERY], plan, thing) if thing else None

    def returns(self, seeds: Sequence[int], num_frames: int) -> list[Return]:
        """Every time that one comes back to a place within the first frames of these videos, after not too long."""
        paths = (self._poses(seed, 0, num_frames) for seed in seeds)
        return [
            Return(video, frame) for video, poses in enumerate(paths) for frame, _ in find_returns(poses, LEARNABLE)
        ]

    def drift(self, video: Float[Tensor, "t 3 h w"]) -> dict[str, float]:
        """No signs of its own."""
        return {}

    def inventory(self, video: Float[Tensor, "t 3 h w"]) -> Inventory:
        """Nothing: all that is seen comes and goes."""
        return Inventory({}, {})

    def features(self) -> Sequence[Features]:
        """Coarse pixels of short windows."""
        return [CoarsePixels()]

    def _poses(self, seed: int, start: int, num_frames: int) -> Float[Tensor, "t 3"]:
        return self.path(seed, start, num_frames)[1]
