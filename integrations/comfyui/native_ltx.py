"""LTX-Video as ComfyUI builds it: what a memory asks of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from comfy.ldm.lightricks.model import LTXVModel
from diffusers.loaders.single_file_utils import convert_ltx_transformer_checkpoint_to_diffusers
from diffusers.models.transformers.transformer_ltx import apply_rotary_emb
from torch import Tensor

from malt.adapters.family import Tables
from malt.adapters.ltx import COMPRESSION, LTXVideo
from malt.errors import UsageError
from malt.memory.protocol import Layout


class ComfyUILTX(LTXVideo):
    """LTX's norm, and its rotary positions in seconds and pixels, those made by ComfyUI's own network.

    Attributes:
        what, noisiest, conditions: as of Wan.
    """

    what = "LTX-Video 0.9.0 and 0.9.1 of text to video"
    noisiest = 1.0
    conditions: Mapping[str, Any] = {"attention_mask": None, "frame_rate": LTXVideo.frame_rate}

    def __init__(self, frame_rate: float = LTXVideo.frame_rate) -> None:
        self.frame_rate = frame_rate

    @staticmethod
    def serves(network: Any) -> bool:
        """Whether a network is one that a memory of diffusers' LTX fits: later ones count the first frame by itself."""
        is_plain = not (getattr(network, "causal_temporal_positioning", True) or network.use_middle_indices_grid)
        return type(network) is LTXVModel and is_plain

    @staticmethod
    def sizes(network: Any) -> dict[str, Any]:
        """Of a network, by the names of diffusers' settings."""
        names = ("num_layers", "num_attention_heads", "attention_head_dim", "cross_attention_dim", "caption_channels")
        return {name: getattr(network, name) for name in (*names, "in_channels")}

    @staticmethod
    def names(network: Any) -> dict[str, str]:
        """ComfyUI's names of a network's weights, by those of diffusers."""
        given = {name: name for name in network.state_dict()}
        found: dict[str, str] = convert_ltx_transformer_checkpoint_to_diffusers(given)
        return found

    @staticmethod
    def length(latent_frames: int) -> int:
        """Frames that its autoencoder makes of so many latents that nothing precedes."""
        return 8 * latent_frames - 7

    @staticmethod
    def attention(block: Any) -> Any:
        """A block's first: to its own tokens."""
        return block.attn1

    @staticmethod
    def keys_values(attn: Any, tokens: Tensor, tables: Tables | None) -> tuple[Tensor, Tensor]:
        """Keys, normalised and turned, and values (b, m, heads, head_dim)."""
        key, value = attn.k_norm(attn.to_k(tokens)), attn.to_v(tokens)
        key = key if tables is None else apply_rotary_emb(key, tables)
        return key.unflatten(2, (attn.heads, -1)), value.unflatten(2, (attn.heads, -1))

    @staticmethod
    def timesteps(levels: Tensor, layout: Layout) -> Tensor:
        """What is told of every frame (b, frames), as the network takes it: for every token."""
        return levels.repeat_interleave(layout.tokens_per_frame, dim=1)

    @staticmethod
    def counting(context: Tensor, given: Sequence[Any]) -> Tensor:
        """Which of a caption's tokens count, as its mask says."""
        counts = context.new_ones(context.shape[:2], dtype=torch.bool)
        return counts if given[0] is None else counts & (given[0].reshape(-1, counts.shape[1]) > 0)

    def told(self, given: Sequence[Any], named: Mapping[str, Any]) -> Self:
        """The same at the frame rate that the network is told.

        Raises:
            UsageError: the network is told an image.
        """
        if given[3] is not None or named.get("denoise_mask") is not None:
            raise UsageError("LTX-Video takes no images beside a memory here; begin with an empty latent video")
        return type(self)(given[1])

    def patch(self, base: Any) -> tuple[int, int, int]:
        """One latent pixel a token."""
        frames, rows, columns = base.patchifier.patch_size
        return frames, rows, columns

    def tables(self, base: Any, layout: Layout, times: Tensor, rows: Tensor, columns: Tensor) -> Tables:
        """As ComfyUI makes its own, for any place."""
        grid = torch.stack(torch.meshgrid(times.float(), rows.float(), columns.float(), indexing="ij"))
        pixels = grid.flatten(1) * torch.tensor(COMPRESSION, device=grid.device)[:, None]
        cos, sin, _ = base._prepare_positional_embeddings(pixels[None], self.frame_rate, torch.float32)
        return cos, sin
