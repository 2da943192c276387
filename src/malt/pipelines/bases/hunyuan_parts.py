"""HunyuanVideo: a language model's states, CLIP's pooled state, and guidance that the model is told."""

import torch

from malt.diffusion.base_schedule import BaseSchedule
from malt.diffusion.caption import Caption
from malt.diffusion.guidance import Guidance
from malt.diffusion.schedulers import flow_scheduler
from malt.pipelines.bases.parts import BaseParts, linear_sigmas, plain_caption


class HunyuanVideoParts(BaseParts):
    """24 frames a second. It is guided in one pass, so that what a video is led away from is not heard."""

    frame_rate = 24.0

    def encode(self, prompts: list[str], negatives: list[str] | None) -> tuple[Caption, Caption]:
        """The prompts alone."""
        states, pooled, mask = self.pipe.encode_prompt(prompts)
        caption = plain_caption(states, mask, pooled_projections=pooled)
        return caption, caption

    def guided(self, caption: Caption, scale: float) -> Caption:
        """Told a thousandfold, where the model was distilled so."""
        if not self.pipe.transformer.config.guidance_embeds:
            return caption
        told = torch.full((len(caption),), 1000.0 * scale, device=caption.states.device)
        return Caption(caption.states, caption.mask, {**caption.added, "guidance": told})

    def guidance(self, scale: float, memory: float) -> Guidance:
        """One pass, but for what the memory is weighed."""
        return Guidance(text=1.0, memory=memory, told=scale)

    def schedule(self, num_latents: int, latent_size: tuple[int, int], num_steps: int) -> BaseSchedule:
        """Equal steps before the scheduler's shift."""
        return BaseSchedule(flow_scheduler(self.pipe.scheduler, num_steps), linear_sigmas)
