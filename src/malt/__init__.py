"""Any-length video diffusion with memory.

A segment is denoised with a memory; the finished segment renews the memory; repeat.

    from malt import MaltPipeline
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from malt.models.autoencoder import AutoencoderMalt as AutoencoderMalt
    from malt.models.transformer import MaltTransformer3DModel as MaltTransformer3DModel
    from malt.pipelines.malt import MaltPipeline as MaltPipeline

__version__ = "0.1.0"

_HOMES = {
    "AutoencoderMalt": "malt.models.autoencoder",
    "MaltPipeline": "malt.pipelines.malt",
    "MaltTransformer3DModel": "malt.models.transformer",
}

__all__ = ["AutoencoderMalt", "MaltPipeline", "MaltTransformer3DModel", "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public class when it is first asked for, so that `import malt` stays light (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'malt' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
