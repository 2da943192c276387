"""Bases whose pipeline has a part for its guidance: HunyuanVideo 1.5 and Motif-Video."""

from typing import Any

from malt.diffusion.base_schedule import BaseSchedule
from malt.diffusion.caption import Caption
from malt.diffusion.schedulers import flow_scheduler
from malt.pipelines.bases.parts import BaseParts, linear_sigmas, plain_caption, shifted_by_tokens

WIDESCREEN = (9, 16)  # height and width


class GuidedParts(BaseParts):
    """24 frames a second, guided by what the pipeline's guider says; here always free of a classifier."""

    frame_rate = 24.0

    @property
    def guidance_scale(self) -> float:
        """The guider's; 1 where it is switched off."""
        guider: Any = self.pipe.guider
        return float(guider.guidance_scale) if guider.config.get("enabled", True) else 1.0

    def remarks(self) -> list[str]:
        """Whether the guider would do more than weigh two passes."""
        kind = type(self.pipe.guider).__name__
        plain = kind == "ClassifierFreeGuidance" and not self.pipe.guider.config.get("guidance_rescale")
        return (
            [] if plain else [f"this base comes with {kind}; it is guided by the plain classifier-free guidance here"]
        )


class HunyuanVideo15Parts(GuidedParts):
    """A language model's states, and those of a second encoder that reads the words between quotation marks."""

    @property
    def frame_size(self) -> tuple[int, int]:
        """Of 16:9, in the size that the transformer learned."""
        target = self.pipe.transformer.config.target_size
        size = self.pipe.video_processor.calculate_default_height_width(*WIDESCREEN, target)
        return int(size[0]), int(size[1])

    def encode(self, prompts: list[str], negatives: list[str] | None) -> tuple[Caption, Caption]:
        """Both encoders' states, each with its mask."""
        caption = self._encode(prompts)
        return caption, caption if negatives is None else self._encode(negatives)

    def _encode(self, prompts: list[str]) -> Caption:
        states, mask, glyphs, glyph_mask = self.pipe.encode_prompt(prompts, batch_size=len(prompts))
        return plain_caption(states, mask, encoder_hidden_states_2=glyphs, encoder_attention_mask_2=glyph_mask)

    def schedule(self, num_latents: int, latent_size: tuple[int, int], num_steps: int) -> BaseSchedule:
        """Equal steps before the scheduler's shift."""
        return BaseSchedule(flow_scheduler(self.pipe.scheduler, num_steps), linear_sigmas)


class MotifVideoParts(GuidedParts):
    """Masked text, and noise levels that are shifted by how many tokens a clip has."""

    def encode(self, prompts: list[str], negatives: list[str] | None) -> tuple[Caption, Caption]:
        """As the pipeline pads it."""
        states, others, mask, other_mask = self.pipe.encode_prompt(
            prompts, negatives, max_sequence_length=self.text_length
        )
        caption = plain_caption(states, mask)
        return caption, caption if others is None else plain_caption(others, other_mask)

    def schedule(self, num_latents: int, latent_size: tuple[int, int], num_steps: int) -> BaseSchedule:
        """Shifted as by its pipeline."""
        config = self.pipe.transformer.config
        rows, columns = (side // config.patch_size for side in latent_size)
        tokens = num_latents // config.patch_size_t * rows * columns
        return shifted_by_tokens(self.pipe.scheduler, num_steps, tokens, (256, 4096), (0.5, 1.15))
