"""The proof, in one run: every way to make a long video by the same measures, as one table.

    python benchmarks/proof.py malt=runs/default/pipeline:malt window=runs/none/pipeline:sliding_window ...
        [--seeds 3] [--lengths 1024 4096] [--out docs/results/proof.json] [--folder runs/proof]

Each subject is NAME=CHECKPOINT:ROLLOUT, or NAME=CHECKPOINT:ROLLOUT@GUIDANCE where the guidance towards the caption is not to be
the checkpoint's own; CHECKPOINT `default` is the model that ships. The first is the one that claims to be
better; the others are its rivals. What is finished is kept in --folder, and the same command goes on after a stop.
The rivals are trained by the recipes of experiments/baselines.py; `--metrics` measures only some, of some subjects in a
process of their own where that is wished; `--table` measures nothing and writes what is there.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from results import write

from malt.errors import UsageError
from malt.evaluation.checkpoint_hash import checkpoint_sha256
from malt.evaluation.evaluated_model import EvaluatedModel, evaluated_model_of
from malt.evaluation.evaluation_run import EvaluationRun, Results
from malt.evaluation.metrics.base import Metric
from malt.evaluation.metrics.boundaries import Boundaries
from malt.evaluation.metrics.cost import Cost
from malt.evaluation.metrics.drift import Drift
from malt.evaluation.metrics.frechet import Frechet
from malt.evaluation.metrics.prediction import Prediction
from malt.evaluation.metrics.recall import Recall
from malt.evaluation.result import Figure
from malt.pipelines.loading import load_pipeline
from malt.pipelines.packaged import default_checkpoint
from malt.worlds.passage.occlusions import SPANS
from malt.worlds.passage.passage_world import Passage

LONGEST_HIDDEN = f"same after {SPANS[-1].name} hidden frames"
COSTS = {"one more second": "seconds for one more second at 1024 frames", "a frame": "seconds a frame at 1024 frames"}


class Entry(NamedTuple):
    """One subject as it is named on the command line."""

    name: str
    checkpoint: Path
    rollout: str
    guidance_scale: float | None


def read_entry(text: str) -> Entry:
    """Take NAME=CHECKPOINT:ROLLOUT@GUIDANCE apart; the last may be left out."""
    name, _, rest = text.partition("=")
    checkpoint, _, way = rest.rpartition(":")
    rollout, _, scale = way.partition("@")
    if not (name and checkpoint and rollout):
        raise UsageError(f"cannot read {text!r}; give NAME=CHECKPOINT:ROLLOUT")
    path = default_checkpoint() if checkpoint == "default" else Path(checkpoint)
    return Entry(name, path, rollout, float(scale) if scale else None)


def subject(entry: Entry, precision: str) -> EvaluatedModel:
    """The subject of an entry; the number of weights is told, so that equal sizes can be seen to be equal.

    The transformer computes in `precision`, as it did when it learned; everything else in float32.
    """
    pipe = load_pipeline(entry.checkpoint)
    if entry.guidance_scale is not None:
        pipe.register_to_config(guidance_scale=entry.guidance_scale)
    if precision != "float32":
        pipe.transformer.forward = torch.autocast("cpu", getattr(torch, precision))(pipe.transformer.forward)
    weights = sum(parameter.numel() for parameter in pipe.transformer.parameters())
    about = {
        "checkpoint": str(entry.checkpoint),
        "sha256": checkpoint_sha256(entry.checkpoint),
        "weights": weights,
        "precision": precision,
        "guidance_scale": pipe.config.guidance_scale,
    }
    return evaluated_model_of(pipe, entry.rollout, called=entry.name, identity=about)


def metrics(options: argparse.Namespace) -> list[Metric]:
    """What is measured, shortest first; the longest drift last, as it takes longest."""
    world, count = Passage(), options.count
    short: list[Metric] = [
        Recall(world=world, per_bin=count),
        Frechet(world=world, num_videos=options.videos, num_frames=128),
        Boundaries(world=world, num_videos=count),
        Prediction(world=world, num_videos=count),
        Cost(world=world, lengths=(64, 128, 256, 512, 1024), limit_s=options.limit),
    ]
    lengths = sorted(options.lengths)
    drifts = (Drift(world=world, num_videos=options.drift, num_frames=n, name=f"drift-{n}") for n in lengths)
    return [metric for metric in [*short, *drifts] if options.metrics is None or metric.name in options.metrics]


def claims(results: Results, lengths: list[int]) -> dict[str, Any]:
    """The table of what is to be reached: the first subject against the best of the others."""
    first, *rivals = results["subjects"]

    def figure(subject: str, metric: str, name: str) -> Figure | None:
        found = results["subjects"][subject]["metrics"].get(metric)
        return found["figures"].get(name) if found else None

    def means(names: list[str], metric: str, name: str) -> dict[str, float]:
        found = {each: figure(each, metric, name) for each in names}
        return {each: value["mean"] for each, value in found.items() if value and value["mean"] is not None}

    table: dict[str, Any] = {"subject": first}
    for what, name in COSTS.items():
        costs = means([first, *rivals], "cost", name)
        if first in costs:
            table[f"cost of {what} at 1,024 frames, rival over subject"] = {
                r: costs[r] / costs[first] for r in costs if r != first
            }
    for name in results["metrics"]["frechet"]["headlines"] if "frechet" in results["metrics"] else []:
        others = means(rivals, "frechet", name)
        own = means([first], "frechet", name)
        if others and own and not name.startswith("floor"):
            best = min(others, key=lambda each: others[each])
            table[f"Frechet of 128 frames ({name}), subject over {best}"] = own[first] / others[best]
            floor = means([first], "frechet", f"floor, {name}")[first]
            table[f"the same above the floor ({name}), subject over {best}"] = (own[first] - floor) / (
                others[best] - floor
            )
    for length in sorted(lengths):
        kept = ("well-formed shapes kept", "moving shapes kept", "sharpness kept", "motion kept")
        table[f"kept at {length} frames"] = {name: figure(first, f"drift-{length}", name) for name in kept}
    own, others = means([first], "recall", LONGEST_HIDDEN), means(rivals, "recall", LONGEST_HIDDEN)
    if own and others:
        best = max(others, key=lambda each: others[each])
        table[f"{LONGEST_HIDDEN}, subject minus {best}, points"] = 100 * (own[first] - others[best])
    table[f"{LONGEST_HIDDEN}, each"] = {each: figure(each, "recall", LONGEST_HIDDEN) for each in (first, *rivals)}
    return table


def main() -> None:
    """Measure what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entries", nargs="+", type=read_entry, metavar="NAME=CHECKPOINT:ROLLOUT")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--count", type=int, default=16, help="videos of each other metric and seed; moments of each bin"
    )
    parser.add_argument(
        "--videos", type=int, default=256, help="of a Frechet distance; few have a floor above what is measured"
    )
    parser.add_argument("--drift", type=int, default=4, help="videos of each length")
    parser.add_argument("--metrics", nargs="+", help="recall, frechet, boundaries, prediction, cost, drift-1024, ...")
    parser.add_argument("--table", action="store_true", help="measure nothing; write what is there")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a longer video is not tried")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"), help="of the transformer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/proof"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/proof.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    subjects = [subject(entry, options.precision) for entry in options.entries]
    study = EvaluationRun(
        world=Passage(), models=subjects, metrics=metrics(options), seeds=options.seeds, folder=options.folder
    )
    study.begin()
    todo = [] if options.table else study.pending()
    for n, task in enumerate(todo):
        print(
            f"{n + 1} of {len(todo)}: {task.metric.name} of {task.model.name}, seed {task.seed}",
            file=sys.stderr,
            flush=True,
        )
        study.run(task)
    if options.metrics and not options.table:
        return
    results = study.results()
    table = claims(results, options.lengths)
    print(json.dumps(table, indent=2))
    write(options.out, {"claims": table, **results})


if __name__ == "__main__":
    main()
