"""The size and the rate of the videos that a pretrained pipeline makes by default."""

import inspect
from pathlib import Path

import diffusers

from malt.pipelines.base_folder import read_index, read_settings

# Frames a second that the released models of a kind of transformer were trained at; None of these is said in their files.
FRAME_RATES = {
    "WanTransformer3DModel": 16.0,
    "SkyReelsV2Transformer3DModel": 24.0,
    "CogVideoXTransformer3DModel": 8.0,
    "LTXVideoTransformer3DModel": 25.0,
    "HunyuanVideoTransformer3DModel": 24.0,
    "HunyuanVideo15Transformer3DModel": 24.0,
    "SanaVideoTransformer3DModel": 16.0,
}


def default_frame_size(folder: Path) -> tuple[int | None, int | None]:
    """Height and width in pixels that the pipeline's own call makes unless it is told; None where it does not say."""
    pipeline = getattr(diffusers, str(read_index(folder).get("_class_name")), None)
    called = {} if pipeline is None else dict(inspect.signature(pipeline.__call__).parameters)
    height, width = (called[side].default if side in called else None for side in ("height", "width"))
    return (height, width) if isinstance(height, int) and isinstance(width, int) else (None, None)


def default_frame_rate(folder: Path) -> float | None:
    """Frames a second of its videos; None where it is not known."""
    index = read_index(folder)
    kind = (index.get("transformer") or (None, ""))[1]
    if kind == "WanTransformer3DModel" and index.get("expand_timesteps"):
        return 24.0  # Wan 2.2 TI2V
    settings = folder / "transformer" / "config.json"
    if kind == "CogVideoXTransformer3DModel" and settings.is_file() and read_settings(settings).get("patch_size_t"):
        return 16.0  # CogVideoX 1.5
    return FRAME_RATES.get(kind)
