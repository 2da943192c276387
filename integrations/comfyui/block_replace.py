"""How self-attention of ComfyUI's networks comes to see what is remembered, by arguments of the network's own forward."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from malt.adapters.family import AttendedMemory, attended_keys_values, memory_mask
from malt.adapters.memory_pass import MemoryPass

OVERRIDE = "optimized_attention_override"  # by which ComfyUI lets others compute an attention


def with_blocks(options: Mapping[str, Any], run: MemoryPass) -> dict[str, Any]:
    """`transformer_options` in which every block hands its tokens to a pass of the memory; what others replaced stays inside."""
    patches = options.get("patches_replace", {})
    blocks = dict(patches.get("dit", {}))
    for number, block in enumerate(getattr(run.base, run.family.lists[0])):
        name = ("double_block", number)
        blocks[name] = partial(_run_block, run, number, block, blocks.get(name))
    return {**options, "patches_replace": {**patches, "dit": blocks}}


def _run_block(
    run: MemoryPass, number: int, block: Any, inner: Any, given: dict[str, Any], original: dict[str, Any]
) -> dict[str, Any]:
    """One block as ComfyUI calls it once it is replaced."""

    def call(attended: AttendedMemory | None) -> Tensor:
        told = given
        if attended is not None:
            options = given["transformer_options"]
            beside = _FirstAttention(run.family, block, attended, options.get(OVERRIDE))
            told = {**given, "transformer_options": {**options, OVERRIDE: beside}}
        made: Tensor = (original["original_block"](told) if inner is None else inner(told, original))["img"]
        return made

    return {"img": run.around(number, given["img"], call)}


@dataclass
class _FirstAttention:
    """In one run of a block: its first attention, to its own tokens, sees what is remembered; the others look at captions."""

    family: Any
    block: Any
    memory: AttendedMemory
    outer: Callable[..., Tensor] | None
    is_over: bool = False

    def __call__(
        self, attend: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, *given: Any, **named: Any
    ) -> Tensor:
        if not self.is_over:
            self.is_over = True
            attn = self.family.attention(self.block)
            keys, values = attended_keys_values(attn, self.memory, self.family.keys_values, q)
            counts = memory_mask(self.memory, None, q.shape[1], k.shape[1])
            k, v = (torch.cat([seen.flatten(2), own], dim=1) for seen, own in ((keys, k), (values, v)))
            if counts is not None:  # as an addend: not all of ComfyUI's attentions take truth values
                named["mask"] = q.new_zeros(counts.shape).masked_fill(~counts, -torch.inf)
        return attend(q, k, v, *given, **named) if self.outer is None else self.outer(attend, q, k, v, *given, **named)
