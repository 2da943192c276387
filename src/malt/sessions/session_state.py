"""What a session is as a value, and what it is made of."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.rollouts.base import Rollout
from malt.rollouts.malt import MaltRollout
from malt.sessions.fingerprint import ModelIdentity
from malt.sessions.kept_memories import Edit, Moment, edit_all
from malt.sessions.pipeline import BaseRollout, KeptSettings, SessionSettings
from malt.sessions.snapshots import Snapshot, thin
from malt.sessions.timeline import Timeline


@dataclass(frozen=True, kw_only=True)
class SessionState:
    """Everything that a generation is, a value.

    snapshots: where it once stood, oldest first; the last is where it stands. origin: where it stood behind the frames
    that were given, None if none were. actions: what was done in each frame so far, for models that take actions.
    notes: what the holder of a session wants kept with it, as JSON. kept: moments that have a name. edits: changes of the
    memory by hand, in the order in which they were made.
    """

    model: ModelIdentity
    rollout: str
    settings: KeptSettings
    prompts: Timeline[str]
    seeds: Timeline[int]
    snapshots: tuple[Snapshot, ...]
    origin: Snapshot | None = None
    actions: Float[Tensor, "t a"] | None = None
    notes: dict[str, object] = field(default_factory=dict)
    kept: tuple[Moment, ...] = ()
    edits: tuple[Edit, ...] = ()

    @property
    def now(self) -> Snapshot:
        """Where the video stands."""
        return self.snapshots[-1]

    @property
    def here(self) -> Snapshot:
        """The same with what was changed there by hand, where that is still to be done again after rewinding."""
        return edit_all(self.now, self.edits, self.kept)

    def prompted(self, prompts: Iterable[Timeline[str]], at: int | None = None) -> "SessionState":
        """The state in which the last of these timelines, if there is one, takes over with the next segment, or frame `at`."""
        timeline, edits, start = self.prompts, self.edits, self.now.start if at is None else at
        for to_come in prompts:
            edits = self.edits_so_far
            for frame, text in to_come.changes:
                timeline = timeline.then(start + frame, text)
        return replace(self, prompts=timeline, edits=edits)

    def seeded(self, seed: int, at: int | None = None) -> "SessionState":
        """The state whose future, or what comes from frame `at` on, starts from another seed."""
        return replace(self, seeds=self.seeds.then(self.now.start if at is None else at, draw_seed(seed)))

    @property
    def edits_so_far(self) -> tuple[Edit, ...]:
        """The changes of the memory up to now, without those that a rewound session is still to come to."""
        return tuple(edit for edit in self.edits if edit.frame <= self.now.start)

    def edited(self, here: Snapshot, recalled: str | None = None, *, with_context: bool = True) -> "SessionState":
        """The state that stands at `here` instead, after a change of the memory by hand, if it is one."""
        if here is self.now:
            return self
        edit = Edit(here.start, here.name, recalled, with_context)
        return replace(self, snapshots=(*self.snapshots[:-1], here), edits=(*self.edits_so_far, edit))

    def rewound(self, there: Snapshot) -> "SessionState":
        """The state that stands at an earlier snapshot; what cannot be done again behind it is not to come either."""
        before = (snapshot for snapshot in self.snapshots if snapshot.start < there.start)
        actions = None if self.actions is None else self.actions[: there.start]
        edits = (e for e in self.edits if e.frame < there.start or e.after == there.name or not e.is_lost(self.kept))
        return replace(self, snapshots=thin((*before, there), self.origin), actions=actions, edits=tuple(edits))


def draw_seed(seed: int) -> int:
    """What `pipe.stream` draws from a generator of this seed: the seed of the video's noise."""
    return int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed)).item())


def build(name: str, base: BaseRollout) -> Rollout:
    """The way to make a video that is called `name`, of the model, codec and settings of `base`."""
    if name == "malt":
        return base
    from malt.rollouts.registry import build_rollout

    return build_rollout(name, cast(MaltRollout, base))


def settle(rollout: BaseRollout, given: SessionSettings) -> KeptSettings:
    """The settings of a rollout, none of them left to a default that may change.

    Raises:
        UsageError: one was given that a session does not keep, such as embeddings.
    """
    if unkept := sorted(given.keys() - SessionSettings.__annotations__.keys()):
        raise UsageError(f"a session does not keep {', '.join(unkept)}; leave it out, or call the pipeline")
    height, width = (side * rollout.codec.space_compression for side in rollout.latent_size)
    settled = KeptSettings(
        height=height,
        width=width,
        num_inference_steps=rollout.num_steps,
        guidance_scale=rollout.guidance.scale,
        memory_guidance_scale=rollout.guidance.memory,
        memory_update_interval=rollout.memory_update_interval,
    )
    if negative := given.get("negative_prompt"):
        settled["negative_prompt"] = negative
    return settled
