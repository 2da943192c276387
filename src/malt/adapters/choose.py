"""Which family a pretrained transformer belongs to, by the name of its class."""

from typing import Any

from torch import nn

from malt.adapters.cogvideox import CogVideoX
from malt.adapters.family import Family
from malt.adapters.hunyuan_video import HunyuanVideo
from malt.adapters.hunyuan_video15 import HunyuanVideo15
from malt.adapters.ltx import LTXVideo
from malt.adapters.ltx2 import LTX2
from malt.adapters.mochi import Mochi
from malt.adapters.motif_video import MotifVideo
from malt.adapters.sana_video import SanaVideo
from malt.adapters.skyreels import SkyReelsV2
from malt.adapters.wan import Wan
from malt.adapters.wan_vace import WanVACE
from malt.errors import UsageError

FAMILIES: dict[str, type[Family]] = {
    "WanTransformer3DModel": Wan,
    "WanVACETransformer3DModel": WanVACE,
    "SkyReelsV2Transformer3DModel": SkyReelsV2,
    "LTXVideoTransformer3DModel": LTXVideo,
    "CogVideoXTransformer3DModel": CogVideoX,
    "HunyuanVideoTransformer3DModel": HunyuanVideo,
    "HunyuanVideo15Transformer3DModel": HunyuanVideo15,
    "SanaVideoTransformer3DModel": SanaVideo,
    "LTX2VideoTransformer3DModel": LTX2,
    "MochiTransformer3DModel": Mochi,
    "MotifVideoTransformer3DModel": MotifVideo,
}

# By a setting of theirs and what it says.
CANNOT_GO_ON = {
    (
        "image_condition_type",
        "token_replace",
    ): "a HunyuanVideo base that takes the first frame of every clip for an image cannot go on with one",
    ("use_meanflow", True): "a HunyuanVideo 1.5 base that is told where its step will end makes no video by itself",
}


def family_of(base: nn.Module, scheduler: Any = None) -> Family:
    """What to know of a base's kind.

    Args:
        base: a pretrained transformer of diffusers.
        scheduler: its pipeline's, whose path of noise some families go by; None for the one that was released with it.

    Raises:
        UsageError: for a base of no known family, where the sentence lists them, and for one that cannot go on.
    """
    family = FAMILIES[known_class(type(base).__name__)]
    for setting, sentence in CANNOT_GO_ON.items():
        if getattr(base.config, setting[0], None) == setting[1]:
            raise UsageError(f"{sentence}; give the base for text to video")
    return family(scheduler) if issubclass(family, CogVideoX) else family()


def known_class(name: str) -> str:
    """The class name of a transformer that can be given a memory.

    Raises:
        UsageError: for any other; the sentence lists what can be.
    """
    name = name.removeprefix("FSDP")
    if name not in FAMILIES:
        raise UsageError(f"{name} cannot be given a memory; the transformers that can are {', '.join(FAMILIES)}")
    return name
