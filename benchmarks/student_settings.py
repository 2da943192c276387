"""Can other steps or scales make a student of few steps better, without training it? Several settings, each with the same seeds.

    python benchmarks/student_settings.py [--model default] [--only NAME] [--set 0] [--videos 128] [--device cuda] [--json FILE]

Captions, scenes and seeds are none that the figures of the packaged models use, so that what is chosen here can be measured
there; `--set 1` are others again. A step (t, s) leads from noise level t to s; where t is above the last s, noise is added
again. A student was taught steps between neighbours of 1, 0.9, 0.75, 0.5, 0, and of the like grids of one step, two and eight.
The file is written after every setting, and what it holds already is not measured again.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from results import say, write
from torch import Tensor

from malt.commands.model_options import compute_in
from malt.diffusion.embedded_guidance import StepGuided
from malt.evaluation.metrics.features import window_features
from malt.evaluation.metrics.frechet_distance import frechet_of
from malt.evaluation.metrics.identity import still_there
from malt.evaluation.reference import seeds_of, true_videos
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.rollouts.base import RolloutState
from malt.rollouts.context_frames import context_before, with_context
from malt.rollouts.denoiser import GuidedVelocity
from malt.rollouts.malt import MaltRollout
from malt.training.objectives.distillation import schedule
from malt.worlds.passage.appearances import obeyed
from malt.worlds.passage.captions import Caption, describe
from malt.worlds.passage.oracle import read_shapes
from malt.worlds.passage.scenes import sample_scenes
from malt.worlds.registry import open_world, oracle_of

WORLD, SEED, CAPTION_SEED = open_world("passage"), 77, 1_500_000
FRAMES, LONG = 128, 512  # of the videos that are compared with true ones, and of those whose things are to last
Steps = Sequence[tuple[float, float]]


def grid(count: int) -> Steps:
    """Steps of the schedule that all packaged models have."""
    return tuple(pairwise(schedule(3.0, count)))


SETTINGS: dict[str, dict[str, Any]] = {
    "as it ships": {},
    "8 steps": {"steps": grid(8)},
    "guidance 2": {"text": 2.0},
    "guidance 3.5": {"text": 3.5},
    "memory guidance 1.5": {"memory": 1.5},
    "memory guidance 2.5": {"memory": 2.5},
    "context at 0.1": {"context_noise": 0.1},
    "1, 0.75, 0.5, 0.3": {"steps": ((1, 0.75), (0.75, 0.5), (0.5, 0.3), (0.3, 0))},
    "to the end, noise again": {"steps": ((1, 0), (0.75, 0), (0.5, 0), (0.3, 0))},
    "last step twice": {"steps": ((1, 0.75), (0.75, 0.5), (0.5, 0), (0.5, 0))},
    "a little noise again": {"steps": ((1, 0.9), (0.9, 0.7), (0.75, 0.45), (0.5, 0))},
}


@dataclass(frozen=True, kw_only=True)
class InSteps(MaltRollout):
    """A rollout in any steps."""

    steps: Steps

    def _denoise(self, state: RolloutState, actions: Tensor | None) -> tuple[Tensor, GuidedVelocity]:
        count, generators = self.num_context(state.tail, self.transformer.context_frames), self.generators(state)
        noise = generators.draw(count + self.latents_ahead(state))
        before, before_levels = context_before(state.tail, noise[:, :count], self.context_noise)
        guided = self.guidance.prepare(state.memory, self.caption, self.uncaptioned)
        velocity = self.velocity(guided, with_context(state.tail_actions, actions, count), count)
        x, now = noise[:, count:], 1.0
        for level, following in self.steps:
            if level > now:
                kept = (1 - level) / (1 - now)
                x = kept * x + (level**2 - (kept * now) ** 2) ** 0.5 * generators.draw(x.shape[1])
            if isinstance(guided, StepGuided):
                velocity.guided = replace(guided, levels=(following,))
            frames, levels = torch.cat([before, x], dim=1), torch.full(x.shape[:2], level, device=x.device)
            led = velocity(frames, torch.cat([before_levels, levels], dim=1))[:, count:]
            x, now = x + (following - level) * led, following
        return x, velocity


def rollout(pipe: MaltPipeline, captions: list[str], setting: dict[str, Any]) -> InSteps:
    """The pipeline's rollout with a setting."""
    made = pipe.rollout(captions)
    guidance = replace(made.guidance, **{name: setting[name] for name in ("text", "memory") if name in setting})
    shared = {each.name: getattr(made, each.name) for each in fields(made)} | {"guidance": guidance}
    shared |= {"context_noise": setting.get("context_noise", made.context_noise)}
    return InSteps(**shared, steps=setting.get("steps", grid(made.num_steps)))


def films(
    pipe: MaltPipeline, setting: dict[str, Any], videos: int, batch: int, real: Tensor, which: int
) -> dict[str, Any]:
    """Frechet distance to true videos, that of random halves of the videos, and how many words of the captions are seen."""
    features, parts, seen = window_features(WORLD), [], []
    told = _telling(videos, CAPTION_SEED + 1_000_000 * which)
    for first in range(0, videos, batch):
        captions = told[first : first + batch]
        way = rollout(pipe, [each.text for each in captions], setting)
        state = way.begin(tuple(50_000_000 * which + 10_000 * (first + n + 1) for n in range(len(captions))))
        made = torch.cat([segment.frames.float().cpu() for segment in way.stream(FRAMES, state)], dim=1)
        parts.append(features(made).unflatten(0, (len(made), -1)))
        seen += [obeyed(read_shapes(video[:64]), each) for video, each in zip(made, captions, strict=True)]
    found, halves = torch.cat(parts), torch.Generator().manual_seed(0)
    return {
        "frechet": frechet_of(found.flatten(0, 1), real),
        "frechet_of_halves": [
            frechet_of(found[torch.randperm(videos, generator=halves)[: videos // 2]].flatten(0, 1), real)
            for _ in range(40)
        ],
        "obeyed": sum(right for right, _ in seen),
        "named": sum(named for _, named in seen),
    }


def lasting(pipe: MaltPipeline, setting: dict[str, Any], videos: int, batch: int) -> dict[str, list[int]]:
    """Of the things of the first 256 frames, how many are still what they were in the last 256, and how many there were."""
    shapes, scenery = list[float](), list[float]()
    for first in range(0, videos, batch):
        way = rollout(pipe, [WORLD.plain_caption] * batch, setting)
        state = way.begin(tuple(500_000_000 + 1000 * (first + n) for n in range(batch)))
        made = torch.cat([segment.frames.half().cpu() for segment in way.stream(LONG, state)], dim=1)
        for video in made:
            one, two = (oracle_of(WORLD, "identity").inventory(part.float()) for part in (video[:256], video[-256:]))
            shapes += still_there(one.things, two.things)
            scenery += still_there(one.scenery, two.scenery)
    return {"shapes": [int(sum(shapes)), len(shapes)], "scenery": [int(sum(scenery)), len(scenery)]}


def farther(pipe: MaltPipeline, teacher: MaltPipeline, share: float) -> None:
    """Move a student's weights away from its teacher's, by a share of what lies between them."""
    network = pipe.components["transformer"]
    own, from_ = network.state_dict(), teacher.components["transformer"].state_dict()
    network.load_state_dict(own | {name: own[name] + share * (own[name] - weight) for name, weight in from_.items()})


def true_features(videos: int) -> Tensor:
    """Features of four times as many true videos."""
    seeds, features = seeds_of(4 * videos, SEED, room=1), window_features(WORLD)
    parts = [seeds[first : first + 64] for first in range(0, len(seeds), 64)]
    return torch.cat([features(true_videos(WORLD, part, 0, FRAMES, (64, 64))) for part in parts])


def _telling(count: int, seed: int) -> list[Caption]:
    """Captions of so many scenes, each of which names something of a shape."""
    scenes = sample_scenes(count, seed)

    def telling(n: int) -> Caption:
        drawn = (describe(scenes, n, seed + 1000 * n + draw) for draw in range(1000))
        return next(each for each in drawn if any(shape.kind or shape.colour for shape in each.shapes))

    return [telling(n) for n in range(count)]


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=SETTINGS)
    parser.add_argument("--parts", nargs="+", choices=("films", "lasting"), default=("films", "lasting"))
    parser.add_argument(
        "--farther", type=float, default=0.0, help="move the weights so much away from those of `teacher`"
    )
    parser.add_argument("--save", type=Path, help="folder for the model that --farther makes")
    parser.add_argument("--set", type=int, default=0, help="of captions and seeds")
    parser.add_argument("--videos", type=int, default=128, help="half as many are made longer")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=Path("docs/results/student-settings.json"))
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = json.loads(options.json.read_text())["figures"] if options.json.exists() else {}
    pipe, real = load_pipeline(options.model).to(options.device), true_features(options.videos)
    if options.farther:
        farther(pipe, load_pipeline("teacher").to(options.device), options.farther)
    if options.save:
        pipe.save_pretrained(options.save)
    compute_in(pipe, options.precision)
    for name in options.only:
        figures = found.setdefault(f"{options.model}, {options.farther:g} farther, {name}, set {options.set}", {})
        if "films" in options.parts and "frechet" not in figures:
            figures |= films(pipe, SETTINGS[name], options.videos, options.batch, real, options.set)
        if "lasting" in options.parts and "shapes" not in figures:
            figures |= lasting(pipe, SETTINGS[name], options.videos // 2, options.batch)
        say(name, {key: value for key, value in figures.items() if key != "frechet_of_halves"})
        write(options.json, found)


if __name__ == "__main__":
    main()
