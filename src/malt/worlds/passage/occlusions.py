"""Occlusions in rendered videos: a shape that was seen is out of sight, so that only a memory knows what comes out.

Frames are given until a shape has been wholly hidden for at least `CONTEXT` frames, so that what a model sees directly
does not show it; at most `LEFT` hidden frames are left, so that it comes out soon after.
"""

import torch
from jaxtyping import Bool
from torch import Tensor

from malt.worlds.base import HiddenSpan, Occlusion
from malt.worlds.passage.scenes import COLOURS, KINDS, Scenes, fully_visible, hidden, sample_scenes

GIVEN, HORIZON = 128, 64  # frames that are given, and that are watched after them
CONTEXT, LEFT = 4, 16
MIN_SEEN_BEFORE, MIN_SEEN_AFTER = 4, 8  # frames in full sight
LAST_FRAME = 640  # of a video in which occlusions are sought
SCENES_AT_ONCE, MOST_SCENES = 64, 6400


SPANS = (
    HiddenSpan(first=8, last=15),
    HiddenSpan(first=16, last=31),
    HiddenSpan(first=32, last=63),
    HiddenSpan(first=64, last=127),
)


def find_occlusions(per_span: int, first_seed: int) -> dict[str, list[Occlusion]]:
    """So many occlusions for every span of hidden frames, each of a scene of its own, from `first_seed` on."""
    found: dict[str, list[Occlusion]] = {each.name: [] for each in SPANS}
    for seed in range(first_seed, first_seed + MOST_SCENES, SCENES_AT_ONCE):
        scenes = sample_scenes(SCENES_AT_ONCE, seed)
        away, clear = hidden(scenes, 0, LAST_FRAME), fully_visible(scenes, 0, LAST_FRAME)
        for n in range(SCENES_AT_ONCE):
            _take_one(found, per_span, _of_scene(scenes, n, seed + n, away[n], clear[n]))
        if all(len(taken) == per_span for taken in found.values()):
            return found
    return found


def _take_one(found: dict[str, list[Occlusion]], per_span: int, candidates: list[Occlusion]) -> None:
    """Add the candidate of the emptiest span that has room for it."""
    fitting = [
        (len(found[each.name]), n, each.name)
        for n, occlusion in enumerate(candidates)
        for each in SPANS
        if each.holds(occlusion.hidden_frames) and len(found[each.name]) < per_span
    ]
    if fitting:
        _, n, name = min(fitting)
        found[name].append(candidates[n])


def _of_scene(
    scenes: Scenes, n: int, seed: int, away: Bool[Tensor, "t 2"], clear: Bool[Tensor, "t 2"]
) -> list[Occlusion]:
    """All occlusions of a scene; the place of one is the shape's lane."""
    colours = tuple(COLOURS)
    return [
        Occlusion(
            seed=seed,
            start=end - GIVEN,
            place=lane,
            hidden_frames=last - first,
            thing={"kind": KINDS[int(scenes.kind[n, lane])], "colour": colours[int(scenes.colour[n, lane])]},
        )
        for lane in (0, 1)
        for first, last in runs(away[:, lane])
        if (end := _end(first, last)) is not None and _is_seen(clear[:, lane], first, last, end)
    ]


def _end(first: int, last: int) -> int | None:
    """Where the given frames end for a shape hidden in frames first ... last - 1."""
    end = max(first + CONTEXT, last - LEFT)
    return end if end <= last and GIVEN <= end <= LAST_FRAME - HORIZON else None


def _is_seen(clear: Bool[Tensor, " t"], first: int, last: int, end: int) -> bool:
    """Whether the shape is in full sight long enough before it is hidden and after."""
    before, after = clear[end - GIVEN : first].sum(), clear[last : end + HORIZON].sum()
    return bool(before >= MIN_SEEN_BEFORE and after >= MIN_SEEN_AFTER)


def runs(marked: Bool[Tensor, " t"]) -> list[tuple[int, int]]:
    """First index of every unbroken run of True, and the index after its last."""
    padded = torch.cat([torch.zeros(1), marked.float(), torch.zeros(1)])
    step = padded[1:] - padded[:-1]
    return list(zip((step > 0).nonzero()[:, 0].tolist(), (step < 0).nonzero()[:, 0].tolist(), strict=True))
