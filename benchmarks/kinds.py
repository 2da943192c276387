"""Every kind of memory at equal bytes and equal training compute: recall by hidden time, identity by length, cost.

    python benchmarks/kinds.py --start src/malt/assets/default --tera 30 [--seeds 0 1 2] [--kinds none archive ...]
        [--folder runs/kinds] [--out docs/results/kinds.json]

All kinds begin with the weights of `--start` and learn by the recipes of experiments/kinds.py for `--tera` operations. What is
finished is kept in --folder, and the same command goes on after a stop. Nothing is guided while it is measured.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast

import torch
from lasting import identity, recall
from results import wilson, write

from malt.evaluation.evaluated_model import EvaluatedModel, Request, RolloutModel, evaluated_model_of
from malt.evaluation.metrics.frechet import Frechet
from malt.pipelines.loading import load_pipeline
from malt.threads import use_threads
from malt.training.recipes import find_recipe, resolve
from malt.training.run import train
from malt.training.run_folder import read_experiment
from malt.worlds.base import HiddenSpan
from malt.worlds.passage.long_scenes import long_scenes_of
from malt.worlds.passage.passage_world import Passage, PassageOracle

RECIPES, TERA = "experiments/kinds.py", 160.0  # operations that the recipes as they are take
KINDS = (
    "hierarchical",
    "archive",
    "context",
    "none",
    "adaptive",
    "short_context",
    "multimodal",
    "state_space",
    "slots",
)
SPANS = tuple(HiddenSpan(first=first, last=last) for first, last in ((64, 127), (128, 255), (256, 512)))
WORLD = Passage(name="passage-long", draw=long_scenes_of, oracle=PassageOracle(draw=long_scenes_of, spans=SPANS))
FULL = 24  # segments after which every memory is full
TIMED = 9  # segments of which the median is told


class Run(NamedTuple):
    """A kind trained with a seed."""

    kind: str
    seed: int
    folder: Path

    @property
    def pipeline(self) -> Path:
        """The finished model."""
        return self.folder / "pipeline"


def learn(run: Run, start: Path, tera: float, device: str) -> None:
    """Train a kind, or go on where it was stopped; all of them learn from the same encoded videos."""
    if (run.pipeline / "model_index.json").exists():
        return
    recipe = f"{RECIPES}:{run.kind}"
    whole = find_recipe(recipe)()
    steps = max(2, round(whole.optimization.num_steps * tera / TERA))
    options = {"start": [str(start.resolve())], "seed": [str(run.seed)], "optimization.num-steps": [str(steps)]}
    experiment = resolve(replace(whole, cuda_graphs=device.startswith("cuda")), options)
    run.folder.mkdir(parents=True, exist_ok=True)
    here, others = run.folder / "bank.safetensors", run.folder.parent.glob("*/bank.safetensors")
    if not here.exists() and (encoded := next(others, None)):
        here.hardlink_to(encoded)
    train(experiment, run.folder, device=device, recipe=recipe)


def model_of(run: Run, device: str) -> EvaluatedModel:
    """The trained kind; its transformer computes in bfloat16, as where it learned."""
    pipe = load_pipeline(run.pipeline).to(device)
    pipe.transformer.forward = torch.autocast(device.partition(":")[0], torch.bfloat16)(pipe.transformer.forward)
    return evaluated_model_of(pipe)


def measure(run: Run, model: EvaluatedModel, options: argparse.Namespace) -> None:
    """Measure what was not yet, each part in a file of its own."""
    as_it_is = replace(cast(RolloutModel, model), has_memory=False)  # so that no other is measured
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "recall": lambda: recall(model if options.emptied else as_it_is, options.per_span, WORLD),
        "identity": lambda: identity(model, options.videos, options.frames, 16, "nothing"),
        "frechet": lambda: dict(Frechet(world=Passage(), num_videos=options.frechet).run(model, seed=0).whole),
    }
    for name, part in parts.items():
        path = run.folder / f"{name}.json"
        wished = {"identity": options.videos, "frechet": options.frechet}.get(name, True)
        if wished and not path.exists():
            began = time.process_time()
            found = part()
            path.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{run.folder.name}: {name} in {time.process_time() - began:.0f} s of processor", file=sys.stderr)
            print(json.dumps(found["by_hidden_frames"] if name == "recall" else found)[:600], file=sys.stderr)


def costs(models: dict[str, EvaluatedModel]) -> dict[str, dict[str, float]]:
    """Milliseconds of processor a segment and bytes a video, of full memories; every kind makes a segment in turn."""
    frames, taken, sizes = 0, dict[str, list[float]](), dict[str, int]()
    streams = {}
    for kind, model in models.items():
        first = WORLD.render([0], 0, 16 * FULL).frames
        start = model.begin(Request(captions=[WORLD.plain_caption], first=first))
        streams[kind] = start.stream(16 * (TIMED + 1))
    for _ in range(TIMED + 1):
        for kind, stream in streams.items():
            began = time.process_time()
            segment = next(stream)
            taken.setdefault(kind, []).append(1000 * (time.process_time() - began))
            sizes[kind], frames = segment.memory_bytes, segment.frames.shape[1]
    return {
        kind: {"ms_a_segment": median(each[1:]), "frames_a_segment": frames, "bytes": sizes[kind]}
        for kind, each in taken.items()
    }


def pooled(shares: list[dict[str, Any]]) -> dict[str, Any]:
    """A share of what several seeds found together."""
    return wilson(sum(each["kept"] for each in shares), sum(each["n"] for each in shares))


def table(runs: list[Run], cost: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Of every kind what was found, its seeds together."""
    found: dict[str, Any] = {}
    for kind in dict.fromkeys(run.kind for run in runs):
        own = [run for run in runs if run.kind == kind]
        memory = [_read(run, "recall")["by_hidden_frames"] for run in own]
        lengths = [_read(run, "identity")["by_frame"] for run in own if (run.folder / "identity.json").exists()]
        found[kind] = {
            "seeds": [run.seed for run in own],
            "steps": read_experiment(own[0].folder).experiment.optimization.num_steps,
            **cost[kind],
            "recall": {
                use: {span: pooled([each[use][span] for each in memory]) for span in memory[0][use]}
                for use in memory[0]
            },
            "identity kept": {
                n: pooled([each[n]["identity kept"] for each in lengths])
                for n in dict.fromkeys(n for e in lengths for n in e)
            },
            "frechet": [_read(run, "frechet") for run in own if (run.folder / "frechet.json").exists()],
        }
    return found


def _read(run: Run, part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.folder / f"{part}.json").read_text())
    return found


def main() -> None:
    """Train and measure what is missing, and write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="the weights that all begin with")
    parser.add_argument("--tera", type=float, default=TERA, help="operations of the training of each, in 10^12")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--per-span", type=int, default=16, help="occlusions for each span of hidden frames")
    parser.add_argument("--emptied", action="store_true", help="also with memories emptied, and those of other videos")
    parser.add_argument("--videos", type=int, default=16, help="whose identity is watched; 0 for none")
    parser.add_argument("--frames", type=int, default=1024)
    parser.add_argument("--frechet", type=int, default=64, help="videos of 128 frames; 0 for none")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, default=Path("runs/kinds"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/kinds.json"))
    options = parser.parse_args()
    use_threads(1)
    runs = [Run(kind, seed, options.folder / f"{kind}-{seed}") for seed in options.seeds for kind in options.kinds]
    for run in runs:
        learn(run, options.start, options.tera, options.device)
        measure(run, model_of(run, options.device), options)
    firsts = {run.kind: model_of(run, options.device) for run in reversed(runs)}
    write(options.out, table(runs, costs(firsts)))


if __name__ == "__main__":
    main()
