"""Where a video once stood: few enough snapshots to keep for good, thinned out the further back they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import uuid4

import torch

from malt.codecs.latent_history import LatentHistory
from malt.rollouts.base import RolloutState
from malt.sessions.serialization import map_tensors

MAX_SNAPSHOTS = 8  # the present among them; with them a session of the default model stays below 8 MB


@dataclass(frozen=True)
class Snapshot:
    """The state of a rollout at a border between segments, and the prompt that its last segment shows.

    name: unlike that of any other snapshot, also of one at the same frame in another future.
    """

    progress: RolloutState
    prompt: str | None = None
    name: str = field(default_factory=lambda: uuid4().hex[:12])

    @property
    def start(self) -> int:
        """Number of the frame that comes next."""
        return self.progress.start

    def to(self, device: torch.device | str) -> "Snapshot":
        """The same, with all tensors on a device."""
        return replace(self, progress=map_tensors(self.progress, lambda tensor: tensor.to(device)))

    def at_rest(self) -> "Snapshot":
        """The same on the CPU, as small as can be: what a decoder carries is left out where it can be made again."""
        cache = self.progress.decoder_cache
        kept = cache.at_rest() if isinstance(cache, LatentHistory) else cache
        return replace(self, progress=replace(self.progress, decoder_cache=kept)).to("cpu")


def thin(snapshots: Sequence[Snapshot], origin: Snapshot | None = None) -> tuple[Snapshot, ...]:
    """The snapshots to keep of these, oldest first, so that their ages stay in about one proportion to one another.

    While there are too many, that one goes whose neighbours' ages are nearest one another in proportion; the beginning
    counts as a neighbour that is always there (it is made anew at no cost, not kept), the latest snapshot always stays.
    `origin` is kept beside them where there is one, and takes a place of theirs.
    """
    most = MAX_SNAPSHOTS - (origin is not None)
    kept = [snapshot for snapshot in snapshots[:-1] if snapshot.progress.index] + [snapshots[-1]]
    while len(kept) > most:
        now = kept[-1].progress.index + 1
        ages = [now, *(now - snapshot.progress.index for snapshot in kept)]
        least = min(range(len(kept) - 1), key=lambda n: ages[n] / ages[n + 2])
        del kept[least]
    return tuple(kept)
