"""FVD against the world's own videos, with the I3D network that a user brings."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.evaluation.evaluated_model import EvaluatedModel, Request, make
from malt.evaluation.metrics.base import Axes, FigureSpec, batches
from malt.evaluation.metrics.frechet_distance import frechet_of
from malt.evaluation.metrics.i3d import I3D, PROTOCOL_CLIPS, PROTOCOL_FRAMES, SIDE, load_i3d
from malt.evaluation.reference import actions_of, captions_of, seeds_of, true_videos
from malt.evaluation.result import MetricResult
from malt.wording import counted
from malt.worlds.base import World

REAL, OTHER_REAL = 1, 2  # rooms of videos whose captions no model is given
ByLength = dict[int, Tensor]  # features (n, d) of clips of so many frames


@dataclass(frozen=True, kw_only=True)
class Fvd:
    """FVD of clips of consecutive frames from the start of each video, a figure for each of `lengths`."""

    world: World
    i3d: Path
    num_videos: int = PROTOCOL_CLIPS
    lengths: tuple[int, ...] = PROTOCOL_FRAMES
    name: str = "fvd"
    says: str = "FVD by the protocol of StyleGAN-V and PVDM, against videos of this world; the floor is that of two sets of them."

    def __post_init__(self) -> None:
        """Refuse so few videos that there is no covariance, and a file that is no I3D network."""
        if self.num_videos < 2:
            raise UsageError("FVD needs at least 2 videos; give a larger --count, or other --metrics")
        load_i3d(self.i3d)

    @property
    def headlines(self) -> dict[str, FigureSpec]:
        """The figures for the table."""
        made = {name: FigureSpec(words=name, better="lower") for name in map(_named, self.lengths)}
        floor = {f"floor, {name}": FigureSpec(words=f"its floor, {name}") for name in made}
        return {name: meaning for pair in zip(made.items(), floor.items(), strict=True) for name, meaning in pair}

    @property
    def axes(self) -> dict[str, Axes]:
        """No charts."""
        return {}

    def settings(self) -> dict[str, object]:
        """What the numbers depend on, the network's hash included."""
        i3d = load_i3d(self.i3d)
        protocol = {
            "world": self.world.name,
            "clips": self.num_videos,
            "frames": list(self.lengths),
            "stride": 1,
            "side": SIDE,
        }
        return protocol | {"sha256": i3d.sha256, "layout": i3d.layout, "scales_itself": i3d.scales_itself}

    def run(self, model: EvaluatedModel, seed: int) -> MetricResult:
        """Make clips, render others, and compare what the network says of them."""
        i3d = load_i3d(self.i3d)
        made = self._features(i3d, self._made(model, seed))
        real, other = (self._features(i3d, self._true(model, seed, room)) for room in (REAL, OTHER_REAL))
        whole = {_named(n): frechet_of(made[n], real[n]) for n in self.lengths}
        whole |= {f"floor, {_named(n)}": frechet_of(other[n], real[n]) for n in self.lengths}
        notes = [f"{counted(self.num_videos, 'clip')}, stride 1, {SIDE}x{SIDE}, network sha256 {i3d.sha256[:12]}"]
        if self.num_videos != PROTOCOL_CLIPS:
            notes.append(f"the protocol asks for {PROTOCOL_CLIPS} clips: do not compare with published figures")
        return MetricResult(whole=whole, notes=notes)

    def _features(self, i3d: I3D, videos: Iterable[Float[Tensor, "b t 3 h w"]]) -> ByLength:
        """Features of the first frames of every video, by how many frames a clip has."""
        parts: dict[int, list[Tensor]] = {n: [] for n in self.lengths}
        for part in videos:
            for n in self.lengths:
                parts[n].append(i3d(part[:, :n]))
        return {n: torch.cat(of_batches) for n, of_batches in parts.items()}

    def _made(self, model: EvaluatedModel, seed: int) -> Iterable[Tensor]:
        captions, seeds = captions_of(self.world, self.num_videos, seed), seeds_of(self.num_videos, seed)
        for part in batches(self.num_videos):
            actions = actions_of(self.world, seeds[part], max(self.lengths), model.action_names)
            request = Request(captions=captions[part], seed=seed + part.start, actions=actions)
            yield make(model, request, max(self.lengths))

    def _true(self, model: EvaluatedModel, seed: int, room: int) -> Iterable[Tensor]:
        seeds = seeds_of(self.num_videos, seed, room=room)
        for part in batches(self.num_videos):
            yield true_videos(self.world, seeds[part], 0, max(self.lengths), model.frame_size)


def _named(num_frames: int) -> str:
    return f"FVD, {num_frames} frames"
