"""Every kind of memory at equal bytes and equal training compute: recall by hidden time, identity by length, cost.

    malt train experiments/kinds.py:trunk --device cuda --cuda-graphs true --out runs/kinds/trunk
    python benchmarks/kinds.py --start runs/kinds/trunk/pipeline --seeds 0 1 2 --device cuda --processes 5 --do runs
    python benchmarks/kinds.py --start runs/kinds/trunk/pipeline --seeds 0 1 2 --do table
    python benchmarks/kinds.py --world maze --start runs/maze-kinds/trunk/pipeline ...    which memory for places

All kinds begin with the weights of `--start` and learn by the recipes of experiments/kinds.py (of a maze, place_kinds.py) for
`--tera` operations. What is finished is kept in --folder, and the same command goes on after a stop. A run that fails leaves
the others alone. The table is of what is finished; what a segment costs is measured then, of untrained memories of these
kinds, and needs no weights but those of `--start`. Nothing is guided while it is measured.
"""

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from kind_studies import STUDIES, Run, Study
from results import write

from malt.errors import MaltError
from malt.evaluation.evaluated_model import EvaluatedModel, Request, evaluated_model_of
from malt.evaluation.reference import true_actions
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.threads import use_threads
from malt.training.recipes import find_recipe, resolve
from malt.training.run import train

TERA = 110.0  # operations that the recipes as they are take
FULL = 24  # segments after which every memory is full
TIMED = 9  # segments of which the median is told


def learn(run: Run, study: Study, options: argparse.Namespace) -> None:
    """Train a kind, or go on where it was stopped; all of them learn from the same encoded videos."""
    if (run.pipeline / "model_index.json").exists():
        return
    recipe = f"{study.recipes}:{run.kind}"
    whole = find_recipe(recipe)()
    steps = max(2, round(whole.optimization.num_steps * options.tera / TERA))
    asked = {"start": [str(options.start.resolve())], "seed": [str(run.seed)], "optimization.num-steps": [str(steps)]}
    asked |= {name: [value] for name, value in (each.split("=") for each in options.set)}
    experiment, began = resolve(whole, asked), time.monotonic()
    run.folder.mkdir(parents=True, exist_ok=True)
    here, others = run.folder / "bank.safetensors", run.folder.parent.glob("*/bank.safetensors")
    if not here.exists() and (encoded := next(others, None)):
        here.hardlink_to(encoded)
    for is_graphed in (True, False) if options.device.startswith("cuda") else (False,):
        try:
            train(replace(experiment, cuda_graphs=is_graphed), run.folder, device=options.device, recipe=recipe)
            break
        except MaltError as error:  # what cannot be captured as a CUDA graph is computed kernel by kernel
            if not is_graphed:
                raise
            print(f"{run.folder.name}: no CUDA graph ({error})", file=sys.stderr)
    taken = {"steps": steps, "seconds": round(time.monotonic() - began, 1), "is_graphed": is_graphed}
    (run.folder / "training.json").write_text(json.dumps(taken) + "\n")


def model_of(pipe: MaltPipeline, device: str) -> EvaluatedModel:
    """The transformer computes in bfloat16, as where it learned."""
    transformer: Any = pipe.to(device).transformer
    transformer.forward = torch.autocast(device.partition(":")[0], torch.bfloat16)(transformer.forward)
    return evaluated_model_of(pipe)


def measure(run: Run, study: Study, options: argparse.Namespace) -> None:
    """Measure what was not yet."""
    model = model_of(load_pipeline(run.pipeline), options.device)
    for name, part in study.parts(options).items():
        if run.found(name) is None:
            began = time.monotonic()
            found = part(model)
            (run.folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
            print(f"{run.folder.name}: {name} in {time.monotonic() - began:.0f} s", file=sys.stderr)


def costs(study: Study, kinds: list[str], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Milliseconds of processor a segment and bytes a video, of full memories; every kind makes a segment in turn."""
    frames, taken, sizes = 0, dict[str, list[float]](), dict[str, int]()
    streams = {}
    for kind in kinds:
        model = model_of(untrained(f"{study.recipes}:{kind}", options.start), "cpu")
        clip = study.world.render([0], 0, 16 * (FULL + TIMED + 1))
        first, actions = clip.frames[:, : 16 * FULL], true_actions(study.world, [clip], model.action_names)
        start = model.begin(Request(captions=[study.world.plain_caption], first=first, actions=actions))
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


def untrained(recipe: str, start: Path) -> MaltPipeline:
    """The pipeline of `start` with a memory of this recipe's kind, which has learned nothing."""
    pipe, size = load_pipeline(start), find_recipe(recipe)().transformer
    own: Any = pipe.transformer
    other = {name: getattr(size, name) for name in ("memory", "memory_size", "memory_config", "motion")}
    transformer = type(own).from_config({**own.config, **other}).eval()
    transformer.load_state_dict(own.state_dict(), strict=False)
    pipe.register_modules(transformer=transformer)
    pipe.register_to_config(guidance_scale=1.0, memory_guidance_scale=1.0)
    return pipe


def table(study: Study, runs: list[Run], options: argparse.Namespace) -> dict[str, Any]:
    """Of every kind what was found, its seeds together; of runs of which the first part was, and each with its own `n`."""
    parts = ("training", next(iter(study.parts(options))))
    runs = [run for run in runs if all(run.found(part) is not None for part in parts)]
    kinds = list(dict.fromkeys(run.kind for run in runs))
    cost, found = costs(study, kinds, options), dict[str, Any]()
    for kind in kinds:
        own = [run for run in runs if run.kind == kind]
        training = [run.found("training") or {} for run in own]
        told = {"seeds": [run.seed for run in own], "steps": training[0]["steps"]}
        seconds = {"training_seconds": [each["seconds"] for each in training]}
        found[kind] = {**told, **seconds, **cost[kind], **study.summary(own)}
    return found


def beside_one_another(runs: list[Run], processes: int) -> None:
    """Every run in a process of its own, so many at a time; one that fails leaves the others alone."""

    def do(run: Run) -> None:
        command = [sys.executable, *sys.argv, "--do", "runs", "--processes", "1"]
        command += ["--kinds", run.kind, "--seeds", str(run.seed)]
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        with run.folder.with_suffix(".log").open("a") as log:
            done = subprocess.run(command, stdout=log, stderr=log, check=False)
        print(f"{run.folder.name}: {'done' if done.returncode == 0 else f'failed ({log.name})'}", flush=True)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(do, runs))


def main() -> None:
    """Train and measure what is missing, and write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", choices=STUDIES, default="passage")
    parser.add_argument("--start", type=Path, required=True, help="the weights that all begin with")
    parser.add_argument("--tera", type=float, default=TERA, help="operations of the training of each, in 10^12")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="of every experiment")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--kinds", nargs="+", help="all where none are named")
    parser.add_argument("--per-span", type=int, default=16, help="occlusions or returns for each span of frames")
    parser.add_argument("--emptied", action="store_true", help="also with memories emptied, and those of other videos")
    parser.add_argument("--videos", type=int, default=16, help="whose identity is watched; 0 for none")
    parser.add_argument("--frames", type=int, default=1024)
    parser.add_argument("--frechet", type=int, default=64, help="videos of 128 frames; 0 for none")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=1, help="runs beside one another")
    parser.add_argument("--do", nargs="+", choices=("runs", "table"), default=("runs", "table"))
    parser.add_argument("--folder", type=Path, help="runs/kinds or runs/maze-kinds where none is named")
    parser.add_argument("--out", type=Path, help="docs/results/kinds.json or maze-kinds.json where none is named")
    options = parser.parse_args()
    use_threads(1)
    study, name = STUDIES[options.world], "kinds" if options.world == "passage" else f"{options.world}-kinds"
    folder = options.folder or Path("runs", name)
    runs = [
        Run(kind, seed, folder / f"{kind}-{seed}") for seed in options.seeds for kind in options.kinds or study.kinds
    ]
    if "runs" in options.do and options.processes > 1:
        beside_one_another(runs, options.processes)
    elif "runs" in options.do:
        for run in runs:
            learn(run, study, options)
            measure(run, study, options)
    if "table" in options.do:
        write(options.out or Path("docs/results", f"{name}.json"), table(study, runs, options))


if __name__ == "__main__":
    main()
