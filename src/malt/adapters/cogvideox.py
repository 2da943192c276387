"""CogVideoX (`CogVideoXTransformer3DModel`): text and video share one attention, and noise goes another path than malt's."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import CogVideoXDDIMScheduler
from diffusers.models.attention_processor import CogVideoXAttnProcessor2_0
from diffusers.models.embeddings import apply_rotary_emb, get_1d_rotary_pos_embed, get_3d_rotary_pos_embed
from einops import rearrange
from torch import Tensor

from malt.adapters.family import BaseConditions, RotaryWithMemory, Tables, attended_keys_values, memory_mask
from malt.adapters.wan import over_grid
from malt.memory.protocol import Layout


class CogVideoXMemoryAttnProcessor(CogVideoXAttnProcessor2_0):
    """Joint attention to what is remembered beside text and segment; without it, CogVideoX's own."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """Attend; `image_rotary_emb` may carry what is remembered."""
        if not isinstance(image_rotary_emb, RotaryWithMemory):
            own: tuple[Tensor, Tensor] = super().__call__(
                attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb
            )
            return own
        tables, memory, text = image_rotary_emb[:2], image_rotary_emb.memory, encoder_hidden_states.shape[1]
        tokens = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        query = _turned(attn.norm_q(_heads(attn, attn.to_q(tokens))), tables, text)
        key = _turned(attn.norm_k(_heads(attn, attn.to_k(tokens))), tables, text)
        keys, values = attended_keys_values(attn, memory, keys_values, tokens)
        key = torch.cat([keys.transpose(1, 2), key], dim=2)
        value = torch.cat([values.transpose(1, 2), _heads(attn, attn.to_v(tokens))], dim=2)
        mask = memory_mask(memory, None, query.shape[2], tokens.shape[1])
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        output = attn.to_out[1](attn.to_out[0](rearrange(mixed, "b k n d -> b n (k d)")))
        return output[:, text:], output[:, :text]


def keys_values(attn: Any, tokens: Tensor, tables: Tables | None) -> tuple[Tensor, Tensor]:
    """Keys, normalised and turned, and values (b, m, heads, head_dim)."""
    key = _turned(attn.norm_k(_heads(attn, attn.to_k(tokens))), tables, 0)
    return key.transpose(1, 2), attn.to_v(tokens).unflatten(2, (attn.heads, -1))


def _heads(attn: Any, tokens: Tensor) -> Tensor:
    return rearrange(tokens, "b n (k d) -> b k n d", k=attn.heads)


def _turned(heads: Tensor, tables: Any, text: int) -> Tensor:
    """Heads of which all but the first `text` tokens stand somewhere."""
    if tables is None:
        return heads
    return torch.cat([heads[:, :, :text], apply_rotary_emb(heads[:, :, text:], tables)], dim=2)


class CogVideoX:
    """One noise level a video, v-prediction on a variance-preserving path.

    Args:
        scheduler: of the base's pipeline; None for that of CogVideoX 5B.
    """

    name = "cogvideox"
    lists = ("transformer_blocks",)
    levels_per_frame = False
    takes = frozenset({"known_latents", "ofs"})
    lora = {
        "attention": ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0"),
        "feed_forward": ("ff.net.0.proj", "ff.net.2"),
    }
    text_tokens = 226

    def __init__(self, scheduler: Any = None) -> None:
        own = scheduler if hasattr(scheduler, "alphas_cumprod") else _released_scheduler()
        self.alphas: list[float] = own.alphas_cumprod.double().tolist()

    def reads_beside(self, base: Any) -> bool:
        """All but the first 2B, whose tokens have no rotary positions."""
        return bool(base.config.use_rotary_positional_embeddings)

    def patch(self, base: Any) -> tuple[int, int, int]:
        """As configured; 1.5 has two frames in a token."""
        return base.config.patch_size_t or 1, base.config.patch_size, base.config.patch_size

    def width(self, base: Any) -> int:
        """Heads side by side."""
        return int(base.config.num_attention_heads * base.config.attention_head_dim)

    def heads(self, base: Any) -> int:
        """As configured."""
        return int(base.config.num_attention_heads)

    def processors(self, base: Any) -> dict[str, Any]:
        """One for the attention of every block."""
        blocks = range(len(base.transformer_blocks))
        return {f"transformer_blocks.{n}.attn1": CogVideoXMemoryAttnProcessor() for n in blocks}

    def call(self, base: Any, latents: Tensor, levels: Tensor, conditions: BaseConditions) -> Tensor:
        """x_t = (1 - t) x_0 + t eps, divided by its length, is a x_0 + s eps with s / a = t / (1 - t), as the base knows it."""
        level = levels[:, :1, None, None, None].double()
        length = (level.square() + (1 - level).square()).sqrt()
        a, s = (1 - level) / length, level / length
        noisy = latents.double() / length
        noise = (1 - torch.tensor(self.alphas, dtype=torch.double, device=latents.device)).sqrt()
        step = (noise - s.flatten()[:, None]).abs().argmin(dim=1)
        frames, rows, columns = self.patch(base)
        layout = Layout(latents.shape[1] // frames, latents.shape[-2] // rows, latents.shape[-1] // columns)
        known = conditions.added.get("known_latents")
        video = noisy if known is None else torch.cat([noisy, known.to(noisy)], dim=2)
        told = {"ofs": conditions.added["ofs"].to(conditions.dtype)} if "ofs" in conditions.added else {}
        v = base(
            video.to(conditions.dtype),
            conditions.text.to(conditions.dtype),
            step,
            image_rotary_emb=self._own_tables(base, layout, latents.device),
            return_dict=False,
            **told,
        )[0].double()
        velocity: Tensor = ((s * noisy + a * v) - (a * noisy - s * v)).to(latents.dtype)
        return velocity

    @torch.no_grad()
    def clean(self, base: Any) -> Tensor:
        """From the embedding of time 0 and every block's norm, whose own weights are folded in."""
        time = torch.zeros(1, device=next(base.time_embedding.parameters()).device)
        told = base.time_embedding(base.time_proj(time).to(base.dtype))
        layers = []
        for norm in (block.norm1 for block in base.transformer_blocks):
            shift, scale = norm.linear(norm.silu(told))[0].float().chunk(6)[:2]
            weight, bias = norm.norm.weight.float(), norm.norm.bias.float()
            layers.append(torch.stack([weight * (1 + scale) - 1, bias * (1 + scale) + shift]))
        return torch.stack(layers)

    def norm(self, tokens: Tensor) -> Tensor:
        """Layer norm."""
        return F.layer_norm(tokens.float(), tokens.shape[-1:], eps=1e-5)

    def tables(self, base: Any, layout: Layout, times: Tensor, rows: Tensor, columns: Tensor) -> Tables:
        """As the library makes a base's own, for any place."""
        head, axes = base.config.attention_head_dim, [times.float(), rows.float(), columns.float()]
        if base.config.patch_size_t is None:
            grid = zip(axes[1:], *_crop(base, layout), (layout.rows, layout.columns), strict=True)
            axes[1:] = [start + places * _step(start, end, count) for places, start, end, count in grid]
        widths = (head // 4, head // 8 * 3, head // 8 * 3)
        parts = [get_1d_rotary_pos_embed(width, axis, use_real=True) for width, axis in zip(widths, axes, strict=True)]
        shape = (len(times), len(rows), len(columns))
        cos, sin = (over_grid([part[n] for part in parts], shape)[0, :, 0] for n in (0, 1))
        return cos, sin

    def _own_tables(self, base: Any, layout: Layout, device: torch.device) -> Tables | None:
        """Those that the base's pipeline makes for a video."""
        if not base.config.use_rotary_positional_embeddings:
            return None
        head, size = base.config.attention_head_dim, (layout.rows, layout.columns)
        if base.config.patch_size_t is None:
            cos, sin = get_3d_rotary_pos_embed(head, _crop(base, layout), size, layout.frames, device=device)
        else:
            largest = (
                base.config.sample_height // base.config.patch_size,
                base.config.sample_width // base.config.patch_size,
            )
            cos, sin = get_3d_rotary_pos_embed(
                head, None, size, layout.frames, grid_type="slice", max_size=largest, device=device
            )
        return cos, sin


def _released_scheduler() -> Any:
    with torch.device("cpu"):  # its numbers count, where a base is planned too
        return CogVideoXDDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            snr_shift_scale=1.0,
            rescale_betas_zero_snr=True,
            prediction_type="v_prediction",
        )


def _crop(base: Any, layout: Layout) -> tuple[tuple[int, int], tuple[int, int]]:
    """The part of the base's own grid that a video covers, scaled to fit into it: (top, left), (bottom, right)."""
    height, width = (base.config[f"sample_{side}"] // base.config.patch_size for side in ("height", "width"))
    if layout.rows / layout.columns > height / width:
        rows, columns = height, round(height / layout.rows * layout.columns)
    else:
        rows, columns = round(width / layout.columns * layout.rows), width
    top, left = round((height - rows) / 2), round((width - columns) / 2)
    return (top, left), (top + rows, left + columns)


def _step(start: int, end: int, count: int) -> float:
    """Between neighbouring places of a grid from `start` to just before `end`."""
    return (end * (count - 1) / count - start) / max(1, count - 1)
