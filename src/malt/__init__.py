"""Any-length video diffusion with memory.

A segment is denoised with a memory; the finished segment renews the memory; repeat.

    from malt import load_pipeline

    video = load_pipeline()("two shapes at night", num_frames=64).frames[0]
"""

from importlib import import_module
from typing import TYPE_CHECKING

from malt.threads import prepare_openmp

if TYPE_CHECKING:
    from malt.env.environment import Environment as Environment
    from malt.env.making import make as make
    from malt.errors import MaltError as MaltError
    from malt.errors import UsageError as UsageError
    from malt.media.pixels import to_pixels as to_pixels
    from malt.media.video_writer import VideoSink as VideoSink
    from malt.models.autoencoder import AutoencoderMalt as AutoencoderMalt
    from malt.models.transformer import MaltTransformer3DModel as MaltTransformer3DModel
    from malt.pipelines.loading import load_pipeline as load_pipeline
    from malt.pipelines.malt import MaltPipeline as MaltPipeline
    from malt.pipelines.packaged import packaged_models as packaged_models
    from malt.rollouts.base import Segment as Segment
    from malt.rollouts.diffusion_forcing import DiffusionForcingRollout as DiffusionForcingRollout
    from malt.rollouts.full import FullRollout as FullRollout
    from malt.rollouts.keyframes import KeyframesRollout as KeyframesRollout
    from malt.rollouts.malt import MaltRollout as MaltRollout
    from malt.rollouts.registry import ROLLOUTS as ROLLOUTS
    from malt.rollouts.registry import build_rollout as build_rollout
    from malt.rollouts.sliding_window import SlidingWindowRollout as SlidingWindowRollout
    from malt.sessions.action_policies import build_policy as build_policy
    from malt.sessions.session import Session as Session
    from malt.worlds.base import Oracle as Oracle
    from malt.worlds.base import World as World
    from malt.worlds.registry import WORLDS as WORLDS
    from malt.worlds.registry import open_world as open_world

__version__ = "0.1.0"

prepare_openmp()

# Where each public name lives: imported when it is first asked for, so that `import malt` stays light (PEP 562).
_HOMES = {
    "AutoencoderMalt": "malt.models.autoencoder",
    "DiffusionForcingRollout": "malt.rollouts.diffusion_forcing",
    "Environment": "malt.env.environment",
    "FullRollout": "malt.rollouts.full",
    "KeyframesRollout": "malt.rollouts.keyframes",
    "MaltError": "malt.errors",
    "MaltPipeline": "malt.pipelines.malt",
    "MaltRollout": "malt.rollouts.malt",
    "MaltTransformer3DModel": "malt.models.transformer",
    "Oracle": "malt.worlds.base",
    "ROLLOUTS": "malt.rollouts.registry",
    "Segment": "malt.rollouts.base",
    "Session": "malt.sessions.session",
    "SlidingWindowRollout": "malt.rollouts.sliding_window",
    "UsageError": "malt.errors",
    "VideoSink": "malt.media.video_writer",
    "WORLDS": "malt.worlds.registry",
    "World": "malt.worlds.base",
    "build_policy": "malt.sessions.action_policies",
    "build_rollout": "malt.rollouts.registry",
    "load_pipeline": "malt.pipelines.loading",
    "make": "malt.env.making",
    "open_world": "malt.worlds.registry",
    "packaged_models": "malt.pipelines.packaged",
    "to_pixels": "malt.media.pixels",
}

__all__ = [
    "ROLLOUTS",
    "WORLDS",
    "AutoencoderMalt",
    "DiffusionForcingRollout",
    "Environment",
    "FullRollout",
    "KeyframesRollout",
    "MaltError",
    "MaltPipeline",
    "MaltRollout",
    "MaltTransformer3DModel",
    "Oracle",
    "Segment",
    "Session",
    "SlidingWindowRollout",
    "UsageError",
    "VideoSink",
    "World",
    "__version__",
    "build_policy",
    "build_rollout",
    "load_pipeline",
    "make",
    "open_world",
    "packaged_models",
    "to_pixels",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'malt' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
