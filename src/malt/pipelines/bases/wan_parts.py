"""Wan 2.1 and 2.2, and SkyReels-V2, which has Wan's parts."""

import torch

from malt.diffusion.caption import Caption
from malt.pipelines.bases.parts import BaseParts


class WanParts(BaseParts):
    """Text of 512 tokens whose padding is zeros; Wan 2.2 of 5 B learned a noise level for its first frame."""

    @property
    def _is_ti2v(self) -> bool:
        return bool(self.pipe.config.get("expand_timesteps"))

    @property
    def knows_levels(self) -> bool:  # type: ignore[override]
        """Whether the first latent frame may be clean while the others are not."""
        return self._is_ti2v

    @property
    def frame_rate(self) -> float:  # type: ignore[override]
        """16, and 24 of the 5 B model."""
        return 24.0 if self._is_ti2v else 16.0

    @property
    def frame_size(self) -> tuple[int, int]:
        """That of the pipeline's call; 704 x 1280 of the 5 B model."""
        return (704, 1280) if self._is_ti2v else super().frame_size

    @property
    def num_frames(self) -> int:
        """That of the pipeline's call; 121 of the 5 B model."""
        return 121 if self._is_ti2v else super().num_frames

    def window(self, num_latents: int) -> int:
        """The 5 B model learned one clean frame, no more."""
        return 1 if self._is_ti2v else super().window(num_latents)


class SkyReelsParts(BaseParts):
    """24 frames a second; the models of diffusion forcing learned a noise level a frame, and are told the frame rate."""

    frame_rate = 24.0

    @property
    def knows_levels(self) -> bool:  # type: ignore[override]
        """Of a pipeline of diffusion forcing."""
        return "DiffusionForcing" in type(self.pipe).__name__

    def encode(self, prompts: list[str], negatives: list[str] | None) -> tuple[Caption, Caption]:
        """As Wan's, with the number by which the model knows 24 frames a second, where it wants it."""
        captions = super().encode(prompts, negatives)
        if not self.pipe.transformer.config.get("inject_sample_info"):
            return captions
        first, second = (self._with_rate(caption) for caption in captions)
        return first, second

    def _with_rate(self, caption: Caption) -> Caption:
        rate = torch.ones(len(caption), dtype=torch.long, device=caption.states.device)
        return Caption(caption.states, caption.mask, {"fps": rate})
