"""All metrics by name, as large as a careful comparison wants them or as small as a quick look needs."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from malt.errors import UsageError
from malt.evaluation.metrics.base import Metric
from malt.evaluation.metrics.boundaries import Boundaries
from malt.evaluation.metrics.cost import Cost
from malt.evaluation.metrics.drift import Drift
from malt.evaluation.metrics.frechet import Frechet
from malt.evaluation.metrics.fvd import Fvd
from malt.evaluation.metrics.i3d import PROTOCOL_FRAMES
from malt.evaluation.metrics.prediction import Prediction
from malt.evaluation.metrics.recall import Recall
from malt.evaluation.reference import Naming
from malt.worlds.base import World
from malt.worlds.registry import oracle_of


@dataclass(frozen=True, kw_only=True)
class Extent:
    """In which world, and how much is measured.

    count: videos for each metric and seed, None for each metric's own number. frames: length of the long videos. i3d: a
    user's I3D network. naming: how much the captions of long videos name.
    """

    world: World
    quick: bool = False
    count: int | None = None
    frames: int | None = None
    i3d: Path | None = None
    naming: Naming = "some"

    def videos(self, careful: int, quick: int) -> int:
        """How many videos: as asked for, or a careful or a quick number."""
        return self.count or (quick if self.quick else careful)

    def length(self, careful: int, quick: int) -> int:
        """How many frames the long videos have."""
        return self.frames or (quick if self.quick else careful)


def _cost(extent: Extent) -> Cost:
    longest = extent.length(1024, 256)
    lengths = tuple(n for n in (64, 128, 256, 512, 1024, 2048, 4096) if n <= longest)
    return Cost(world=extent.world, lengths=lengths or (longest,))


def _fvd(extent: Extent) -> Fvd:
    if extent.i3d is None:
        raise UsageError("FVD needs the I3D network of its authors; give its TorchScript file with --i3d")
    lengths = PROTOCOL_FRAMES[:1] if extent.quick else PROTOCOL_FRAMES
    return Fvd(world=extent.world, i3d=extent.i3d, num_videos=extent.videos(2048, 64), lengths=lengths)


def _recall(extent: Extent) -> Recall:
    num_spans = len(oracle_of(extent.world, "recall").spans)
    return Recall(world=extent.world, per_bin=-(-extent.videos(64, 16) // max(1, num_spans)))


def _prediction(extent: Extent) -> Prediction:
    horizon = 32 if extent.quick else 64
    return Prediction(world=extent.world, num_videos=extent.videos(32, 8), horizon=horizon)


def _boundaries(extent: Extent) -> Boundaries:
    num_frames = 128 if extent.quick else 256
    return Boundaries(world=extent.world, num_videos=extent.videos(16, 4), num_frames=num_frames)


METRICS: dict[str, Callable[[Extent], Metric]] = {
    "recall": _recall,
    "drift": lambda extent: Drift(
        world=extent.world,
        num_videos=extent.videos(16, 4),
        num_frames=extent.length(1024, 512),
        naming=extent.naming,
    ),
    "frechet": lambda extent: Frechet(world=extent.world, num_videos=extent.videos(64, 12)),
    "prediction": _prediction,
    "boundaries": _boundaries,
    "cost": _cost,
    "fvd": _fvd,
}
RENAMED = {"wear": "drift", "seams": "boundaries"}
USUAL = tuple(name for name in METRICS if name != "fvd")


def build_metrics(names: list[str], extent: Extent) -> list[Metric]:
    """The metrics of these names, in the order given.

    Raises:
        UsageError: there is no such metric, it has another name by now, or what it needs was not given.
    """
    for name in names:
        if name in RENAMED:
            raise UsageError(f"the metric {name} is called {RENAMED[name]} now; give --metrics {RENAMED[name]}")
    return [METRICS[known_name(name, METRICS, "metric")](extent) for name in names]


def known_name(name: str, known: Collection[str], what: str) -> str:
    """The name, if it is known.

    Raises:
        UsageError: it is not; the nearest is suggested.
    """
    if name in known:
        return name
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}" if close else f"choose from {', '.join(known)}"
    raise UsageError(f"there is no {what} {name!r}; {hint}")
