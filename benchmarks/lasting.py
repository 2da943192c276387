"""Do a model's memories last as long as its videos? Identity and scenery by length, recall by hidden time, and `A | B | A`.

    python benchmarks/lasting.py [--checkpoint DIR] [--videos 16] [--frames 4096] [--device cuda] [--json FILE]
    python benchmarks/lasting.py --memory archive=0 num_pooled=8 --set memory_guidance_scale=1.5

The second asks what the same weights do with another memory or with other settings of the pipeline.
Videos of a batch are made together, and looked at block by block while they are made, so that their length takes no room.
"""

import argparse
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from results import say, timed, wilson, write
from torch import Tensor

from malt.evaluation.evaluated_model import EvaluatedModel, Request, Span, evaluated_model_of, stream_spans
from malt.evaluation.metrics.identity import KEPT, IdentityByLength
from malt.evaluation.metrics.picture_signs import motion
from malt.evaluation.metrics.recall import Recall
from malt.evaluation.reference import Naming, captions_of, seeds_of, true_videos
from malt.evaluation.result import summarise
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.sessions.session import Session
from malt.sessions.snapshots import Snapshot
from malt.worlds.base import World
from malt.worlds.passage.captions import Caption, describe
from malt.worlds.passage.inventory import read_ground
from malt.worlds.passage.scenes import PLACES, WALLS, sample_scenes
from malt.worlds.registry import open_world, oracle_of

WORLD, LONG_WORLD = open_world("passage"), open_world("passage-long")
ABA_SEED = 5_000_000  # scenes never trained on
ALIKE = 0.1  # of the range of a colour, by which two pixels count as the same
PARTS = ("identity", "recall", "aba")


def identity(
    model: EvaluatedModel, videos: int, frames: int, batch: int, naming: Naming, is_beside: bool = True
) -> dict:
    """Shares of things that are still what they were, by length, with how much moves; beside what the world itself does.

    is_beside: False leaves out the world itself, which no model changes.
    """
    made, true = _Watched(frames), _Watched(frames)
    captions, seeds = captions_of(WORLD, videos, 0, naming=naming), seeds_of(videos, 0)
    for first in range(0, videos, batch):
        part = slice(first, first + batch)
        start = model.begin(Request(captions=captions[part], seed=first))
        for span, seen in stream_spans(start.stream(frames), made.spans):
            made.look(span, seen)
        for span in true.spans if is_beside else ():
            true.look(span, true_videos(WORLD, seeds[part], span[0], span[1] - span[0], model.frame_size))
    found = {
        "videos": videos,
        "captions_name": naming,
        "by_frame": made.figures(),
        "at_the_end": made.things(),
    }
    return found | ({"of_the_world": true.figures(), "of_the_world_at_the_end": true.things()} if is_beside else {})


class _Watched:
    """Identity and motion of videos, block by block."""

    def __init__(self, frames: int) -> None:
        self._identity, self._motion = IdentityByLength(oracle_of(WORLD, "identity"), frames), dict[Span, list[float]]()
        self.spans = self._identity.spans

    def look(self, span: Span, videos: Tensor) -> None:
        """Look at a block of videos."""
        self._identity.look(span, videos)
        self._motion.setdefault(span, []).extend(map(motion, videos))

    def figures(self) -> dict[str, dict[str, Any]]:
        """By length: of each kind of thing how many there were, are kept, and the share with its interval; and motion."""
        things = [chart for chart in KEPT if "pixels" not in chart]
        counts = {chart: self._identity.counts(chart) for chart in things}
        pixels, found = self._identity.shares("scenery pixels kept"), {}
        for n, (length, span) in enumerate(zip(self._identity.lengths, self._identity.blocks, strict=True)):
            shares: dict[str, Any] = {chart: wilson(*counts[chart][n]) for chart in things}
            shares["scenery pixels kept"] = sum(pixels[n]) / max(1, len(pixels[n]))
            found[str(length)] = shares | {"motion": sum(self._motion[span]) / len(self._motion[span])}
        return found

    def things(self) -> dict[str, dict[str, Any]]:
        """Of each thing by its name, how many are kept at the end."""
        return {name: wilson(round(sum(kept)), len(kept)) for name, kept in self._identity.by_name().items()}


def recall(model: EvaluatedModel, per_span: int, world: World = LONG_WORLD) -> dict:
    """Share of shapes that come out the same after so many hidden frames, by use of the memory."""
    oracle = oracle_of(world, "recall")
    found = summarise([Recall(world=world, per_bin=per_span).run(model, seed=0)])
    names = [span.name for span in oracle.spans]
    by_hidden = {
        curve["line"]: {
            name: wilson(round((point["mean"] or 0.0) * point["n"]), point["n"])
            for name, point in zip(names, curve["points"], strict=True)
        }
        for curve in found["curves"]
    }
    return {"chance": oracle.chance, "by_hidden_frames": by_hidden, "notes": found["notes"]}


def there_and_back(pipe: MaltPipeline, videos: int, each: int, cut: bool) -> dict:
    """`A | B | A`, each for so many frames: A names no scenery, B another than A showed. Is A's background back?

    The picture goes on over a change of prompt, and with it the scenery. After a cut it does not: what B shows is then what B
    names, and A's scenery can come from the memory alone.

    Pixels are medians over the last half of each part. By chance is what the background of another video's A keeps. Where B
    goes on in A's background there is nothing to bring back, so pixels that B did change are counted by themselves.
    """
    pictures = [_visit(pipe, n, each, cut) for n in range(videos)]
    grounds = [read_ground((first + 1) / 2) < len(PLACES) for first, _, _ in pictures]
    back = [_alike(first, last)[ground] for (first, _, last), ground in zip(pictures, grounds, strict=True)]
    between = [_alike(first, other)[ground] for (first, other, _), ground in zip(pictures, grounds, strict=True)]
    gone = [
        _alike(first, last)[ground & ~_alike(first, other)]
        for (first, other, last), ground in zip(pictures, grounds, strict=True)
    ]
    chance = [
        _alike(one[0], other[0])[ground]
        for (one, other), ground in zip(pairwise([*pictures, pictures[0]]), grounds, strict=True)
    ]
    scenery = [float(_alike(first, last).float().mean()) for first, _, last in pictures]
    return {
        "videos": videos,
        "frames_each": each,
        "cut": cut,
        "background_back": _mean(back),
        "background_of_a_in_b": _mean(between),
        "background_back_where_b_changed_it": _pooled(gone),
        "by_chance": _mean(chance),
        "scenery_back": sum(scenery) / videos,
        "videos_with_most_of_it_back": wilson(sum(float(part.float().mean()) > 0.5 for part in back), videos),
    }


def _visit(pipe: MaltPipeline, n: int, each: int, cut: bool) -> tuple[Tensor, Tensor, Tensor]:
    """What stays where it is in A, in B and in A again."""
    there, other = _captions(n)
    session = Session.begin(pipe, there.text, seed=n)
    first = _part(session, each)
    ground = read_ground((first + 1) / 2).flatten()
    place, wall = (int(ground[ground >= 0].mode().values) if (ground >= 0).any() else 0), tuple(WALLS)[n % len(WALLS)]
    elsewhere = tuple(PLACES)[(place + 1) % len(PLACES)]
    _say(session, replace(other, place=elsewhere, wall=wall).text, cut)
    between = _part(session, each)
    _say(session, there.text, cut)
    return first, between, _part(session, each)


def _say(session: Session, prompt: str, cut: bool) -> None:
    """A new prompt; after a cut the memory turns to it as ever, and the next segment sees nothing of the one before."""
    session.set_prompt(prompt)
    if cut:
        now, rollout = session.state.now, session.pipe.rollout(prompt, **session.state.settings)
        progress = replace(rollout.rebuild_memory(now.progress), tail=None)
        here = Snapshot(progress, prompt=prompt)
        session.state = replace(session.state, snapshots=(*session.state.snapshots[:-1], here))


def _captions(n: int) -> tuple[Caption, Caption]:
    """Two captions that name something of the shapes, and nothing of the scenery."""
    scenes, told = sample_scenes(2, ABA_SEED + 2 * n), []
    for index in (0, 1):
        drawn = (describe(scenes, index, ABA_SEED + 1000 * (2 * n + index) + draw) for draw in range(1000))
        caption = next(each for each in drawn if any(shape.kind or shape.colour for shape in each.shapes))
        told.append(replace(caption, wall=None, place=None, action=True))
    return told[0], told[1]


def _part(session: Session, num_frames: int) -> Tensor:
    """The median picture of the last half of so many more frames."""
    segments = session.stream(session.num_frames + num_frames)
    frames = torch.cat([segment.frames[0].float().cpu() for segment in segments])
    return frames[len(frames) // 2 :].median(dim=0).values


def _alike(one: Tensor, other: Tensor) -> Tensor:
    """Which pixels are alike."""
    return (one - other).abs().amax(dim=0) < 2 * ALIKE


def _mean(parts: list[Tensor]) -> float:
    """Mean over videos of a share of pixels; videos without such pixels are left out."""
    shares = [float(part.float().mean()) for part in parts if part.numel()]
    return sum(shares) / max(1, len(shares))


def _pooled(parts: list[Tensor]) -> float | None:
    """Share of the pixels of all videos together; None where there are none."""
    pixels = torch.cat([part.flatten() for part in parts])
    return float(pixels.float().mean()) if len(pixels) else None


def with_settings(
    pipe: MaltPipeline, kind: str | None, memory: dict[str, Any], settings: dict[str, Any]
) -> MaltPipeline:
    """The same weights with another memory that has none of its own, and other settings of the pipeline."""
    if kind or memory:
        own: Any = pipe.transformer
        kept = {} if kind else own.config.memory_config or {}
        other = {**own.config, "memory": kind or own.config.memory, "memory_config": {**kept, **memory}}
        transformer = type(own).from_config(other).eval()
        transformer.load_state_dict(own.state_dict())
        pipe.register_modules(transformer=transformer)
    pipe.register_to_config(**settings)
    return pipe


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE."""
    name, _, value = text.partition("=")
    return name, json.loads(value)


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--kind", help="of memory, one without weights of its own")
    parser.add_argument(
        "--memory", type=_setting, nargs="+", default=[], metavar="NAME=VALUE", help="of its memory_config"
    )
    parser.add_argument("--set", type=_setting, nargs="+", default=[], metavar="NAME=VALUE", help="of the pipeline")
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--frames", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=16, help="videos made at once")
    parser.add_argument("--captions", nargs="+", choices=("nothing", "some", "everything"), default=["nothing"])
    parser.add_argument("--per-span", type=int, default=16, help="occlusions for each span of hidden frames")
    parser.add_argument("--each", type=int, default=128, help="frames of A, of B and of A again")
    parser.add_argument("--cut", action="store_true", help="the picture does not go on from A to B and from B to A")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=Path("docs/results/lasting.json"))
    options = parser.parse_args()
    pipe = with_settings(load_pipeline(options.checkpoint), options.kind, dict(options.memory), dict(options.set))
    pipe = pipe.to(options.device)
    model, figures = evaluated_model_of(pipe), dict[str, Any]()
    with timed(figures, "seconds"):
        if "identity" in options.parts:
            for naming in options.captions:
                found = identity(model, options.videos, options.frames, options.batch, naming)
                figures[f"identity, captions name {naming}"] = say(f"identity, captions name {naming}", found)
        if "recall" in options.parts:
            figures["recall"] = say("recall", recall(model, options.per_span))
        if "aba" in options.parts:
            figures["A | B | A"] = say("A | B | A", there_and_back(pipe, options.videos, options.each, options.cut))
    write(options.json, figures)


if __name__ == "__main__":
    main()
