"""Tiny transformers of diffusers' own classes with random weights: one for every family, and how its own pipeline calls it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    CogVideoXTransformer3DModel,
    LTXVideoTransformer3DModel,
    SkyReelsV2Transformer3DModel,
    WanTransformer3DModel,
    WanVACETransformer3DModel,
)
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from einops import rearrange, repeat
from torch import Tensor, nn

from malt.adapters import AdaptedTransformer3DModel, add_memory
from malt.memory.state import Memory
from malt.models.video_model import TransformerOutput
from tiny_bases_behind import (
    call_hunyuan,
    call_hunyuan15,
    call_ltx2,
    call_mochi,
    call_motif,
    call_sana,
    hunyuan,
    hunyuan15,
    ltx2,
    mochi,
    motif,
    sana,
    uniform,
)

BATCH, FRAMES, SIDE, TEXT = 2, 4, 8, 5
Call = Callable[[Any, Tensor, Tensor, dict[str, Tensor]], Tensor]  # base, latents (b, s, c, h, w), levels (b, s), told


@dataclass(frozen=True)
class TinyBase:
    """A family's tiny model.

    build: the model. call: how the family's own pipeline calls it, written without ours. channels, text_width: of latents and
    captions. added: shapes of what else it is told, without the batch. beside: whether its self-attention reads a memory.
    """

    build: Callable[[], Any]
    call: Call
    channels: int = 16
    text_width: int = 16
    added: tuple[tuple[str, tuple[int, ...]], ...] = ()
    beside: bool = True

    def base(self) -> Any:
        """The same weights at every call."""
        torch.manual_seed(0)
        base = self.build().eval()
        for parameter in base.parameters():  # zero gates and zero outputs would hide what is tested
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
        return base

    def adapted(self, base: Any = None, **settings: Any) -> AdaptedTransformer3DModel:
        """With a memory of two pooled segments beside the last one."""
        defaults: dict[str, Any] = {"memory": "hierarchical", "memory_size": 2, "segment_frames": FRAMES}
        return add_memory(self.base() if base is None else base, defaults | settings)

    def given(
        self, seed: int = 1, level: float | None = 0.6, frames: int = FRAMES, batch: int = BATCH
    ) -> dict[str, Any]:
        """What a forward is given for a segment; `level` None draws a noise level for every frame."""
        chance = torch.Generator().manual_seed(seed)
        levels = torch.rand(batch, frames, generator=chance)
        added = {name: torch.randn(batch, *shape, generator=chance) for name, shape in self.added}
        given: dict[str, Any] = {
            "latents": torch.randn(batch, frames, self.channels, SIDE, SIDE, generator=chance),
            "timestep": levels if level is None else torch.full_like(levels, level),
            "encoder_hidden_states": torch.randn(batch, TEXT, self.text_width, generator=chance),
            "encoder_attention_mask": torch.ones(batch, TEXT, dtype=torch.bool),
        }
        return given | ({"added_conditions": added} if added else {})

    def alone(self, base: Any, given: dict[str, Any]) -> Tensor:
        """What the base makes of it by itself, frozen as it is beside an adapter.

        torch multiplies by weights that may learn in another order than by frozen ones, which some processors round otherwise.
        """
        learns = [weight for weight in base.parameters() if weight.requires_grad]
        told = {name: given[name] for name in ("encoder_hidden_states", "encoder_attention_mask")}
        base.requires_grad_(False)
        made = self.call(base, given["latents"], given["timestep"], told | given.get("added_conditions", {}))
        for weight in learns:
            weight.requires_grad_(True)
        return made


def run(
    model: AdaptedTransformer3DModel, given: dict[str, Any], memory: Memory | None = None, **more: Any
) -> TransformerOutput:
    """One pass."""
    output: TransformerOutput = model(memory=memory, **given, **more)
    return output


def remember(
    tiny: TinyBase, model: AdaptedTransformer3DModel, segments: int = 3, first: int = 10, **given: Any
) -> Memory:
    """The memory after so many clean segments."""
    memory: Memory | None = None
    for n in range(segments):
        memory = run(model, tiny.given(first + n, level=0.0, **given), memory).memory
    assert memory is not None
    return memory


def wan_sizes(**more: Any) -> dict[str, Any]:
    """Settings of a tiny Wan transformer."""
    return {
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": 16,
        "freq_dim": 16,
        "ffn_dim": 32,
        "num_layers": 3,
        "rope_max_seq_len": 64,
    } | more


def _call_wan(base: Any, latents: Tensor, levels: Tensor, told: dict[str, Tensor]) -> Tensor:
    cells = latents.shape[-1] * latents.shape[-2] // 4
    timestep = 1000 * levels[:, 0] if uniform(levels) else repeat(1000 * levels, "b s -> b (s n)", n=cells)
    video, text = (
        rearrange(latents, "b s c h w -> b c s h w").to(base.dtype),
        told["encoder_hidden_states"].to(base.dtype),
    )
    return rearrange(base(video, timestep, text, return_dict=False)[0], "b c s h w -> b s c h w")


def _call_wan_i2v(base: Any, latents: Tensor, levels: Tensor, told: dict[str, Tensor]) -> Tensor:
    cells = latents.shape[-1] * latents.shape[-2] // 4
    timestep = 1000 * levels[:, 0] if uniform(levels) else repeat(1000 * levels, "b s -> b (s n)", n=cells)
    video = rearrange(torch.cat([latents, told["known_latents"]], dim=2), "b s c h w -> b c s h w").to(base.dtype)
    text, image = (
        torch.zeros(len(latents), 512, 16, dtype=base.dtype),
        told["encoder_hidden_states_image"].to(base.dtype),
    )
    text[:, :TEXT] = told["encoder_hidden_states"].to(base.dtype)
    made = base(video, timestep, text, encoder_hidden_states_image=image, return_dict=False)[0]
    return rearrange(made, "b c s h w -> b s c h w")


def _call_vace(base: Any, latents: Tensor, levels: Tensor, told: dict[str, Tensor]) -> Tensor:
    video, control = (
        rearrange(x, "b s c h w -> b c s h w").to(base.dtype) for x in (latents, told["control_hidden_states"])
    )
    text = told["encoder_hidden_states"].to(base.dtype)
    made = base(video, 1000 * levels[:, 0], text, control_hidden_states=control, return_dict=False)[0]
    return rearrange(made, "b c s h w -> b s c h w")


def _call_skyreels(base: Any, latents: Tensor, levels: Tensor, told: dict[str, Tensor]) -> Tensor:
    forcing = not uniform(levels)
    timestep = 1000 * (levels if forcing else levels[:, 0])
    video, text = (
        rearrange(latents, "b s c h w -> b c s h w").to(base.dtype),
        told["encoder_hidden_states"].to(base.dtype),
    )
    made = base(video, timestep, text, enable_diffusion_forcing=forcing, return_dict=False)[0]
    return rearrange(made, "b c s h w -> b s c h w")


def _call_ltx(base: Any, latents: Tensor, levels: Tensor, told: dict[str, Tensor]) -> Tensor:
    tokens, side = rearrange(latents, "b s c h w -> b (s h w) c").to(base.dtype), latents.shape[-1]
    timestep = 1000 * levels[:, 0] if uniform(levels) else repeat(1000 * levels, "b s -> b (s n)", n=side * side)
    text, mask = told["encoder_hidden_states"].to(base.dtype), told["encoder_attention_mask"]
    scale = (8 / 25, 32, 32)
    made = base(tokens, text, timestep, mask, latents.shape[1], side, side, scale, return_dict=False)[0]
    return rearrange(made, "b (s h w) c -> b s c h w", h=side, w=side)


def _call_cogvideox(base: Any, latents: Tensor, levels: Tensor, told: dict[str, Tensor]) -> Tensor:
    released = CogVideoXDDIMScheduler(
        beta_start=0.00085, beta_end=0.012, rescale_betas_zero_snr=True, snr_shift_scale=1.0
    )
    t = levels[:, :1, None, None, None].double()
    length = (t.square() + (1 - t).square()).sqrt()
    a, s, video = (1 - t) / length, t / length, latents.double() / length
    step = torch.stack([((1 - released.alphas_cumprod.double()).sqrt() - x).abs().argmin() for x in s.flatten()])
    side, frames = latents.shape[-1] // 2, latents.shape[1]
    turns = base.config.use_rotary_positional_embeddings
    tables = get_3d_rotary_pos_embed(16, ((0, 0), (side, side)), (side, side), frames) if turns else None
    text = told["encoder_hidden_states"].to(base.dtype)
    v = base(video.to(base.dtype), text, step, image_rotary_emb=tables, return_dict=False)[0].double()
    return ((s * video + a * v) - (a * video - s * v)).float()


def _cogvideox(**more: Any) -> CogVideoXTransformer3DModel:
    return CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=8,
        out_channels=8,
        time_embed_dim=8,
        text_embed_dim=16,
        num_layers=3,
        sample_width=SIDE,
        sample_height=SIDE,
        max_text_seq_length=TEXT,
        **{"use_rotary_positional_embeddings": True} | more,
    )


def _ltx() -> LTXVideoTransformer3DModel:
    return LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=3,
        caption_channels=16,
    )


SECOND_TEXT = (("encoder_hidden_states_2", (3, 8)), ("encoder_attention_mask_2", (3,)))
TINY_BASES = {
    "wan": TinyBase(lambda: WanTransformer3DModel(**wan_sizes()), _call_wan),
    "skyreels-v2": TinyBase(lambda: SkyReelsV2Transformer3DModel(**wan_sizes()), _call_skyreels),
    "wan-i2v": TinyBase(
        lambda: WanTransformer3DModel(**wan_sizes(in_channels=36, image_dim=8, added_kv_proj_dim=24)),
        _call_wan_i2v,
        added=(("known_latents", (FRAMES, 20, SIDE, SIDE)), ("encoder_hidden_states_image", (3, 8))),
    ),
    "wan-vace": TinyBase(
        lambda: WanVACETransformer3DModel(**wan_sizes(vace_layers=[0, 2], vace_in_channels=6)),
        _call_vace,
        added=(("control_hidden_states", (FRAMES, 6, SIDE, SIDE)),),
    ),
    "ltx-video": TinyBase(_ltx, _call_ltx, channels=8),
    "cogvideox": TinyBase(_cogvideox, _call_cogvideox, channels=8),
    "cogvideox-2b": TinyBase(
        lambda: _cogvideox(use_rotary_positional_embeddings=False, sample_frames=4 * FRAMES - 3),
        _call_cogvideox,
        channels=8,
        beside=False,
    ),
    "hunyuan-video": TinyBase(
        hunyuan,
        call_hunyuan,
        channels=8,
        added=(("pooled_projections", (8,)), ("guidance", ())),
        beside=False,
    ),
    "hunyuan-video-1.5": TinyBase(hunyuan15, call_hunyuan15, channels=8, added=SECOND_TEXT, beside=False),
    "hunyuan-video-1.5-i2v": TinyBase(
        hunyuan15,
        call_hunyuan15,
        channels=8,
        added=(*SECOND_TEXT, ("image_embeds", (3, 8)), ("known_latents", (FRAMES, 9, SIDE, SIDE))),
        beside=False,
    ),
    "sana-video": TinyBase(sana, call_sana, channels=8, beside=False),
    "ltx-2": TinyBase(ltx2, call_ltx2, channels=8, beside=False),
    "mochi": TinyBase(mochi, call_mochi, channels=8, beside=False),
    "motif-video": TinyBase(motif, call_motif, channels=8, beside=False),
}
