"""What a segment in few passes costs in quality: students and their teacher, by the number of steps, in one run.

    python benchmarks/few_steps.py teacher=DIR teacher=DIR@4 student=DIR student=DIR@1 [--parts ...] [--json FILE]

A model is NAME=DIR, or NAME=DIR@STEPS for another number of steps than its own; `:bfloat16` behind it lets the network and the
decoder compute in these numbers. Distances are to the videos that the first model makes of the same captions and the same
noise. The file is written after every part, and what it holds already is not measured again, so that a run that was stopped
goes on.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from quality import captions_obeyed
from quality import recall as recall_of
from results import say, write

from malt.commands.model_options import compute_in
from malt.evaluation.evaluated_model import evaluated_model_of
from malt.evaluation.metrics.frechet import Frechet
from malt.evaluation.report.contact_sheet import contact_sheet
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.worlds.passage.captions import describe
from malt.worlds.passage.scenes import sample_scenes
from malt.worlds.registry import open_world

SEED = 4_000_000  # scenes never trained on
PARTS = ("passes", "distance", "captions", "recall", "frechet")


def loaded(place: str) -> MaltPipeline:
    """A model by its folder or name, with as many steps and in such numbers as asked for."""
    place, _, precision = place.partition(":")
    folder, _, steps = place.partition("@")
    pipe = load_pipeline(folder)
    if precision:
        compute_in(pipe, precision)
    if steps:
        pipe.register_to_config(num_inference_steps=int(steps))
    return pipe


def videos(pipe: MaltPipeline, count: int, num_frames: int) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Latents and frames of `count` captions, always by the same noise."""
    scenes = sample_scenes(count, SEED)
    captions = [describe(scenes, n, SEED + n).text for n in range(count)]
    rollout = pipe.rollout(captions)
    segments = list(rollout.stream(num_frames, rollout.begin(list(range(count)))))
    latents, frames = (
        torch.cat(parts, dim=1).cpu() for parts in zip(*((s.latents, s.frames) for s in segments), strict=True)
    )
    return latents, frames, captions


def passes(pipe: MaltPipeline, runs: int = 5) -> dict[str, float]:
    """Passes of a segment whose memory is full, one of several conditions counted once for each, and its processor time."""
    counted: list[int] = []
    handle = pipe.transformer.register_forward_pre_hook(lambda _module, given: counted.append(len(given[0])))
    rollout = pipe.rollout("a red circle passes behind a wall")
    state, seconds = rollout.begin(0), []
    for _ in range(6 + runs):
        counted.clear()
        began = time.process_time()
        _, state = rollout.advance(state)
        seconds.append(time.process_time() - began)
    handle.remove()
    return {"passes": sum(counted), "calls": len(counted), "processor_seconds": min(seconds[6:])}


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME=DIR[@STEPS][:PRECISION]")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--count", type=int, default=64, help="captions, occlusions and videos of each figure")
    parser.add_argument("--frames", type=int, default=128, help="of the videos of the Frechet distance")
    parser.add_argument("--sheets", type=Path, help="folder for a contact sheet of each model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=Path("docs/results/few-steps.json"))
    options = parser.parse_args()
    found: dict[str, dict] = json.loads(options.json.read_text())["figures"] if options.json.exists() else {}
    reference = None
    for key, place in (model.split("=", 1) for model in options.models):
        pipe = loaded(place).to(options.device)
        name = f"{key}, {pipe.config.num_inference_steps} steps"
        figures = found.setdefault(name, {})
        measure: dict[str, Callable[[], object]] = {
            "passes": lambda pipe=pipe: passes(pipe),
            "captions": lambda pipe=pipe: captions_obeyed(pipe, options.count),
            "recall": lambda pipe=pipe: recall_of(pipe, options.count),
            "frechet": lambda pipe=pipe: (
                Frechet(world=open_world("passage"), num_videos=options.count, num_frames=options.frames)
                .run(evaluated_model_of(pipe), seed=0)
                .whole
            ),
        }
        if "distance" in options.parts:
            latents, frames, captions = videos(pipe, 16, 64)
            reference = latents if reference is None else reference
            figures["distance"] = distances(latents, reference)
            if options.sheets:
                contact_sheet(frames[:8], captions[:8], scale=1).save(options.sheets / f"{name}.png")
        for part in options.parts:
            if part in measure and part not in figures:
                figures[part] = measure[part]()
                write(options.json, found)
        say(name, figures)
    write(options.json, found)


def distances(latents: torch.Tensor, reference: torch.Tensor) -> dict[str, float]:
    """Mean squared difference of the latents by segment, over the variance of the reference."""
    error = (latents - reference).square().mean(dim=(0, 2, 3, 4)) / reference.var()
    return {f"segment {n}": float(part.mean()) for n, part in enumerate(error.split(4))}


if __name__ == "__main__":
    main()
