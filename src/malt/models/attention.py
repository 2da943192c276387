"""Attention of a segment's tokens to one another, to what is remembered, and to the caption."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from jaxtyping import Bool, Float
from torch import Tensor, nn

from malt.memory.exact import without_autocast
from malt.memory.state import KeysValues
from malt.models.capturing import is_capturing
from malt.models.positions import Rotation, rotate


class HeadNorm(nn.Module):
    """RMS norm over a head's channels, in float32 whatever the weights are kept in."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(head_dim))

    def forward(self, x: Float[Tensor, "b n k d"]) -> Float[Tensor, "b n k d"]:
        """Scale to unit root mean square, then by the learned weight."""
        return F.rms_norm(x, self.weight.shape, self.weight.float(), eps=1e-6)


class MaltAttnProcessor:
    """Attends; holds the attention backend that diffusers may set, and the device that computes in float32."""

    _attention_backend = None
    _exact_on = "cpu"  # where the kernel for bfloat16 is several times slower
    _parallel_config = None

    def __call__(
        self,
        attn: "MaltAttention",
        hidden: Tensor,
        keys_values: Sequence[KeysValues],
        rope: Rotation | None,
    ) -> Tensor:
        """Attend from `hidden` (b, n, d), whose positions are those of `rope`, to keys and values that are made already."""
        mixed = self._mix(attn.queries(hidden, rope), join_keys_values(keys_values))
        output: Tensor = attn.to_out(mixed.flatten(-2))
        return output

    def _mix(self, query: Tensor, seen: KeysValues) -> Tensor:
        """softmax(q k^T / sqrt(d)) v; in float32 on devices of the type `_exact_on`."""
        device, dtype = query.device.type, seen.values.dtype
        is_exact, mask = device == self._exact_on, None
        if seen.valid is not None:
            # The processor's kernel would write truths out for every query before it turns them into numbers.
            counting = torch.where(seen.valid, 0.0, -torch.inf) if is_exact else seen.valid
            mask = counting[:, None, None].expand(-1, 1, query.shape[1], -1)
        heads = [x.to(torch.float32 if is_exact else dtype) for x in (query, seen.keys, seen.values)]
        with without_autocast(device) if is_exact else nullcontext():
            mixed: Tensor = dispatch_attention_fn(*heads, attn_mask=mask, backend=self._attention_backend)
        return mixed.to(dtype)


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
        keys_values: Sequence[KeysValues],
        rope: Rotation | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Attend from `hidden`, whose positions are those of `rope`, to what `keys_values` made, all parts at once."""
        return self.processor(self, hidden, keys_values, rope)

    def queries(self, hidden: Float[Tensor, "b n d"], rope: Rotation | None = None) -> Float[Tensor, "b n k c"]:
        """Queries, normalised and turned."""
        query = self.norm_q(self.to_q(hidden).unflatten(-1, (self.heads, -1)).float())
        return query if rope is None else rotate(query, rope)

    def keys_values(
        self, source: Float[Tensor, "b m e"], rope: Rotation | None = None, valid: Bool[Tensor, "b m"] | None = None
    ) -> KeysValues:
        """What is attended to in `source`: keys, normalised and turned, and values; places marked False do not count."""
        key, value = (project(source).unflatten(-1, (self.heads, -1)) for project in (self.to_k, self.to_v))
        key = self.norm_k(key.float())
        return KeysValues(key if rope is None else rotate(key, rope), value, _unless_all(valid))


def _unless_all(valid: Bool[Tensor, "b m"] | None) -> Bool[Tensor, "b m"] | None:
    """The mask, or None where all places count."""
    return None if valid is not None and may_ask() and bool(valid.all()) else valid


def may_ask() -> bool:
    """Whether a mask may be looked into; learning, which drops places at random, and graphs do not wait to find out."""
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling() or is_capturing())


def join_keys_values(parts: Sequence[KeysValues]) -> KeysValues:
    """Keys and values of several parts as those of one."""
    if len(parts) == 1:
        return parts[0]
    keys, values = (torch.cat(pair, dim=1) for pair in zip(*(part[:2] for part in parts), strict=True))
    if all(part.valid is None for part in parts):
        return KeysValues(keys, values, None)
    return KeysValues(keys, values, torch.cat([part.counting() for part in parts], dim=1))
