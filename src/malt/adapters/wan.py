"""Wan 2.1 and 2.2 (`WanTransformer3DModel`), text to video, image to video and per-token noise levels."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from diffusers.models.transformers.transformer_wan import WanAttnProcessor
from einops import rearrange, repeat
from torch import Tensor

from malt.adapters.family import BaseConditions, RotaryWithMemory, Tables, attended_keys_values, memory_mask
from malt.memory.protocol import Layout
from malt.models.capturing import is_capturing


class WanMemoryAttnProcessor(WanAttnProcessor):
    """Self-attention to what is remembered beside the segment's own tokens; without it, Wan's own."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: Any = None,
    ) -> Tensor:
        """Attend; `rotary_emb` may carry what is remembered."""
        if not isinstance(rotary_emb, RotaryWithMemory):
            own: Tensor = super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, rotary_emb)
            return own
        tables, memory = (rotary_emb.cos, rotary_emb.sin), rotary_emb.memory
        query = rotate(attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1)), tables)
        key, value = keys_values(attn, hidden_states, tables)
        keys, values = attended_keys_values(attn, memory, keys_values, hidden_states)
        mask = memory_mask(memory, attention_mask, query.shape[1], key.shape[1])
        mixed = dispatch_attention_fn(
            query,
            torch.cat([keys, key], dim=1),
            torch.cat([values, value], dim=1),
            attn_mask=mask,
            backend=self._attention_backend,
        )
        output: Tensor = attn.to_out[1](attn.to_out[0](mixed.flatten(2, 3).type_as(query)))
        return output


def keys_values(attn: Any, tokens: Tensor, tables: Tables | None) -> tuple[Tensor, Tensor]:
    """Keys, normalised and turned, and values (b, m, heads, head_dim)."""
    key, value = (x.unflatten(2, (attn.heads, -1)) for x in (attn.norm_k(attn.to_k(tokens)), attn.to_v(tokens)))
    return key if tables is None else rotate(key, tables), value


def rotate(x: Tensor, tables: Tables) -> Tensor:
    """Wan's rotary positions: neighbouring channels turn together."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = tables[0][..., 0::2], tables[1][..., 1::2]
    turned = torch.empty_like(x)
    turned[..., 0::2] = first * cos - second * sin
    turned[..., 1::2] = first * sin + second * cos
    return turned


class Wan:
    """Adaptive norms, self-attention with rotary positions, cross-attention to the caption."""

    name = "wan"
    lists = ("blocks",)
    levels_per_frame = True
    takes = frozenset({"known_latents", "encoder_hidden_states_image"})
    lora = {
        "attention": ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0"),
        "feed_forward": ("ffn.net.0.proj", "ffn.net.2"),
    }
    text_tokens = 512
    processor: type[Any] = WanMemoryAttnProcessor

    def reads_beside(self, base: Any) -> bool:
        """Always."""
        return True

    def patch(self, base: Any) -> tuple[int, int, int]:
        """As configured."""
        frames, rows, columns = base.config.patch_size
        return frames, rows, columns

    def width(self, base: Any) -> int:
        """Heads side by side."""
        return int(base.config.num_attention_heads * base.config.attention_head_dim)

    def heads(self, base: Any) -> int:
        """As configured."""
        return int(base.config.num_attention_heads)

    def processors(self, base: Any) -> dict[str, Any]:
        """One for the first attention of every block; the second looks at the caption."""
        return {f"blocks.{n}.attn1": self.processor() for n in range(len(base.blocks))}

    def call(self, base: Any, latents: Tensor, levels: Tensor, conditions: BaseConditions) -> Tensor:
        """One timestep a video where all frames share it, else one a token; padded captions are zeros, as Wan learned."""
        told = 1000 * levels
        if not is_uniform(levels):
            _, rows, columns = self.patch(base)
            cells = (latents.shape[-2] // rows) * (latents.shape[-1] // columns)
            return self.run(base, latents, repeat(told, "b s -> b (s n)", n=cells), conditions)
        return self.run(base, latents, told[:, 0], conditions)

    def run(self, base: Any, latents: Tensor, timestep: Tensor, conditions: BaseConditions, **settings: Any) -> Tensor:
        """The base's forward, with video and caption as it lays them out."""
        known = conditions.added.get("known_latents")
        latents = latents if known is None else torch.cat([latents, known.to(latents)], dim=2)
        text = conditions.text * conditions.text_mask[..., None].to(conditions.text.dtype)
        image = conditions.added.get("encoder_hidden_states_image")
        if image is not None:
            settings["encoder_hidden_states_image"] = image.to(conditions.dtype)
            text = F.pad(
                text, (0, 0, 0, self.text_tokens - text.shape[1])
            )  # the attention to images counts from behind
        video = rearrange(latents, "b s c h w -> b c s h w").to(conditions.dtype)
        velocity: Tensor = base(video, timestep, text.to(conditions.dtype), return_dict=False, **settings)[0]
        return rearrange(velocity, "b c s h w -> b s c h w")

    @torch.no_grad()
    def clean(self, base: Any) -> Tensor:
        """From the embedding of time 0 and every block's own table."""
        embed, time = base.condition_embedder, torch.zeros(1, device=base.scale_shift_table.device)
        embedded = embed.time_embedder(embed.timesteps_proj(time).to(embed.time_embedder.linear_1.weight.dtype))
        told = embed.time_proj(embed.act_fn(embedded).to(embed.time_proj.weight.dtype)).float().unflatten(1, (6, -1))
        return torch.stack([(block.scale_shift_table.float() + told)[0, :2] for block in base.blocks]).flip(1)

    def norm(self, tokens: Tensor) -> Tensor:
        """Layer norm."""
        return F.layer_norm(tokens.float(), tokens.shape[-1:], eps=1e-6)

    def tables(self, base: Any, layout: Layout, times: Tensor, rows: Tensor, columns: Tensor) -> Tables:
        """As the base makes its own, for any place."""
        rope = base.rope
        shape = (len(times), len(rows), len(columns))
        axes = zip((times, rows, columns), (rope.t_dim, rope.h_dim, rope.w_dim), strict=True)
        parts = [
            get_1d_rotary_pos_embed(size, places, use_real=True, repeat_interleave_real=True, freqs_dtype=torch.float64)
            for places, size in axes
        ]
        cos, sin = (over_grid([part[n] for part in parts], shape) for n in (0, 1))
        return cos, sin


def is_uniform(levels: Tensor) -> bool:
    """Whether all frames of a video share its noise level, where that can be asked."""
    return not is_capturing() and bool((levels == levels[:, :1]).all())


def over_grid(axes: list[Tensor], shape: tuple[int, int, int]) -> Tensor:
    """Tables (places, d) of time, rows and columns as one of all tokens, (1, n, 1, d of all three)."""
    parts = [
        axis.view(*[-1 if n == place else 1 for n in range(3)], axis.shape[-1]).expand(*shape, -1)
        for place, axis in enumerate(axes)
    ]
    return rearrange(torch.cat(parts, dim=-1), "t r c d -> 1 (t r c) 1 d")
