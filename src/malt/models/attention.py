"""Attention of a segment's tokens to one another, to what is remembered, and to the caption."""

import torch
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from jaxtyping import Bool, Float
from torch import Tensor, nn

from malt.models.positions import Rotation, rotate

KeysValues = tuple[Tensor, Tensor]


class HeadNorm(nn.Module):
    """RMS norm over a head's channels, in float32 whatever the weights are kept in."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(head_dim))

    def forward(self, x: Float[Tensor, "b n k d"]) -> Float[Tensor, "b n k d"]:
        """Scale to unit root mean square, then by the learned weight."""
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + 1e-6) * self.weight.float()


class MaltAttnProcessor:
    """Projects, normalises, turns and attends; holds the attention backend that diffusers may set."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: "MaltAttention",
        hidden: Tensor,
        source: Tensor,
        turns: tuple[Rotation, Rotation] | None,
        mask: Tensor | None,
        before: KeysValues | None,
    ) -> Tensor:
        """Attend from `hidden` (b, n, d) to `before`, keys and values that are made already, and to `source` (b, m, e)."""
        query = attn.norm_q(attn.to_q(hidden).unflatten(-1, (attn.heads, -1)).float())
        query = query if turns is None else rotate(query, turns[0])
        key, value = attn.keys_values(source, None if turns is None else turns[1])
        if before is not None:
            key, value = (torch.cat(pair, dim=1) for pair in zip(before, (key, value), strict=True))
        mixed = _mix(query, key, value, mask, self._attention_backend)
        return attn.to_out(mixed.flatten(-2))


class MaltAttention(nn.Module, AttentionModuleMixin):
    """Multi-head attention with RMS-normalised queries and keys (QK-norm, arXiv:2010.04245)."""

    processor: MaltAttnProcessor
    _default_processor_cls = MaltAttnProcessor
    _available_processors = [MaltAttnProcessor]
    _supports_qkv_fusion = False  # queries and keys come from different tokens

    def __init__(self, width: int, num_heads: int, source_width: int | None = None) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"width {width} cannot be shared by {num_heads} heads; give a multiple")
        self.heads = num_heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(source_width or width, width, bias=False)
        self.to_v = nn.Linear(source_width or width, width, bias=False)
        self.to_out = nn.Linear(width, width)
        self.norm_q, self.norm_k = HeadNorm(width // num_heads), HeadNorm(width // num_heads)
        self.processor = MaltAttnProcessor()

    def forward(
        self,
        hidden: Float[Tensor, "b n d"],
        source: Float[Tensor, "b m e"],
        turns: tuple[Rotation, Rotation] | None = None,
        mask: Bool[Tensor, "b places"] | None = None,
        before: KeysValues | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Attend from `hidden` to `before` and `source`, of which places marked False in `mask` do not count."""
        spread = None if mask is None else mask[:, None, None, :].expand(-1, 1, hidden.shape[1], -1)
        return self.processor(self, hidden, source, turns, spread, before)

    def keys_values(self, source: Float[Tensor, "b m e"], turn: Rotation | None = None) -> KeysValues:
        """Keys, normalised and turned, and values of `source`, each (b, m, heads, head_dim)."""
        key, value = (project(source).unflatten(-1, (self.heads, -1)) for project in (self.to_k, self.to_v))
        key = self.norm_k(key.float())
        return key if turn is None else rotate(key, turn), value


def _mix(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, backend: object) -> Tensor:
    """softmax(q k^T / sqrt(d)) v; on a CPU in float32, where the bfloat16 kernel is several times slower."""
    on_cpu = query.device.type == "cpu"
    precision = torch.float32 if on_cpu else value.dtype
    heads = (tensor.to(precision) for tensor in (query, key, value))
    with torch.autocast(query.device.type, enabled=torch.is_autocast_enabled(query.device.type) and not on_cpu):
        return dispatch_attention_fn(*heads, attn_mask=mask, backend=backend).to(value.dtype)
