"""Any-length video diffusion with memory.

A segment is denoised with a memory; the finished segment renews the memory; repeat.

    from malt import load_pipeline

    video = load_pipeline()("two shapes at night", num_frames=64).frames[0]
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from malt.errors import MaltError as MaltError
    from malt.errors import UsageError as UsageError
    from malt.generation.diffusion_forcing import DiffusionForcingRollout as DiffusionForcingRollout
    from malt.generation.full import FullRollout as FullRollout
    from malt.generation.keyframes import KeyframesRollout as KeyframesRollout
    from malt.generation.malt import MaltRollout as MaltRollout
    from malt.generation.rollout import Segment as Segment
    from malt.generation.rollouts import ROLLOUTS as ROLLOUTS
    from malt.generation.rollouts import build_rollout as build_rollout
    from malt.generation.session import Session as Session
    from malt.generation.sliding_window import SlidingWindowRollout as SlidingWindowRollout
    from malt.models.autoencoder import AutoencoderMalt as AutoencoderMalt
    from malt.models.transformer import MaltTransformer3DModel as MaltTransformer3DModel
    from malt.pipelines.loading import load_pipeline as load_pipeline
    from malt.pipelines.malt import MaltPipeline as MaltPipeline
    from malt.pipelines.packaged import packaged_models as packaged_models

__version__ = "0.1.0"

# Where each public name lives: imported when it is first asked for, so that `import malt` stays light (PEP 562).
_HOMES = {
    "AutoencoderMalt": "malt.models.autoencoder",
    "DiffusionForcingRollout": "malt.generation.diffusion_forcing",
    "FullRollout": "malt.generation.full",
    "KeyframesRollout": "malt.generation.keyframes",
    "MaltError": "malt.errors",
    "MaltPipeline": "malt.pipelines.malt",
    "MaltRollout": "malt.generation.malt",
    "MaltTransformer3DModel": "malt.models.transformer",
    "ROLLOUTS": "malt.generation.rollouts",
    "Segment": "malt.generation.rollout",
    "Session": "malt.generation.session",
    "SlidingWindowRollout": "malt.generation.sliding_window",
    "UsageError": "malt.errors",
    "build_rollout": "malt.generation.rollouts",
    "load_pipeline": "malt.pipelines.loading",
    "packaged_models": "malt.pipelines.packaged",
}

__all__ = [
    "ROLLOUTS",
    "AutoencoderMalt",
    "DiffusionForcingRollout",
    "FullRollout",
    "KeyframesRollout",
    "MaltError",
    "MaltPipeline",
    "MaltRollout",
    "MaltTransformer3DModel",
    "Segment",
    "Session",
    "SlidingWindowRollout",
    "UsageError",
    "__version__",
    "build_rollout",
    "load_pipeline",
    "packaged_models",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'malt' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
