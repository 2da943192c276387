"""What a session is as a value, and what it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError
from malt.sessions.fingerprint import ModelIdentity
from malt.sessions.snapshots import Snapshot
from malt.sessions.timeline import Timeline

SETTINGS = (
    "height",
    "width",
    "num_inference_steps",
    "guidance_scale",
    "memory_guidance_scale",
    "memory_update_interval",
)


@dataclass(frozen=True, kw_only=True)
class SessionState:
    """Everything that a generation is, a value.

    snapshots: where it once stood, oldest first; the last is where it stands. origin: where it stood behind the frames
    that were given, None if none were. actions: what was done in each frame so far, for models that take actions.
    notes: what the holder of a session wants kept with it, as JSON.
    """

    model: ModelIdentity
    rollout: str
    settings: dict[str, Any]
    prompts: Timeline[str]
    seeds: Timeline[int]
    snapshots: tuple[Snapshot, ...]
    origin: Snapshot | None = None
    actions: Float[Tensor, "t a"] | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def now(self) -> Snapshot:
        """Where the video stands."""
        return self.snapshots[-1]


def draw_seed(seed: int) -> int:
    """What `pipe.stream` draws from a generator of this seed: the seed of the video's noise."""
    return int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed)).item())


def build(name: str, base: Any) -> Any:
    """The way to make a video that is called `name`, of the model, codec and settings of `base`."""
    if name == "malt":
        return base
    from malt.rollouts.registry import build_rollout

    return build_rollout(name, base)


def settle(rollout: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a rollout, none of them left to a default that may change.

    Raises:
        UsageError: one was given that a session does not keep, such as embeddings.
    """
    if unkept := sorted(given.keys() - {*SETTINGS, "negative_prompt"}):
        raise UsageError(f"a session does not keep {', '.join(unkept)}; leave it out, or call the pipeline")
    negative = {"negative_prompt": given["negative_prompt"]} if given.get("negative_prompt") else {}
    height, width = (side * rollout.codec.space_compression for side in rollout.latent_size)
    values = (rollout.num_steps, rollout.guidance.text, rollout.guidance.memory, rollout.memory_update_interval)
    return dict(zip(SETTINGS, (height, width, *values), strict=True)) | negative
