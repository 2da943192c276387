"""LTX-2 (`LTX2VideoTransformer3DModel`), which makes video and sound side by side; here the video alone."""

from typing import Any

from einops import rearrange, repeat
from torch import Tensor

from malt.adapters.behind import ReadBehind
from malt.adapters.family import BaseConditions
from malt.adapters.wan import is_uniform
from malt.memory.protocol import Layout


class LTX2(ReadBehind):
    """The sound is one token of silence that the video does not look at, as the base itself is run to isolate the two.

    Captions are states behind the base's connectors.

    Attributes:
        frame_rate: frames a second that the base is told.
    """

    name = "ltx-2"
    levels_per_frame = True
    takes = frozenset[str]()
    lora = {
        "attention": ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0"),
        "feed_forward": ("ff.net.0.proj", "ff.net.2"),
    }
    text_tokens = None
    frame_rate = 24.0

    def patch(self, base: Any) -> tuple[int, int, int]:
        """As configured; released models have one latent pixel a token."""
        return base.config.patch_size_t, base.config.patch_size, base.config.patch_size

    def call(self, base: Any, latents: Tensor, levels: Tensor, conditions: BaseConditions) -> Tensor:
        """One timestep a video where all frames share it, else one a token; the caption is read at the noisiest frame's."""
        frames, rows, columns = self.patch(base)
        grid = Layout(latents.shape[1] // frames, latents.shape[-2] // rows, latents.shape[-1] // columns)
        told = 1000 * levels[:, ::frames]
        noisiest, text = told.amax(dim=1), conditions.text.to(conditions.dtype)
        sizes = {"t": frames, "p": rows, "q": columns}
        velocity: Tensor = base(
            rearrange(latents, "b (s t) c (h p) (w q) -> b (s h w) (c t p q)", **sizes).to(conditions.dtype),
            text.new_zeros(len(text), 1, base.config.audio_in_channels),
            text,
            text.new_zeros(len(text), 1, _width_of_audio_text(base)),
            told[:, 0] if is_uniform(levels) else repeat(told, "b s -> b (s n)", n=grid.tokens_per_frame),
            audio_timestep=noisiest,
            sigma=noisiest,
            encoder_attention_mask=conditions.text_mask,
            num_frames=grid.frames,
            height=grid.rows,
            width=grid.columns,
            fps=self.frame_rate,
            audio_num_frames=1,
            isolate_modalities=True,
            return_dict=False,
        )[0]
        sizes |= {"s": grid.frames, "h": grid.rows, "w": grid.columns}
        return rearrange(velocity, "b (s h w) (c t p q) -> b (s t) c (h p) (w q)", **sizes)


def _width_of_audio_text(base: Any) -> int:
    """Of captions as the layers of sound take them: projected by the base, or by the connectors before it."""
    config = base.config
    return int(config.caption_channels if config.use_prompt_embeddings else config.audio_cross_attention_dim)
