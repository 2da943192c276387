"""Moments of true films at which a shape that was seen is out of sight: what a memory is needed for.

Frames are given up to a moment when a shape has been wholly hidden for at least `CONTEXT` frames, so that what a model
sees directly does not show it; at most `LEFT` hidden frames are left, so that it comes out soon after.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from malt.worlds.passage.scenes import COLOURS, KINDS, Scenes, fully_visible, hidden, sample_scenes

GIVEN, HORIZON = 128, 64  # frames that are given, and that are watched after them
CONTEXT, LEFT = 4, 16
MIN_SEEN_BEFORE, MIN_SEEN_AFTER = 4, 8  # frames in full sight
LAST_FRAME = 640  # of a film in which moments are sought
SCENES_AT_ONCE, MOST_SCENES = 64, 6400


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Moments by how many frames a shape is wholly hidden, from `first` to `last`."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """Such as `16-31`."""
        return f"{self.first}-{self.last}"


BINS = (Bin(first=8, last=15), Bin(first=16, last=31), Bin(first=32, last=63), Bin(first=64, last=127))


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """In scene `scene` (its seed), the shape in `lane` is hidden at the end of the given frames, which begin at `start`."""

    scene: int
    start: int
    lane: int
    hidden_frames: int
    kind: str
    colour: str


def moments(per_bin: int, first_scene: int) -> dict[str, list[Occlusion]]:
    """So many moments for every bin, each of a scene of its own, from scenes `first_scene`, `first_scene + 1`, ..."""
    found: dict[str, list[Occlusion]] = {each.name: [] for each in BINS}
    for seed in range(first_scene, first_scene + MOST_SCENES, SCENES_AT_ONCE):
        scenes = sample_scenes(SCENES_AT_ONCE, seed)
        away, clear = hidden(scenes, 0, LAST_FRAME), fully_visible(scenes, 0, LAST_FRAME)
        for n in range(SCENES_AT_ONCE):
            _take_one(found, per_bin, _of_scene(scenes, n, seed + n, away[n], clear[n]))
        if all(len(taken) == per_bin for taken in found.values()):
            return found
    return found


def _take_one(found: dict[str, list[Occlusion]], per_bin: int, candidates: list[Occlusion]) -> None:
    """Add the candidate of the emptiest bin that has room for it."""
    fitting = [
        (len(found[each.name]), n, each.name)
        for n, moment in enumerate(candidates)
        for each in BINS
        if each.first <= moment.hidden_frames <= each.last and len(found[each.name]) < per_bin
    ]
    if fitting:
        _, n, name = min(fitting)
        found[name].append(candidates[n])


def _of_scene(scenes: Scenes, n: int, seed: int, away: Tensor, clear: Tensor) -> list[Occlusion]:
    """All moments of a scene."""
    colours = tuple(COLOURS)
    return [
        Occlusion(
            scene=seed,
            start=end - GIVEN,
            lane=lane,
            hidden_frames=last - first,
            kind=KINDS[int(scenes.kind[n, lane])],
            colour=colours[int(scenes.colour[n, lane])],
        )
        for lane in (0, 1)
        for first, last in runs(away[:, lane])
        if (end := _end(first, last)) is not None and _is_seen(clear[:, lane], first, last, end)
    ]


def _end(first: int, last: int) -> int | None:
    """Where the given frames end for a shape hidden in frames first ... last - 1."""
    end = max(first + CONTEXT, last - LEFT)
    return end if end <= last and GIVEN <= end <= LAST_FRAME - HORIZON else None


def _is_seen(clear: Tensor, first: int, last: int, end: int) -> bool:
    """Whether the shape is in full sight long enough before it is hidden and after."""
    before, after = clear[end - GIVEN : first].sum(), clear[last : end + HORIZON].sum()
    return bool(before >= MIN_SEEN_BEFORE and after >= MIN_SEEN_AFTER)


def runs(marked: Tensor) -> list[tuple[int, int]]:
    """First index of every unbroken run of True, and the index after its last."""
    padded = torch.cat([torch.zeros(1), marked.float(), torch.zeros(1)])
    step = padded[1:] - padded[:-1]
    return list(zip((step > 0).nonzero()[:, 0].tolist(), (step < 0).nonzero()[:, 0].tolist(), strict=True))
