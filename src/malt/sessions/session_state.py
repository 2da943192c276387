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
from malt.sessions.pipeline import BaseRollout, KeptSettings, SessionSettings
from malt.sessions.snapshots import Snapshot
from malt.sessions.timeline import Timeline


@dataclass(frozen=True, kw_only=True)
class SessionState:
    """Everything that a generation is, a value.

    snapshots: where it once stood, oldest first; the last is where it stands. origin: where it stood behind the frames
    that were given, None if none were. actions: what was done in each frame so far, for models that take actions.
    notes: what the holder of a session wants kept with it, as JSON.
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

    @property
    def now(self) -> Snapshot:
        """Where the video stands."""
        return self.snapshots[-1]

    def prompted(self, prompts: Iterable[str]) -> "SessionState":
        """The state in which the last of these prompts, if there is one, takes over with the next segment."""
        state = self
        for prompt in prompts:
            state = replace(state, prompts=state.prompts.then(self.now.start, prompt))
        return state


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
        guidance_scale=rollout.guidance.text,
        memory_guidance_scale=rollout.guidance.memory,
        memory_update_interval=rollout.memory_update_interval,
    )
    if negative := given.get("negative_prompt"):
        settled["negative_prompt"] = negative
    return settled
