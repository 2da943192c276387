"""A is kept by name, the scene becomes B: does recalling bring A back, and does it stay away once it is forgotten?

    python benchmarks/kept_memories.py [--checkpoint DIR] [--videos 8] [--json FILE]

All captions name nothing, so that what comes back does not come from the words. B is the scene of the next video: what is
kept of the one is handed to the session of the other. Pixels of A's median picture that are not those of B's are counted,
and shapes by lane, kind and colour.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from results import say, timed, wilson, write
from torch import Tensor

from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.sessions.session import Session
from malt.worlds.base import Inventory
from malt.worlds.passage.captions import Caption
from malt.worlds.passage.inventory import take_inventory

PROMPT, ANOTHER = Caption().text, Caption(action=False).text
NAME = "A"
ALIKE = 0.2  # of -1 to 1, by which two pixels count as the same
BEFORE, AFTER = 96, 64  # frames of A and of B, and of what follows


class Part(NamedTuple):
    """What the last half of a part of a video shows."""

    picture: Tensor
    holds: Inventory


def nothing(session: Session) -> None:
    """B goes on."""


def recalled(session: Session) -> None:
    """Memory and picture of A."""
    session.recall(NAME)


def recalled_under_another_prompt(session: Session) -> None:
    """The same, with the memory made again from its last segment under the new prompt, as a branch would."""
    session.recall(NAME)
    session.set_prompt(ANOTHER)


def recalled_as_it_was_under_another_prompt(session: Session) -> None:
    """The same with the memory as it was kept."""
    recalled_under_another_prompt(session)
    now = replace(session.state.now, prompt=None)
    session.state = replace(session.state, snapshots=(*session.state.snapshots[:-1], now))


def recalled_without_context(session: Session) -> None:
    """The memory of A behind the picture of B."""
    session.recall(NAME, with_context=False)


def recalled_without_any_picture(session: Session) -> None:
    """The memory of A behind no picture, as where a film begins: what the memory alone says of the scene."""
    session.recall(NAME, with_context=False)
    _cut(session)


def nothing_without_any_picture(session: Session) -> None:
    """The memory of B behind no picture."""
    _cut(session)


def recalled_and_forgotten(session: Session) -> None:
    """The same, but it is then forgotten."""
    session.recall(NAME, with_context=False)
    session.forget(NAME)


WAYS: tuple[Callable[[Session], None], ...] = (
    nothing,
    recalled,
    recalled_under_another_prompt,
    recalled_as_it_was_under_another_prompt,
    recalled_without_context,
    recalled_without_any_picture,
    nothing_without_any_picture,
    recalled_and_forgotten,
)


def measure(pipe: MaltPipeline, videos: int) -> dict[str, Any]:
    """For every way of going on behind B: the share of A's pixels and shapes that are back, and of B's."""
    sessions = [Session.begin(pipe, PROMPT, seed=seed) for seed in range(videos)]
    scenes = [_part(session, BEFORE) for session in sessions]
    held = [session.keep(NAME).num_bytes for session in sessions]
    kept = [session.state.kept for session in sessions]
    found: dict[str, dict[str, Any]] = {}
    for way in WAYS:
        of_a, of_b, shapes = list[Tensor](), list[Tensor](), list[bool]()
        for n, session in enumerate(sessions):
            branch = session.branch()
            branch.state = replace(branch.state, kept=kept[n - 1])
            way(branch)
            a, b, last = scenes[n - 1], scenes[n], _part(branch, AFTER)
            differs = ~_alike(a, b)
            of_a.append(_alike(a, last)[differs])
            of_b.append(_alike(b, last)[differs])
            shapes += _same(a, last)
        shares = {"pixels_of_a": of_a, "pixels_of_b": of_b}
        means = {name: round(float(torch.cat(parts).float().mean()), 3) for name, parts in shares.items()}
        found[way.__name__] = say(way.__name__, {**means, "shapes_of_a": wilson(sum(shapes), len(shapes))})
    return {"videos": videos, "kept_bytes": max(held), "ways": found}


def _cut(session: Session) -> None:
    """Let the next segment see nothing of the one before."""
    now = session.state.now
    here = replace(now, progress=replace(now.progress, tail=None))
    session.state = replace(session.state, snapshots=(*session.state.snapshots[:-1], here))


def _part(session: Session, num_frames: int) -> Part:
    segments = session.stream(session.num_frames + num_frames)
    frames = torch.cat([segment.frames[0].float().cpu() for segment in segments])
    half = frames[len(frames) // 2 :]
    return Part(half.median(dim=0).values, take_inventory(half))


def _alike(one: Part, other: Part) -> Tensor:
    return (one.picture - other.picture).abs().amax(dim=0) < ALIKE


def _same(one: Part, other: Part) -> list[bool]:
    """Of each shape of the first part, whether it is what it was."""
    return [other.holds.things.get(name) == shape for name, shape in one.holds.things.items()]


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=Path("docs/results/kept-memories.json"))
    options = parser.parse_args()
    pipe, figures = load_pipeline(options.checkpoint).to(options.device), dict[str, Any]()
    with timed(figures, "seconds"):
        figures["recalled"] = measure(pipe, options.videos)
    write(options.json, figures)


if __name__ == "__main__":
    main()
