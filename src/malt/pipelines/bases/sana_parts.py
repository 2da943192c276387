"""SANA-Video: a language model that is first told what to make of a prompt."""

from diffusers.pipelines.sana_video.pipeline_sana_video import ASPECT_RATIO_480_BIN, ASPECT_RATIO_720_BIN

from malt.diffusion.caption import Caption
from malt.pipelines.bases.parts import BaseParts, plain_caption

SIZES = {30: ASPECT_RATIO_480_BIN, 22: ASPECT_RATIO_720_BIN}  # by what the transformer's settings say


class SanaVideoParts(BaseParts):
    """16 frames a second; the model that makes video from an image is the same, and learned one clean frame."""

    frame_rate = 16.0
    knows_levels = True

    @property
    def frame_size(self) -> tuple[int, int]:
        """Of 16:9, in the size that the transformer learned."""
        sizes = SIZES.get(self.pipe.transformer.config.sample_size)
        return super().frame_size if sizes is None else (int(sizes["0.57"][0]), int(sizes["0.57"][1]))

    @property
    def num_frames(self) -> int:
        """That of the pipeline's call."""
        return int(self.default("frames", 81))

    def window(self, num_latents: int) -> int:
        """One clean frame, no more."""
        return 1

    def encode(self, prompts: list[str], negatives: list[str] | None) -> tuple[Caption, Caption]:
        """Behind the instruction; what a video is led away from is read without it."""
        states, mask, others, other_mask = self.pipe.encode_prompt(
            prompts,
            negatives is not None,
            negatives or "",
            max_sequence_length=self.text_length,
            complex_human_instruction=self.default("complex_human_instruction"),
        )
        caption = plain_caption(states, mask)
        return caption, caption if others is None else plain_caption(others, other_mask)
