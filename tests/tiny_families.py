"""A tiny pretrained pipeline of every family that the command line goes on with, and sizes that suit it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import tiny_image_bases
import tiny_pretrained
import tiny_pretrained_behind as behind
from malt.pipelines.bases.parts import BaseParts
from malt.pipelines.bases.registry import PARTS

# Long, as some pipelines leave out the beginning of what they read, as many tokens as their template has for their tokenizer.
PROMPT = " ".join(["a red circle passes behind a wall"] * 12)


@dataclass(frozen=True)
class Tiny:
    """How a base is saved, the side of its frames, frames of a clip and of one segment more, and whether it needs an image."""

    save: Callable[[Path], Path]
    side: int
    clip: int
    more: int
    from_image: bool = False


def image_base(folder: Path) -> Path:
    tiny_image_bases.base("2.1").save_pretrained(folder)
    return folder


BASES = {
    "wan": Tiny(tiny_pretrained.wan, 32, 17, 29),
    "wan-i2v": Tiny(image_base, 32, 17, 33, from_image=True),
    "skyreels": Tiny(tiny_pretrained.skyreels, 32, 17, 29),
    "ltx": Tiny(tiny_pretrained.ltx, 64, 9, 15),
    "ltx2": Tiny(behind.ltx2, 64, 9, 15),
    "cogvideox": Tiny(tiny_pretrained.cogvideox, 32, 9, 15),
    "hunyuan": Tiny(tiny_pretrained.hunyuan, 32, 9, 17),
    "hunyuan15": Tiny(behind.hunyuan15, 32, 9, 17),
    "hunyuan15-i2v": Tiny(behind.hunyuan15_image, 32, 9, 17, from_image=True),
    "mochi": Tiny(behind.mochi, 32, 10, 16),
    "motif": Tiny(behind.motif, 32, 17, 29),
    "motif-i2v": Tiny(behind.motif_image, 32, 17, 33, from_image=True),
    "sana": Tiny(behind.sana, 32, 17, 29),
}


def shorten_clips(tiny: Tiny, patch: pytest.MonkeyPatch) -> None:
    """Let the base say that its clips are as long as this."""
    for parts in {BaseParts, *PARTS.values()}:
        patch.setattr(parts, "num_frames", tiny.clip)
