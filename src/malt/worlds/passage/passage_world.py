"""`passage` as a world with an oracle: coloured shapes pass behind a wall, and what comes out can be told from pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from malt.worlds.base import DriftSign, HiddenSpan, Inventory, Occlusion, RenderedClip, Return, Sighting, Thing
from malt.worlds.passage.appearances import follow
from malt.worlds.passage.captions import describe, vocabulary
from malt.worlds.passage.drift_signs import moving_shapes, well_formed
from malt.worlds.passage.inventory import take_inventory
from malt.worlds.passage.long_scenes import LONG_SPANS, long_scenes_of
from malt.worlds.passage.occlusions import HORIZON, SPANS, find_occlusions
from malt.worlds.passage.oracle import Seen, read_shapes
from malt.worlds.passage.scenes import COLOURS, FRAME_RATE, KINDS, SIZE, Scenes, hidden, render, scenes_of
from malt.worlds.passage.world_features import WorldClips, WorldVideos
from malt.worlds.video_features import Features

LABEL_BELOW = 1.1  # radii from a shape's centre to its label
Draw = Callable[[Sequence[int]], Scenes]


@dataclass(frozen=True)
class PassageOracle:
    """Reads kind and colour of every whole shape, and knows when the wall hides it; `draw` makes the scenes of seeds."""

    draw: Draw = scenes_of
    attributes: tuple[str, ...] = ("kind", "colour")
    chance: float = 1 / (len(KINDS) * len(COLOURS))
    spans: tuple[HiddenSpan, ...] = SPANS
    horizon: int = HORIZON
    drift_signs: tuple[DriftSign, ...] = (
        DriftSign(name="well-formed shapes", unit="a frame", better="higher"),
        DriftSign(name="moving shapes", unit="a frame", better="higher"),
    )

    def read(self, video: Float[Tensor, "t 3 h w"]) -> list[list[Sighting]]:
        """Kind and colour of every whole shape, under it."""
        return [[_sighting(seen) for seen in frame] for frame in read_shapes(video)]

    def occlusions(self, per_span: int, first_seed: int) -> dict[str, list[Occlusion]]:
        """Shapes behind the wall; their place is their lane, 0 for the upper and 1 for the lower."""
        return find_occlusions(per_span, first_seed, self.spans, self.draw)

    def returning(self, video: Float[Tensor, "t 3 h w"], occlusion: Occlusion) -> Thing | None:
        """The first shape that stays in sight for a while in the hidden shape's lane."""
        appearances = follow(read_shapes(video), occlusion.place)
        return {"kind": appearances[0].kind, "colour": appearances[0].colour} if appearances else None

    def returns(self, seeds: Sequence[int], num_frames: int) -> list[Return]:
        """Every time that a shape, wholly hidden until then, comes out."""
        away = hidden(self.draw(seeds), 0, num_frames)
        video, frame, _ = (away[:, :-1] & ~away[:, 1:]).nonzero(as_tuple=True)
        return [Return(*each) for each in zip(video.tolist(), (frame + 1).tolist(), strict=True)]

    def drift(self, video: Float[Tensor, "t 3 h w"]) -> dict[str, float]:
        """How many whole shapes there are in a frame, and how many of them move."""
        readings = read_shapes(video)
        return {"well-formed shapes": well_formed(readings), "moving shapes": moving_shapes(readings)}

    def inventory(self, video: Float[Tensor, "t 3 h w"]) -> Inventory:
        """The shape of each lane, the background and the wall."""
        return take_inventory(video)

    def features(self) -> Sequence[Features]:
        """Of a small network taught kind, colour, direction, wall and place."""
        return WorldClips(), WorldVideos()


@dataclass(frozen=True)
class Passage:
    """The world `passage`: 64x64 pixels, 16 frames a second; nobody acts, and the camera stands still.

    draw: makes the scenes of seeds.
    """

    name: str = "passage"
    frame_size: tuple[int, int] = (SIZE, SIZE)
    frame_rate: float = FRAME_RATE
    action_names: tuple[str, ...] = ()
    pose_names: tuple[str, ...] = ()
    plain_caption: str = "two shapes pass behind a wall"
    draw: Draw = scenes_of
    oracle: PassageOracle = PassageOracle()

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary of its captions."""
        return vocabulary()

    def render(
        self, seeds: Sequence[int], start: int, num_frames: int, device: torch.device | str = "cpu"
    ) -> RenderedClip:
        """Paint the scenes of these seeds."""
        return RenderedClip(render(self.draw(seeds).to(device), start, num_frames))

    def captions(self, seeds: Sequence[int], draws: Sequence[int]) -> list[str]:
        """A sentence on each scene that names a random part of it."""
        scenes = self.draw(seeds)
        return [describe(scenes, n, draw).text for n, draw in enumerate(draws)]


def passage_long() -> Passage:
    """The world `passage-long`: shapes stay behind the wall for up to 2,000 frames."""
    return Passage(
        name="passage-long", draw=long_scenes_of, oracle=PassageOracle(draw=long_scenes_of, spans=LONG_SPANS)
    )


def _sighting(seen: Seen) -> Sighting:
    below = seen.y + LABEL_BELOW * seen.radius
    return Sighting(f"{seen.colour} {seen.kind}", seen.x / SIZE, below / SIZE)
