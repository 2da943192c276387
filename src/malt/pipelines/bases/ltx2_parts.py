"""LTX-2, which makes sound beside the picture: here the picture alone, as the base makes it when it hears nothing."""

from malt.diffusion.base_schedule import BaseSchedule
from malt.diffusion.caption import Caption
from malt.pipelines.bases.parts import BaseParts, plain_caption, shifted_by_tokens

SILENT = "this base makes sound as well; only the picture is made, by guidance of the text alone"


class LTX2Parts(BaseParts):
    """24 frames a second, and a noise level for every frame; captions are states behind the base's connectors."""

    frame_rate = 24.0
    knows_levels = True
    unused = ("audio_vae", "vocoder", "duration_head", "prompt_enhancer", "processor")

    @property
    def num_frames(self) -> int:
        """As many as the pipeline makes where nothing foretells the length."""
        return int(self.default("num_frames", 121))

    def encode(self, prompts: list[str], negatives: list[str] | None) -> tuple[Caption, Caption]:
        """The states of all layers of the text encoder, led through the connectors."""
        states, mask, others, other_mask = self.pipe.encode_prompt(
            prompts, negatives, negatives is not None, max_sequence_length=self.text_length
        )
        side = self.pipe.tokenizer.padding_side
        caption, _, counting = self.pipe.connectors(states, mask, padding_side=side)
        if others is None:
            return (led := plain_caption(caption, counting)), led
        avoided, _, avoided_counting = self.pipe.connectors(others, other_mask, padding_side=side)
        return plain_caption(caption, counting), plain_caption(avoided, avoided_counting)

    def schedule(self, num_latents: int, latent_size: tuple[int, int], num_steps: int) -> BaseSchedule:
        """Shifted as by its pipeline."""
        tokens = num_latents * latent_size[0] * latent_size[1]
        return shifted_by_tokens(self.pipe.scheduler, num_steps, tokens, (1024, 4096), (0.95, 2.05))

    def remarks(self) -> list[str]:
        """There is no sound."""
        return [SILENT]
