"""LTX-Video: text with a mask, and noise levels that are shifted by how many tokens a clip has."""

from malt.diffusion.base_schedule import BaseSchedule
from malt.pipelines.bases.parts import MaskedTextParts, shifted_by_tokens


class LTXParts(MaskedTextParts):
    """25 frames a second, and a noise level for every frame."""

    frame_rate = 25.0
    knows_levels = True

    def schedule(self, num_latents: int, latent_size: tuple[int, int], num_steps: int) -> BaseSchedule:
        """Shifted as by its pipeline."""
        tokens = num_latents * latent_size[0] * latent_size[1]
        return shifted_by_tokens(self.pipe.scheduler, num_steps, tokens, (256, 4096), (0.5, 1.15))
