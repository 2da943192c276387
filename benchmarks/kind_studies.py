"""What is compared of kinds of memory in a world: which kinds there are, what is measured of a run, and what that sums up to."""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple, cast

import maze
from lasting import identity, recall
from results import wilson

from malt.evaluation.evaluated_model import EvaluatedModel, RolloutModel
from malt.evaluation.metrics.frechet import Frechet
from malt.evaluation.reference import first_seed
from malt.worlds.base import HiddenSpan, World
from malt.worlds.passage.long_scenes import long_scenes_of
from malt.worlds.passage.passage_world import Passage, PassageOracle
from malt.worlds.registry import oracle_of

SPANS = tuple(HiddenSpan(first=first, last=last) for first, last in ((64, 127), (128, 255), (256, 512)))
PASSAGE = Passage(name="passage-long", draw=long_scenes_of, oracle=PassageOracle(draw=long_scenes_of, spans=SPANS))
RETURNING = ("replay", "loop", "return")  # policies that come back to where they were
AWAY = ("64-127", "128-255", "256-511")  # frames
Parts = dict[str, Callable[[EvaluatedModel], dict[str, Any]]]


class Run(NamedTuple):
    """A kind trained with a seed."""

    kind: str
    seed: int
    folder: Path

    @property
    def pipeline(self) -> Path:
        """The finished model."""
        return self.folder / "pipeline"

    def found(self, part: str) -> dict[str, Any] | None:
        """What was measured of it."""
        path = self.folder / f"{part}.json"
        return json.loads(path.read_text()) if path.exists() else None


@dataclass(frozen=True)
class Study:
    """What is compared in a world.

    recipes: a file with a recipe for each kind. parts: what is measured of a run, each kept in a file of its own. summary: the
    same of all seeds together.
    """

    world: World
    recipes: str
    kinds: tuple[str, ...]
    parts: Callable[[argparse.Namespace], Parts]
    summary: Callable[[list[Run]], dict[str, Any]]


def passage_parts(options: argparse.Namespace) -> Parts:
    """Recall, identity and Frechet distance."""

    def recalled(model: EvaluatedModel) -> dict[str, Any]:
        as_it_is = replace(cast(RolloutModel, model), has_memory=False)  # so that no other is measured
        return recall(model if options.emptied else as_it_is, options.per_span, PASSAGE)

    parts: Parts = {"recall": recalled}
    if options.videos:
        parts["identity"] = lambda model: identity(
            model, options.videos, options.frames, 16, "nothing", is_beside=False
        )
    if options.frechet:
        frechet = Frechet(world=Passage(), num_videos=options.frechet)
        parts["frechet"] = lambda model: dict(frechet.run(model, seed=0).whole)
    return parts


def maze_parts(options: argparse.Namespace) -> Parts:
    """What is there when one comes back, by each policy that does."""

    def along(policy: str) -> Callable[[EvaluatedModel], dict[str, Any]]:
        return lambda model: returns(model, policy, options.per_span)

    return {policy: along(policy) for policy in RETURNING}


def returns(model: EvaluatedModel, policy: str, per_span: int) -> dict[str, Any]:
    """By frames away and use of the memory: PSNR on return, and how often room and object are named right."""
    world = maze.WORLD.under(policy)
    moments = oracle_of(world, "this benchmark").occlusions(per_span, first_seed(0))
    return {span: maze.figures(moments[span], maze.watch(model, moments[span], 0, world)) for span in AWAY}


def passage_summary(runs: list[Run]) -> dict[str, Any]:
    """Shares of what several seeds found together, and their Frechet distances."""
    memory = [found["by_hidden_frames"] for run in runs if (found := run.found("recall"))]
    lengths = [found["by_frame"] for run in runs if (found := run.found("identity"))]
    kept = {n: pooled([each[n]["identity kept"] for each in lengths]) for n in (lengths[0] if lengths else ())}
    return {
        "recall": {
            use: {span: pooled([each[use][span] for each in memory]) for span in memory[0][use]} for use in memory[0]
        },
        "identity kept": kept,
        "frechet": [found for run in runs if (found := run.found("frechet"))],
    }


def maze_summary(runs: list[Run]) -> dict[str, Any]:
    """By policy, frames away and use of the memory: PSNR with its 95 % interval, room and object named right; what it brings."""
    found: dict[str, Any] = {}
    for policy in RETURNING:
        own = [seen for run in runs if (seen := run.found(policy))]
        for span in AWAY:
            for use in maze.USES:
                every = [seen[span][use] for seen in own]
                named = {name: pooled([each[name] for each in every]) for name in every[0] if name.endswith("_right")}
                told = {"psnr_on_return": with_interval([value for each in every for value in each["of_each"]])}
                found.setdefault(policy, {}).setdefault(span, {})[use] = told | named
    found["kept over emptied"] = {span: with_interval(gains(runs, span)) for span in AWAY}
    return found


def gains(runs: list[Run], span: str) -> list[float]:
    """What the memory brings to each return, in dB: the mean of the seeds, which all come back to the same places."""
    of_returns: dict[tuple[str, int], list[float]] = {}
    for policy in RETURNING:
        for seen in (found for run in runs if (found := run.found(policy))):
            pairs = zip(seen[span]["kept"]["of_each"], seen[span]["emptied"]["of_each"], strict=True)
            for index, (kept, emptied) in enumerate(pairs):
                of_returns.setdefault((policy, index), []).append(kept - emptied)
    return [fmean(each) for each in of_returns.values()]


def pooled(shares: list[dict[str, Any]]) -> dict[str, Any]:
    """A share of what several seeds found together."""
    return wilson(sum(each["kept"] for each in shares), sum(each["n"] for each in shares))


def with_interval(values: list[float]) -> dict[str, float]:
    """The mean with its 95 % interval."""
    mean, half = fmean(values), 1.96 * stdev(values) / math.sqrt(len(values))
    return {"mean": round(mean, 2), "low": round(mean - half, 2), "high": round(mean + half, 2), "n": len(values)}


STUDIES = {
    "passage": Study(
        PASSAGE,
        "experiments/kinds.py",
        (
            "hierarchical",
            "archive",
            "context",
            "none",
            "adaptive",
            "short_context",
            "multimodal",
            "state_space",
            "slots",
        ),
        passage_parts,
        passage_summary,
    ),
    "maze": Study(
        maze.WORLD,
        "experiments/place_kinds.py",
        ("places", "archive", "context", "none", "state_space", "slots", "adaptive", "short_context"),
        maze_parts,
        maze_summary,
    ),
}
