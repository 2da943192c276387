"""Wan as ComfyUI builds it: how its self-attention comes to see what is remembered, by arguments of its own forward."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from malt.adapters.family import AttendedMemory, Tables, attended_keys_values, memory_mask
from malt.adapters.memory_pass import MemoryPass
from malt.adapters.wan import Wan, rotate
from malt.memory.protocol import Layout

OVERRIDE = "optimized_attention_override"  # by which ComfyUI lets others compute an attention


class ComfyUIWan(Wan):
    """Wan's norm and its rotary positions, those made by ComfyUI's own embedder."""

    def tables(self, base: Any, layout: Layout, times: Tensor, rows: Tensor, columns: Tensor) -> Tables:
        """As ComfyUI makes its own, for any place."""
        turns = base.rope_embedder(torch.cartesian_prod(times, rows, columns)[None]).movedim(1, 2)
        cos, sin = (turns[..., row, 0].repeat_interleave(2, dim=-1) for row in (0, 1))
        return cos, sin


def keys_values(attn: Any, tokens: Tensor, tables: Tables | None) -> tuple[Tensor, Tensor]:
    """Keys, normalised and turned, and values (b, m, heads, head_dim)."""
    key, value = (x.unflatten(2, (attn.num_heads, -1)) for x in (attn.norm_k(attn.k(tokens)), attn.v(tokens)))
    return key if tables is None else rotate(key, tables), value


def with_blocks(options: Mapping[str, Any], run: MemoryPass) -> dict[str, Any]:
    """`transformer_options` in which every block hands its tokens to a pass of the memory; what others replaced stays inside."""
    patches = options.get("patches_replace", {})
    blocks = dict(patches.get("dit", {}))
    for number in range(len(run.base.blocks)):
        name = ("double_block", number)
        blocks[name] = partial(_run_block, run, number, blocks.get(name))
    return {**options, "patches_replace": {**patches, "dit": blocks}}


def _run_block(
    run: MemoryPass, number: int, inner: Any, given: dict[str, Any], original: dict[str, Any]
) -> dict[str, Any]:
    """One block as ComfyUI calls it once it is replaced."""

    def call(attended: AttendedMemory | None) -> Tensor:
        told = given
        if attended is not None:
            options = given["transformer_options"]
            beside = _FirstAttention(run.base.blocks[number].self_attn, attended, options.get(OVERRIDE))
            told = {**given, "transformer_options": {**options, OVERRIDE: beside}}
        made: Tensor = (original["original_block"](told) if inner is None else inner(told, original))["img"]
        return made

    return {"img": run.around(number, given["img"], call)}


@dataclass
class _FirstAttention:
    """In one run of a block: its first attention, to its own tokens, sees what is remembered; the others look at captions."""

    attn: Any
    memory: AttendedMemory
    outer: Callable[..., Tensor] | None
    is_over: bool = False

    def __call__(
        self, attend: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, *given: Any, **named: Any
    ) -> Tensor:
        if not self.is_over:
            self.is_over = True
            keys, values = attended_keys_values(self.attn, self.memory, keys_values, q)
            counts = memory_mask(self.memory, None, q.shape[1], k.shape[1])
            k, v = (torch.cat([seen.flatten(2), own], dim=1) for seen, own in ((keys, k), (values, v)))
            if counts is not None:  # as an addend: not all of ComfyUI's attentions take truth values
                named["mask"] = q.new_zeros(counts.shape).masked_fill(~counts, -torch.inf)
        return attend(q, k, v, *given, **named) if self.outer is None else self.outer(attend, q, k, v, *given, **named)
