"""LTX-Video: text with a mask, and noise levels that are shifted by how many tokens a clip has."""

from malt.diffusion.base_schedule import BaseSchedule
from malt.diffusion.caption import Caption
from malt.diffusion.schedulers import flow_scheduler
from malt.pipelines.bases.parts import BaseParts, linear_sigmas, plain_caption


class LTXParts(BaseParts):
    """25 frames a second, and a noise level for every frame."""

    frame_rate = 25.0
    knows_levels = True

    def encode(self, prompts: list[str], negatives: list[str] | None, times: int) -> tuple[Caption, Caption]:
        """Text of 128 tokens or more, masked."""
        states, mask, others, other_mask = self.pipe.encode_prompt(
            prompts, negatives, negatives is not None, times, max_sequence_length=self.text_length
        )
        caption = plain_caption(states, mask)
        return caption, caption if others is None else plain_caption(others, other_mask)

    def schedule(self, num_latents: int, latent_size: tuple[int, int], num_steps: int) -> BaseSchedule:
        """Equal steps, shifted by the number of tokens where the scheduler shifts so."""
        scheduler, config = flow_scheduler(self.pipe.scheduler, num_steps), self.pipe.scheduler.config
        if not config.get("use_dynamic_shifting"):
            return BaseSchedule(scheduler, linear_sigmas)
        least, most = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
        slope = (high - low) / (most - least)
        tokens = num_latents * latent_size[0] * latent_size[1]
        return BaseSchedule(scheduler, linear_sigmas, mu=tokens * slope + low - slope * least)
