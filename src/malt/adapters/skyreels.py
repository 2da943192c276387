"""SkyReels-V2 (`SkyReelsV2Transformer3DModel`): Wan's blocks, and checkpoints that learned a noise level for every frame."""

from typing import Any

import torch
from diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2AttnProcessor
from torch import Tensor

from malt.adapters.family import BaseConditions
from malt.adapters.wan import Wan, WanMemoryAttnProcessor, is_uniform


class SkyReelsMemoryAttnProcessor(WanMemoryAttnProcessor, SkyReelsV2AttnProcessor):
    """Wan's, for layers whose own processor is SkyReels'."""


class SkyReelsV2(Wan):
    """As Wan, but for how noise levels and the frame rate, one for all videos, are told."""

    name = "skyreels-v2"
    takes = Wan.takes | {"fps"}
    processor: type[Any] = SkyReelsMemoryAttnProcessor

    def call(self, base: Any, latents: Tensor, levels: Tensor, conditions: BaseConditions) -> Tensor:
        """A timestep a frame by diffusion forcing, where frames differ."""
        uniform = is_uniform(levels)
        settings: dict[str, Any] = {}
        if (rate := conditions.added.get("fps")) is not None:
            settings["fps"] = (
                rate if uniform else rate[:1]
            )  # where frames differ, the library adds it to one video only
        timestep = 1000 * (levels[:, 0] if uniform else levels)
        return self.run(base, latents, timestep, conditions, enable_diffusion_forcing=not uniform, **settings)

    @torch.no_grad()
    def clean(self, base: Any) -> Tensor:
        """From the embedding of time 0 and every block's own table."""
        embed, time = base.condition_embedder, torch.zeros(1, device=base.scale_shift_table.device)
        embedded = embed.time_embedder(embed.timesteps_proj(time).to(embed.time_embedder.linear_1.weight.dtype))
        told = embed.time_proj(embed.act_fn(embedded)).float().unflatten(1, (6, -1))
        return torch.stack([(block.scale_shift_table.float() + told)[0, :2] for block in base.blocks]).flip(1)
