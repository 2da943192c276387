"""Is a room of the maze still the same when one comes back? True frames are given, the model goes on, the truth is beside it.

    python benchmarks/maze.py [--checkpoint DIR] [--moments 8] [--spans 64-127 256-511] [--sheet FILE.png] [--json FILE]
    python benchmarks/maze.py --spans --walk 2000 --sheet FILE.png     long walks beside the truth
    python benchmarks/maze.py --views 96 --read 8     the same weights with a memory of another size

PSNR is of the 16 frames in which one is back, after 16 that lead there; each moment is of a maze never learned from.
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from results import say, wilson, write
from torch import Tensor

from malt.evaluation.evaluated_model import EvaluatedModel, MemoryUse, Request, collect, evaluated_model_of
from malt.evaluation.reference import first_seed, true_actions
from malt.evaluation.report.contact_sheet import contact_sheet
from malt.memory.places import PlacesMemory
from malt.pipelines.loading import load_pipeline
from malt.worlds.base import Occlusion
from malt.worlds.maze.maze_moments import LEAD, SPANS
from malt.worlds.maze.maze_world import Maze
from malt.worlds.maze.motion_reading import DONE, MotionReader, stretches
from malt.worlds.registry import oracle_of

WORLD = Maze(policies=("explore", "replay", "loop", "return"))  # moments of these, so that figures can be compared
DATA_SEED = 10_000_000  # mazes that are learned from begin here
ORACLE = oracle_of(WORLD, "this benchmark")
USES: tuple[MemoryUse, ...] = ("kept", "emptied", "swapped")


def psnr(made: Tensor, true: Tensor) -> float:
    """Decibels, of frames in [-1, 1]."""
    return float(-10 * torch.log10((made - true).square().mean() / 4))


def watch(model: EvaluatedModel, moments: list[Occlusion], seed: int, world: Maze = WORLD) -> dict[str, Tensor]:
    """What is made after the given frames of moments with as many of them, for each use of the memory, and the truth."""
    given = moments[0].given_frames
    clips = [world.render([each.seed], each.start, given + ORACLE.horizon) for each in moments]
    frames = torch.cat([clip.frames for clip in clips])
    actions = true_actions(world, clips, model.action_names)
    start = model.begin(Request(captions=[""] * len(moments), seed=seed, first=frames[:, :given], actions=actions))
    made: dict[str, Tensor] = {use: collect(start.stream(ORACLE.horizon, use)) for use in USES}
    return {**made, "true": frames[:, given:]}


def figures(moments: list[Occlusion], seen: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """By use of the memory: PSNR on return and on the way there, and how often room and object are named right."""
    found: dict[str, dict[str, Any]] = {}
    for use in USES:
        back = [psnr(made[LEAD:], true[LEAD:]) for made, true in zip(seen[use], seen["true"], strict=True)]
        way = [psnr(made[:LEAD], true[:LEAD]) for made, true in zip(seen[use], seen["true"], strict=True)]
        things = [ORACLE.returning(made, moment) for made, moment in zip(seen[use], moments, strict=True)]
        pairs = [(thing, moment.thing) for thing, moment in zip(things, moments, strict=True)]
        right = {
            name: sum(thing is not None and thing[name] == true[name] for thing, true in pairs)
            for name in ORACLE.attributes
        }
        found[use] = {
            "psnr_on_return": round(statistics.mean(back), 2),
            "psnr_median": round(statistics.median(back), 2),
            "psnr_on_the_way": round(statistics.mean(way), 2),
            "of_each": [round(value, 1) for value in back],
            **{f"{name}_right": wilson(count, len(moments)) for name, count in right.items()},
        }
    return found


def walks(model: EvaluatedModel, options: argparse.Namespace) -> tuple[dict[str, Any], Tensor, Tensor]:
    """Long walks after a few true frames: what is done as a reader taught on true videos sees it; the truth and what is made."""
    seeds = [first_seed(0, room=1) + number for number in range(options.walks)]
    world, given = Maze().under(options.policy), options.given
    clip = world.render(seeds, 0, given + options.walk)
    actions = true_actions(world, [clip], model.action_names)
    start = model.begin(Request(captions=[""] * len(seeds), first=clip.frames[:, :given], actions=actions))
    assert clip.actions is not None
    made, true, done = collect(start.stream(options.walk)), clip.frames[:, given:], clip.actions[:, given:]
    lesson = WORLD.render(range(DATA_SEED, DATA_SEED + 60), 0, 160)
    assert lesson.actions is not None
    reader = MotionReader.fit(*stretches(lesson.frames, lesson.actions))
    found: dict[str, Any] = {"policy": options.policy, "walks": len(seeds), "frames": options.walk, "given": given}
    for name, frames in (("of_the_model", made), ("of_the_world", true)):
        features, kinds = stretches(frames, done)
        right = reader(features) == kinds
        found[f"obeyed_{name}"] = {
            kind: wilson(int(right[kinds == n].sum()), int((kinds == n).sum())) for n, kind in enumerate(DONE)
        }
        found[f"obeyed_{name}"]["all"] = wilson(int(right.sum()), len(right))
    cut = [slice(n, n + 250) for n in range(0, options.walk, 250)]
    found["psnr_by_250_frames"] = [round(psnr(made[:, part], true[:, part]), 2) for part in cut]
    return found, true, made


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Every span in turn."""
    pipeline = load_pipeline(options.checkpoint).to(options.device)
    for memory in pipeline.transformer.memory_modules():
        assert isinstance(memory, PlacesMemory)
        size = {"num_views": options.views, "num_read": options.read}
        memory.config = replace(memory.config, **{name: value for name, value in size.items() if value})
    asked = {"num_inference_steps": options.steps, "memory_guidance_scale": options.memory_guidance}
    pipeline.register_to_config(**{name: value for name, value in asked.items() if value})
    model = evaluated_model_of(pipeline)
    found, rows, names = {}, [], []
    every = ORACLE.occlusions(options.moments, first_seed(0)) if options.spans else {}
    for span in options.spans:
        moments = every[span]
        batches = [moments[first : first + options.batch] for first in range(0, len(moments), options.batch)]
        parts = [watch(model, batch, seed) for seed, batch in enumerate(batches)]
        seen = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        found[span] = figures(moments, seen)
        say(span, {use: each["psnr_on_return"] for use, each in found[span].items()})
        rows += [seen[name][n] for n in range(min(2, len(moments))) for name in ("true", *USES)]
        names += [f"{name}, {span} frames away" for _ in range(min(2, len(moments))) for name in ("true", *USES)]
    figures_of_walks = None
    if options.walk:
        figures_of_walks, true, made = walks(model, options)
        say("walks", figures_of_walks)
        for video in range(options.walks):
            for part in range(0, options.walk, options.walk // 4):
                rows += [each[video, part : part + options.walk // 4] for each in (true, made)]
                names += [f"{name}, from frame {part}" for name in ("true", "made")]
    if options.sheet:
        contact_sheet(torch.stack(rows), names, columns=16, scale=1).save(options.sheet)
    settings = {name: pipeline.config[name] for name in ("num_inference_steps", "memory_guidance_scale")}
    return {"moments": options.moments, **settings, "by_frames_away": found, "walks": figures_of_walks}


def main() -> None:
    """Read the command line, measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="maze")
    parser.add_argument("--moments", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--spans", nargs="*", default=[span.name for span in SPANS])
    parser.add_argument("--views", type=int, default=None)
    parser.add_argument("--read", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--memory-guidance", type=float, default=None)
    parser.add_argument("--walk", type=int, default=0, help="frames of long walks; 0 for none")
    parser.add_argument("--walks", type=int, default=2)
    parser.add_argument("--given", type=int, default=64)
    parser.add_argument("--policy", default="explore")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet", type=Path, default=None)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    figures = run(options)
    if options.json:
        write(options.json, figures)


if __name__ == "__main__":
    main()
