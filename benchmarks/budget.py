"""How many operations a step of a recipe takes, and the whole of it: what "equal training compute" means in the proof.

    python benchmarks/budget.py experiments/baselines.py:full default ... [--tera 240]

Counted are the matrix products (attention's among them) of forward and backward passes, by torch's own counter, over one step of
every objective; what is walked without gradients counts too. `--tera` says how many steps as many operations allow.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from malt.codecs.registry import codec_of
from malt.data.batch import Batch
from malt.pipelines.autoencoder_loading import load_autoencoder
from malt.training.config import Experiment
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import DenoisingObjective
from malt.training.objectives.objective import Objective
from malt.training.pipeline_export import build_captioned
from malt.training.recipes import find_recipe
from malt.worlds.passage.captions import vocabulary

SIDE, CHANNELS = 8, 16  # of the latents of the world's 64x64 frames
CAPTION = "a red circle and a blue square pass behind a wall"


def examples(
    step: int, num_videos: int, num_frames: int, context_frames: int, start_share: float, far_frames: int = 0
) -> Batch:
    """Noise for videos: what it is makes no difference to the count."""
    latents = torch.randn(num_videos, context_frames + num_frames, CHANNELS, SIDE, SIDE)
    return Batch(latents, [CAPTION] * num_videos, torch.zeros(num_videos, dtype=torch.bool))


def operations(experiment: Experiment, objective: Objective) -> int:
    """Floating point operations of one step, a product and a sum being two."""
    codec = codec_of(load_autoencoder(Path(experiment.codec) if experiment.codec else None))
    captioned = build_captioned(experiment.transformer, vocabulary(), codec, seed=experiment.seed).train()
    stage = Stage(until=1, objectives=(replace(objective, dropout=replace(objective.dropout, caption_dropout=0.0)),))
    task = DenoisingObjective(captioned, examples, (stage,), 0, torch.float32)
    with FlopCounterMode(display=False) as counter:
        task.loss(0)[0].backward()
    return counter.get_total_flops()


def main() -> None:
    """Count, and print a line for each recipe and stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", help="names, or FILE.py:NAME")
    parser.add_argument("--tera", type=float, help="operations to spend, in 10^12")
    options = parser.parse_args()
    for name in options.recipes:
        experiment, begins, whole = find_recipe(name)(), 0, 0.0
        for stage in experiment.curriculum:
            each = [operations(experiment, objective) / 1e12 for objective in stage.objectives]
            mean, steps = sum(each) / len(each), stage.until - begins
            whole, begins = whole + steps * mean, stage.until
            line = f"{name}: {steps} steps of {mean:.4f} TFLOP (by turns {', '.join(f'{e:.4f}' for e in each)})"
            print(line + (f"; {options.tera:g} TFLOP are {options.tera / mean:.0f} steps" if options.tera else ""))
        print(f"{name}: {whole:.1f} TFLOP")


if __name__ == "__main__":
    main()
