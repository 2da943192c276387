"""Occlusions in rendered videos: a shape that was seen is out of sight, so that only a memory knows what comes out.

Frames are given until a shape has been wholly hidden for at least `CONTEXT` frames, so that what a model sees directly
does not show it; at most `LEFT` hidden frames are left, so that it comes out soon after. The given frames always show the
shape before it is hidden: there are more of them where shapes stay hidden for longer.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from malt.worlds.base import HiddenSpan, Occlusion
from malt.worlds.passage.scenes import COLOURS, KINDS, Scenes, fully_visible, hidden

GIVEN, HORIZON = 128, 64  # frames that are given at least, and that are watched after them
CONTEXT, LEFT = 4, 16
MIN_SEEN_BEFORE, MIN_SEEN_AFTER = 4, 8  # frames in full sight
SCENES_AT_ONCE, MOST_SCENES = 64, 6400


SPANS = (
    HiddenSpan(first=8, last=15),
    HiddenSpan(first=16, last=31),
    HiddenSpan(first=32, last=63),
    HiddenSpan(first=64, last=127),
)


def find_occlusions(
    per_span: int, first_seed: int, spans: Sequence[HiddenSpan], draw: Callable[[Sequence[int]], Scenes]
) -> dict[str, list[Occlusion]]:
    """So many occlusions for every span of hidden frames, each of a scene of its own, from `first_seed` on."""
    found: dict[str, list[Occlusion]] = {each.name: [] for each in spans}
    num_frames = 2 * given_frames(spans[-1]) + 3 * GIVEN
    for seed in range(first_seed, first_seed + MOST_SCENES, SCENES_AT_ONCE):
        scenes = draw(range(seed, seed + SCENES_AT_ONCE))
        away, clear = hidden(scenes, 0, num_frames), fully_visible(scenes, 0, num_frames)
        for n in range(SCENES_AT_ONCE):
            _take_one(found, per_span, spans, _of_scene(scenes, n, seed + n, away[n], clear[n], spans))
        if all(len(taken) == per_span for taken in found.values()):
            return found
    return found


def given_frames(span: HiddenSpan) -> int:
    """How many frames are given for what is hidden so long: enough to see it before."""
    return GIVEN if span.last < GIVEN else span.last + GIVEN


def _take_one(
    found: dict[str, list[Occlusion]], per_span: int, spans: Sequence[HiddenSpan], candidates: list[Occlusion]
) -> None:
    """Add the candidate of the emptiest span that has room for it."""
    fitting = [
        (len(found[each.name]), n, each.name)
        for n, occlusion in enumerate(candidates)
        for each in spans
        if each.holds(occlusion.hidden_frames) and len(found[each.name]) < per_span
    ]
    if fitting:
        _, n, name = min(fitting)
        found[name].append(candidates[n])


def _of_scene(
    scenes: Scenes,
    n: int,
    seed: int,
    away: Bool[Tensor, "t 2"],
    clear: Bool[Tensor, "t 2"],
    spans: Sequence[HiddenSpan],
) -> list[Occlusion]:
    """All occlusions of a scene; the place of one is the shape's lane."""
    colours = tuple(COLOURS)
    return [
        Occlusion(
            seed=seed,
            start=end - given,
            given_frames=given,
            place=lane,
            hidden_frames=last - first,
            thing={"kind": KINDS[int(scenes.kind[n, lane])], "colour": colours[int(scenes.colour[n, lane])]},
        )
        for lane in (0, 1)
        for first, last in runs(away[:, lane])
        for given in (given_frames(span) for span in spans if span.holds(last - first))
        if (end := _end(first, last, given, len(away))) is not None
        and _is_seen(clear[:, lane], first, last, end, given)
    ]


def _end(first: int, last: int, given: int, num_frames: int) -> int | None:
    """Where the given frames end for a shape hidden in frames first ... last - 1."""
    end = max(first + CONTEXT, last - LEFT)
    return end if end <= last and given <= end <= num_frames - HORIZON else None


def _is_seen(clear: Bool[Tensor, " t"], first: int, last: int, end: int, given: int) -> bool:
    """Whether the shape is in full sight long enough before it is hidden and after."""
    before, after = clear[end - given : first].sum(), clear[last : end + HORIZON].sum()
    return bool(before >= MIN_SEEN_BEFORE and after >= MIN_SEEN_AFTER)


def runs(marked: Bool[Tensor, " t"]) -> list[tuple[int, int]]:
    """First index of every unbroken run of True, and the index after its last."""
    padded = torch.cat([torch.zeros(1), marked.float(), torch.zeros(1)])
    step = padded[1:] - padded[:-1]
    return list(zip((step > 0).nonzero()[:, 0].tolist(), (step < 0).nonzero()[:, 0].tolist(), strict=True))
