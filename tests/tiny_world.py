"""A tiny world in which somebody acts: a lamp of one of three colours, 16x16 pixels, goes out and comes on again.

It is on for `PERIOD` frames and off for as many. Whoever acts pushes the ground brighter or darker.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from malt.worlds.base import DriftSign, HiddenSpan, Inventory, Occlusion, RenderedClip, Return, Sighting, Thing

SIDE, PERIOD, GIVEN = 16, 8, 12
COLOURS = {"red": (0.9, -0.9, -0.9), "green": (-0.9, 0.9, -0.9), "blue": (-0.9, -0.9, 0.9)}
MIDDLE = slice(SIDE // 4, 3 * SIDE // 4)


def colour_of(seed: int) -> str:
    return tuple(COLOURS)[seed % 3]


def is_on(frame: int) -> bool:
    return frame // PERIOD % 2 == 0


@dataclass(frozen=True)
class MeanColours:
    """The mean colour of every four frames."""

    name: str = "mean colours"

    def ends(self, num_frames: int) -> list[int]:
        return list(range(4, num_frames + 1, 4))

    def __call__(self, videos: Tensor) -> Tensor:
        num = videos.shape[1] // 4
        return videos[:, : 4 * num].unflatten(1, (num, 4)).mean((2, 4, 5)).flatten(0, 1)


@dataclass(frozen=True)
class LampOracle:
    """Sees the lamp where its middle is far from grey."""

    attributes: tuple[str, ...] = ("colour",)
    chance: float = 1 / 3
    spans: tuple[HiddenSpan, ...] = (HiddenSpan(first=PERIOD, last=PERIOD),)
    horizon: int = PERIOD
    drift_signs: tuple[DriftSign, ...] = (DriftSign(name="lit frames", better="higher"),)

    def _colours(self, video: Tensor) -> list[str | None]:
        middles = video[..., MIDDLE, MIDDLE].mean((2, 3))
        seen = []
        for middle in middles:
            near = [bool(torch.tensor(paint).sub(middle).abs().max() < 0.4) for paint in COLOURS.values()]
            seen.append(tuple(COLOURS)[near.index(True)] if True in near else None)
        return seen

    def read(self, video: Tensor) -> list[list[Sighting]]:
        return [[Sighting(f"{colour} lamp", 0.5, 0.8)] if colour else [] for colour in self._colours(video)]

    def occlusions(self, per_span: int, first_seed: int) -> dict[str, list[Occlusion]]:
        found = [
            Occlusion(
                seed=seed,
                start=0,
                given_frames=GIVEN,
                place=0,
                hidden_frames=PERIOD,
                thing={"colour": colour_of(seed)},
            )
            for seed in range(first_seed, first_seed + per_span)
        ]
        return {self.spans[0].name: found}

    def returning(self, video: Tensor, occlusion: Occlusion) -> Thing | None:
        seen = [colour for colour in self._colours(video) if colour]
        return {"colour": seen[0]} if seen else None

    def returns(self, seeds: Sequence[int], num_frames: int) -> list[Return]:
        frames = [frame for frame in range(1, num_frames) if is_on(frame) and not is_on(frame - 1)]
        return [Return(video, frame) for video in range(len(seeds)) for frame in frames]

    def drift(self, video: Tensor) -> dict[str, float]:
        colours = self._colours(video)
        return {"lit frames": sum(colour is not None for colour in colours) / len(colours)}

    def inventory(self, video: Tensor) -> Inventory:
        """The lamp, if it goes on or out."""
        colours = self._colours(video)
        lit = [colour for colour in colours if colour]
        moves = 0 < len(lit) < len(colours)
        return Inventory({"lamp": {"colour": max(set(lit), key=lit.count)}} if moves else {}, {})

    def features(self) -> Sequence[MeanColours]:
        return (MeanColours(),)


@dataclass(frozen=True)
class Lamp:
    """The world; the action `push` is seen in the ground, and the pose is how often the ground was pushed so far."""

    name: str = "lamp"
    frame_size: tuple[int, int] = (SIDE, SIDE)
    frame_rate: float = 8.0
    action_names: tuple[str, ...] = ("rest", "push")
    pose_names: tuple[str, ...] = ("frame",)
    words: tuple[str, ...] = ("a", "blue", "green", "lamp", "red")
    plain_caption: str = "a lamp"
    oracle: LampOracle | None = LampOracle()

    def render(
        self, seeds: Sequence[int], start: int, num_frames: int, device: torch.device | str = "cpu"
    ) -> RenderedClip:
        times = torch.arange(start, start + num_frames)
        pushes = torch.stack([((times + seed) % 5 - 2) / 4.0 for seed in seeds])
        frames = (pushes / 5)[..., None, None, None].expand(-1, -1, 3, SIDE, SIDE).clone()
        for video, seed in enumerate(seeds):
            lit = [is_on(frame) for frame in times.tolist()]
            frames[video, lit, :, MIDDLE, MIDDLE] = torch.tensor(COLOURS[colour_of(seed)])[:, None, None]
        actions = torch.stack([torch.zeros_like(pushes), pushes], dim=2)
        poses = times.float()[None, :, None].expand(len(seeds), -1, -1)
        return RenderedClip(frames.to(device), actions.to(device), poses.to(device))

    def captions(self, seeds: Sequence[int], draws: Sequence[int]) -> list[str]:
        return [f"a {colour_of(seed)} lamp" if draw % 2 else "a lamp" for seed, draw in zip(seeds, draws, strict=True)]


class DarkLamp(Lamp):
    """The same, and nobody reads it."""

    def __init__(self) -> None:
        super().__init__(name="dark", oracle=None)
