"""A world renders videos, captions and actions from seeds; its oracle answers what a metric asks of a video.

A video of a world is named by one number, its seed, and never ends: any stretch of it can be rendered, alone or with
others, on any device, and is always the same. Axes: b videos, t frames, a actions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from malt.worlds.video_features import Features

Better = Literal["higher", "lower"]
Thing = Mapping[str, str]  # what something is, attribute by attribute: {"kind": "circle", "colour": "red"}


class RenderedClip(NamedTuple):
    """A stretch of videos: frames in [-1, 1], and of every frame what is done in it and where the camera stands.

    actions: one number for each of the world's `action_names`. poses: one number for each of its `pose_names`. None where
    nobody acts, or the camera stands still.
    """

    frames: Float[Tensor, "b t 3 h w"]
    actions: Float[Tensor, "b t a"] | None = None
    poses: Float[Tensor, "b t p"] | None = None


@dataclass(frozen=True)
class Sighting:
    """Something that was read in a frame: what it is, and where its label goes, in units of the frame's height."""

    label: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class HiddenSpan:
    """Occlusions by how many frames something is wholly hidden, from `first` to `last`."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """Such as `16-31`."""
        return f"{self.first}-{self.last}"

    def holds(self, hidden_frames: int) -> bool:
        """Whether something hidden for so long belongs here."""
        return self.first <= hidden_frames <= self.last


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """In the video of `seed`, `thing` is hidden where the `given_frames` end, which begin at frame `start`.

    place: which part of the picture, or of the world, it is hidden in and comes out of, numbered as the world likes.
    """

    seed: int
    start: int
    given_frames: int
    place: int
    hidden_frames: int
    thing: Thing


class Return(NamedTuple):
    """Something hidden comes out again: in which of the videos asked about, and in which frame."""

    video: int
    frame: int


class Inventory(NamedTuple):
    """What a stretch of a video holds, by what it is called in the world: what can be lost or become something else.

    things: what moves, such as `upper shape`; what stands still where the world's things move is not among them.
    scenery: what stays where it is, such as `wall`. ground: which piece of scenery, numbered as the world likes, every
    pixel shows; -1 where it shows none; None in a world without scenery.
    """

    things: Mapping[str, Thing]
    scenery: Mapping[str, Thing]
    ground: Int[Tensor, "h w"] | None = None


@dataclass(frozen=True, kw_only=True)
class DriftSign:
    """Something that a long video may lose: its name, what it is counted in, and which way is good."""

    name: str
    unit: str = ""
    better: Better | None = None


@runtime_checkable
class Oracle(Protocol):
    """Reads a world's videos, rendered or generated, from their pixels alone, and knows the truth of rendered ones."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """What makes two things the same: the attributes that must agree."""
        ...

    @property
    def chance(self) -> float:
        """How often two things of different videos are the same by chance, from 0 to 1."""
        ...

    @property
    def spans(self) -> tuple[HiddenSpan, ...]:
        """By how long things are hidden, shortest first."""
        ...

    @property
    def horizon(self) -> int:
        """How many frames after the given ones are watched for what comes out."""
        ...

    @property
    def drift_signs(self) -> tuple[DriftSign, ...]:
        """What `drift` measures, in its order."""
        ...

    def read(self, video: Float[Tensor, "t 3 h w"]) -> list[list[Sighting]]:
        """What is seen in every frame, and where."""
        ...

    def occlusions(self, per_span: int, first_seed: int) -> dict[str, list[Occlusion]]:
        """So many occlusions for every span, by its name, each of a video of its own, from `first_seed` on."""
        ...

    def returning(self, video: Float[Tensor, "t 3 h w"], occlusion: Occlusion) -> Thing | None:
        """What comes out first where the occlusion hid something; None if nothing does.

        Args:
            video: the `horizon` frames after the given ones, made by whoever is measured.
            occlusion: what was hidden, and where.
        """
        ...

    def returns(self, seeds: Sequence[int], num_frames: int) -> list[Return]:
        """Every time that something wholly hidden comes out within the first frames of these videos."""
        ...

    def drift(self, video: Float[Tensor, "t 3 h w"]) -> dict[str, float]:
        """The value of every one of `drift_signs` in a stretch of a video."""
        ...

    def inventory(self, video: Float[Tensor, "t 3 h w"]) -> Inventory:
        """What a stretch of a video holds; nothing of one in which nothing moves."""
        ...

    def features(self) -> Sequence[Features]:
        """Features made for this world's videos; the first ones are of short windows.

        Raises:
            CheckpointError: this installation lacks their network.
        """
        ...


@runtime_checkable
class World(Protocol):
    """Videos without end, each of them named by its seed."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        ...

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        ...

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        ...

    @property
    def action_names(self) -> tuple[str, ...]:
        """What is done in every frame; empty where nobody acts."""
        ...

    @property
    def pose_names(self) -> tuple[str, ...]:
        """What says where the camera stands, such as x, y and heading; empty where it stands still."""
        ...

    @property
    def words(self) -> tuple[str, ...]:
        """Every word that a caption can hold, sorted."""
        ...

    @property
    def plain_caption(self) -> str:
        """A caption that is true of every video and names nothing that could be remembered."""
        ...

    @property
    def oracle(self) -> Oracle | None:
        """Who reads its videos; None where nobody does, so that only metrics that need no truth can be taken."""
        ...

    def render(
        self, seeds: Sequence[int], start: int, num_frames: int, device: torch.device | str = "cpu"
    ) -> RenderedClip:
        """Frames `start` to `start + num_frames - 1` of the videos of these seeds."""
        ...

    def captions(self, seeds: Sequence[int], draws: Sequence[int]) -> list[str]:
        """A caption of each video; `draws` are the seeds of what is said of it and what is left open."""
        ...


@runtime_checkable
class ActingWorld(World, Protocol):
    """A world in which somebody acts, in ways that have names: its policies."""

    @property
    def policies(self) -> tuple[str, ...]:
        """Their names."""
        ...

    def under(self, policy: str) -> World:
        """The same world, with nothing but this policy in its videos.

        Raises:
            UsageError: there is no such policy.
        """
        ...


@runtime_checkable
class MappedWorld(World, Protocol):
    """A world that can be on a map of one's own."""

    def on_map(self, path: Path) -> World:
        """The same world on the map of a file.

        Raises:
            UsageError: it is no map.
        """
        ...


@runtime_checkable
class WalledWorld(World, Protocol):
    """A world whose walls can be told from a picture, by who knows where it was seen from."""

    def stopped(
        self,
        picture: Float[Tensor, "3 h w"],
        pose: Float[Tensor, " p"],
        actions: Float[Tensor, "t a"],
        walked: Sequence[tuple[float, float]],
    ) -> Float[Tensor, "t a"]:
        """What of the actions is done: no step towards a wall.

        Args:
            picture: what is seen before the first action, in [-1, 1].
            pose: from where, as counted from where the video began.
            actions: what is wanted in each frame.
            walked: places where one has been.
        """
        ...


@runtime_checkable
class ScriptedWorld(ActingWorld, Protocol):
    """A world that knows what is done in its videos without rendering them."""

    def actions(self, seed: int, start: int, num_frames: int) -> Float[Tensor, "t a"]:
        """What is done in a stretch of a seed's video."""
        ...
