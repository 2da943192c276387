"""Which parts serve which pipeline of diffusers, by the pipeline's class: the one place where its name counts."""

from typing import Any

from malt.errors import UsageError
from malt.pipelines.bases.cogvideox_parts import CogVideoXParts
from malt.pipelines.bases.guided_image_parts import HunyuanVideo15ImageParts, MotifVideoImageParts
from malt.pipelines.bases.guided_parts import HunyuanVideo15Parts, MotifVideoParts
from malt.pipelines.bases.hunyuan_parts import HunyuanVideoParts
from malt.pipelines.bases.ltx2_parts import LTX2Parts
from malt.pipelines.bases.ltx_parts import LTXParts
from malt.pipelines.bases.mochi_parts import MochiParts
from malt.pipelines.bases.parts import BaseParts
from malt.pipelines.bases.sana_parts import SanaVideoParts
from malt.pipelines.bases.wan_image_parts import WanImageParts
from malt.pipelines.bases.wan_parts import SkyReelsParts, WanParts

PARTS: dict[str, type[BaseParts]] = {
    "WanPipeline": WanParts,
    "WanImageToVideoPipeline": WanImageParts,
    "SkyReelsV2Pipeline": SkyReelsParts,
    "SkyReelsV2DiffusionForcingPipeline": SkyReelsParts,
    "LTXPipeline": LTXParts,
    "LTXImageToVideoPipeline": LTXParts,
    "LTXConditionPipeline": LTXParts,
    "CogVideoXPipeline": CogVideoXParts,
    "HunyuanVideoPipeline": HunyuanVideoParts,
    "HunyuanVideo15Pipeline": HunyuanVideo15Parts,
    "HunyuanVideo15ImageToVideoPipeline": HunyuanVideo15ImageParts,
    "LTX2Pipeline": LTX2Parts,
    "LTX2ImageToVideoPipeline": LTX2Parts,
    "LTX2ConditionPipeline": LTX2Parts,
    "MochiPipeline": MochiParts,
    "MotifVideoPipeline": MotifVideoParts,
    "MotifVideoImage2VideoPipeline": MotifVideoImageParts,
    "SanaVideoPipeline": SanaVideoParts,
    "SanaImageToVideoPipeline": SanaVideoParts,
}


def parts_of(pipe: Any) -> BaseParts:
    """The parts of a pipeline.

    Raises:
        UsageError: for a pipeline of no known family; the sentence lists them.
    """
    return PARTS[known_pipeline(type(pipe).__name__)](pipe)


def known_pipeline(name: str) -> str:
    """The class name of a pipeline that can be gone on with.

    Raises:
        UsageError: for any other; the sentence lists what can be.
    """
    if name not in PARTS:
        raise UsageError(f"malt does not know how {name} makes video; it knows {', '.join(PARTS)}")
    return name
