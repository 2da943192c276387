"""Wan as ComfyUI builds it: what a memory asks of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from comfy.ldm.wan.model import WanModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from torch import Tensor

from malt.adapters.family import Tables
from malt.adapters.wan import Wan, rotate
from malt.memory.protocol import Layout


class ComfyUIWan(Wan):
    """Wan's norm and its rotary positions, those made by ComfyUI's own embedder.

    Attributes:
        what: it is, in words. noisiest: what its network is told of noise alone.
        conditions: what its conditioning may tell beside the text, with what is told otherwise.
    """

    what = "Wan 2.1 and 2.2 of text to video"
    noisiest = 1000.0
    conditions: Mapping[str, Any] = {}

    @staticmethod
    def serves(network: Any) -> bool:
        """Whether a network is one that a memory of diffusers' Wan fits."""
        return type(network) is WanModel and network.model_type == "t2v" and network.in_dim == network.out_dim

    @staticmethod
    def sizes(network: Any) -> dict[str, Any]:
        """Of a network, by the names of diffusers' settings."""
        return {
            "num_layers": network.num_layers,
            "num_attention_heads": network.num_heads,
            "attention_head_dim": network.dim // network.num_heads,
            "ffn_dim": network.ffn_dim,
            "in_channels": network.in_dim,
            "text_dim": network.text_dim,
            "patch_size": list(network.patch_size),
        }

    @staticmethod
    def names(network: Any) -> dict[str, str]:
        """ComfyUI's names of a network's weights, by those of diffusers."""
        found: dict[str, str] = convert_wan_transformer_to_diffusers({name: name for name in network.state_dict()})
        return found

    @staticmethod
    def length(latent_frames: int) -> int:
        """Frames that its autoencoder makes of so many latents that nothing precedes."""
        return 4 * latent_frames - 3

    @staticmethod
    def attention(block: Any) -> Any:
        """A block's first: to its own tokens."""
        return block.self_attn

    @staticmethod
    def keys_values(attn: Any, tokens: Tensor, tables: Tables | None) -> tuple[Tensor, Tensor]:
        """Keys, normalised and turned, and values (b, m, heads, head_dim)."""
        key, value = (x.unflatten(2, (attn.num_heads, -1)) for x in (attn.norm_k(attn.k(tokens)), attn.v(tokens)))
        return key if tables is None else rotate(key, tables), value

    @staticmethod
    def timesteps(levels: Tensor, layout: Layout) -> Tensor:
        """What is told of every frame (b, frames), as the network takes it."""
        return levels

    @staticmethod
    def counting(context: Tensor, given: Sequence[Any]) -> Tensor:
        """Which of a caption's tokens count: its padding is zeros."""
        return context.any(dim=-1)

    def told(self, given: Sequence[Any], named: Mapping[str, Any]) -> Self:
        """The same; no argument says more of it."""
        return self

    def patch(self, base: Any) -> tuple[int, int, int]:
        """As built."""
        frames, rows, columns = base.patch_size
        return frames, rows, columns

    def tables(self, base: Any, layout: Layout, times: Tensor, rows: Tensor, columns: Tensor) -> Tables:
        """As ComfyUI makes its own, for any place."""
        turns = base.rope_embedder(torch.cartesian_prod(times, rows, columns)[None]).movedim(1, 2)
        cos, sin = (turns[..., row, 0].repeat_interleave(2, dim=-1) for row in (0, 1))
        return cos, sin
