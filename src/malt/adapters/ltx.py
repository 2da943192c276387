"""LTX-Video (`LTXVideoTransformer3DModel`), whose positions are seconds and pixels."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.transformers.transformer_ltx import LTXVideoAttnProcessor, apply_rotary_emb
from einops import rearrange, repeat
from torch import Tensor

from malt.adapters.family import BaseConditions, RotaryWithMemory, Tables, attended_keys_values, memory_mask
from malt.adapters.wan import is_uniform
from malt.memory.protocol import Layout

COMPRESSION = (8, 32, 32)  # of LTX's codec in time, height and width


class LTXMemoryAttnProcessor(LTXVideoAttnProcessor):
    """Self-attention to what is remembered beside the segment's own tokens; without it, LTX's own."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
    ) -> Tensor:
        """Attend; `image_rotary_emb` may carry what is remembered."""
        if not isinstance(image_rotary_emb, RotaryWithMemory):
            own: Tensor = super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
            return own
        tables, memory = (image_rotary_emb.cos, image_rotary_emb.sin), image_rotary_emb.memory
        query = apply_rotary_emb(attn.norm_q(attn.to_q(hidden_states)), tables).unflatten(2, (attn.heads, -1))
        key, value = keys_values(attn, hidden_states, tables)
        keys, values = attended_keys_values(attn, memory, keys_values, hidden_states)
        mixed = dispatch_attention_fn(
            query,
            torch.cat([keys, key], dim=1),
            torch.cat([values, value], dim=1),
            attn_mask=memory_mask(memory, None, query.shape[1], key.shape[1]),
            backend=self._attention_backend,
        )
        output: Tensor = attn.to_out[1](attn.to_out[0](mixed.flatten(2, 3).to(query.dtype)))
        return output


def keys_values(attn: Any, tokens: Tensor, tables: Tables | None) -> tuple[Tensor, Tensor]:
    """Keys, normalised and turned, and values (b, m, heads, head_dim)."""
    key, value = attn.norm_k(attn.to_k(tokens)), attn.to_v(tokens)
    key = key if tables is None else apply_rotary_emb(key, tables)
    return key.unflatten(2, (attn.heads, -1)), value.unflatten(2, (attn.heads, -1))


class LTXVideo:
    """Adaptive norms, self-attention with rotary positions, masked cross-attention to the caption.

    Attributes:
        frame_rate: frames a second that the base is told.
    """

    name = "ltx-video"
    lists = ("transformer_blocks",)
    levels_per_frame = True
    takes = frozenset[str]()
    lora = {
        "attention": ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0"),
        "feed_forward": ("ff.net.0.proj", "ff.net.2"),
    }
    text_tokens = 128
    frame_rate = 25.0

    def reads_beside(self, base: Any) -> bool:
        """Always."""
        return True

    def patch(self, base: Any) -> tuple[int, int, int]:
        """As configured; released models have one latent pixel a token."""
        return base.config.patch_size_t, base.config.patch_size, base.config.patch_size

    def width(self, base: Any) -> int:
        """Heads side by side."""
        return int(base.config.num_attention_heads * base.config.attention_head_dim)

    def heads(self, base: Any) -> int:
        """As configured."""
        return int(base.config.num_attention_heads)

    def processors(self, base: Any) -> dict[str, Any]:
        """One for the first attention of every block; the second looks at the caption."""
        return {f"transformer_blocks.{n}.attn1": LTXMemoryAttnProcessor() for n in range(len(base.transformer_blocks))}

    def call(self, base: Any, latents: Tensor, levels: Tensor, conditions: BaseConditions) -> Tensor:
        """One timestep a video where all frames share it, else one a token."""
        layout = self._layout(base, latents)
        frames, rows, columns = self.patch(base)
        told = 1000 * levels[:, ::frames]
        timestep = told[:, 0] if is_uniform(levels) else repeat(told, "b s -> b (s n)", n=layout.tokens_per_frame)
        sizes = {"t": frames, "p": rows, "q": columns}
        tokens = rearrange(latents, "b (s t) c (h p) (w q) -> b (s h w) (c t p q)", **sizes).to(conditions.dtype)
        scale = (COMPRESSION[0] / self.frame_rate, *COMPRESSION[1:])
        velocity: Tensor = base(
            tokens,
            conditions.text.to(conditions.dtype),
            timestep,
            conditions.text_mask,
            layout.frames,
            layout.rows,
            layout.columns,
            scale,
            return_dict=False,
        )[0]
        sizes |= {"s": layout.frames, "h": layout.rows, "w": layout.columns}
        return rearrange(velocity, "b (s h w) (c t p q) -> b (s t) c (h p) (w q)", **sizes)

    @torch.no_grad()
    def clean(self, base: Any) -> Tensor:
        """From the embedding of time 0 and every block's own table."""
        time = torch.zeros(1, device=base.scale_shift_table.device)
        told = base.time_embed(time, batch_size=1, hidden_dtype=base.dtype)[0].float().unflatten(-1, (6, -1))
        tables = [(block.scale_shift_table.float() + told[0])[:2] for block in base.transformer_blocks]
        return torch.stack(tables).flip(1)

    def norm(self, tokens: Tensor) -> Tensor:
        """Root mean square."""
        return F.rms_norm(tokens.float(), tokens.shape[-1:], eps=1e-6)

    def tables(self, base: Any, layout: Layout, times: Tensor, rows: Tensor, columns: Tensor) -> Tables:
        """As the base makes its own, of seconds and pixels."""
        grid = torch.stack(torch.meshgrid(times.float(), rows.float(), columns.float(), indexing="ij"))
        seconds = COMPRESSION[0] / self.frame_rate
        steps = [size * step for size, step in zip(self.patch(base), (seconds, *COMPRESSION[1:]), strict=True)]
        places = torch.stack([axis * step for axis, step in zip(grid, steps, strict=True)])
        cos, sin = base.rope(grid[None, 0], video_coords=places.flatten(1)[None])
        return cos, sin

    def _layout(self, base: Any, latents: Tensor) -> Layout:
        frames, rows, columns = self.patch(base)
        return Layout(latents.shape[1] // frames, latents.shape[-2] // rows, latents.shape[-1] // columns)
