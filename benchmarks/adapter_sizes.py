"""What a memory for a large base comes to, by arithmetic: bytes of a session, weights, operations of a segment.

    python benchmarks/adapter_sizes.py [--base experiments/bases/wan2.1-t2v-1.3b] [--out docs/results/adapter-sizes.json]

Only the settings of the base are read: its layers run on tensors that have a size and no numbers. The adapter is that of the
recipe `adapt`; an entry of the table below says what is changed in it. A segment takes `--steps` denoising steps with and
without the caption, and one pass that remembers it; its LoRA is merged.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from results import say, write

from malt.adapters import AdaptedTransformer3DModel
from malt.memory.state import KeysValues, KVCache, LayerCache, Memory
from malt.training.config import AdapterConfig
from malt.training.planning.adapted_plan import TOKENS, adapted_without_weights
from malt.training.planning.step_cost import CostCounter, as_planned, planned
from malt.training.recipes import adapt

SETTINGS: dict[str, dict[str, Any]] = {
    "last segment and six pooled frames, every third layer": {},
    "the same, pooled ones halved in space": {"memory_config": {"num_pooled": 6, "pooled_side": 2}},
    "256 slots of width 128, every layer": {"memory": "slots", "memory_size": 256, "memory_width": 128, "every": 1},
}


def sizes(base: Path, adapter: AdapterConfig, rows: int, columns: int) -> dict[str, float]:
    """Bytes of one video's memory, and weights that learn beside those of the base."""
    model = adapted_without_weights(base, adapter, torch.bfloat16).transformer
    own = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    frozen = sum(weight.numel() for weight in model.parameters()) - own
    return {"MiB of a session": model.memory_bytes(1, rows, columns) / 2**20, "weights over the base's": own / frozen}


def operations(base: Path, adapter: AdapterConfig, rows: int, columns: int) -> dict[str, int]:
    """Of one pass over a segment of one video: of the first denoising step, of a later one, and of the pass that remembers."""
    model = adapted_without_weights(base, replace(adapter, lora_rank=0), torch.bfloat16).transformer
    assert isinstance(model, AdaptedTransformer3DModel)
    with planned():
        as_planned(model)
        memory = model.empty_memory(1, rows, columns)
        first = _counted(model, rows, columns, memory, None, is_write=False)
        later = _counted(model, rows, columns, memory, _keys(model, memory), is_write=False)
        written = _counted(model, rows, columns, memory, None, is_write=True)
    return {"first": first, "later": later, "written": written}


def _counted(
    model: AdaptedTransformer3DModel, rows: int, columns: int, memory: Memory, cache: KVCache | None, is_write: bool
) -> int:
    context = 0 if is_write else model.context_frames
    count = context + model.segment_frames
    counter = CostCounter([*model.parameters()])
    with torch.set_grad_enabled(cache is None), counter:  # where gradients flow any memory is read, known or not
        model(
            torch.empty(1, count, model.base.config.in_channels, rows, columns),
            torch.empty(1, count),
            memory,
            torch.empty(1, TOKENS, model.base.config.text_dim),
            torch.empty(1, TOKENS, dtype=torch.bool),
            num_context_frames=context,
            cache=cache,
            update_memory=is_write,
        )
    return counter.flops


def _keys(model: AdaptedTransformer3DModel, memory: Memory) -> KVCache:
    """Keys and values as a first step hands them on, for a memory that is read beside self-attention."""
    heads = model.family.heads(model.base)
    dtype = model.base.dtype
    places = (
        (1, state.tokens.shape[1], heads, model.family.width(model.base) // heads)
        if layer.shown is not None and state.tokens.shape[1]
        else None
        for layer, state in zip(model.adapter.each, memory, strict=True)
    )
    return tuple(
        LayerCache(
            None
            if shape is None
            else KeysValues(torch.empty(shape, dtype=dtype), torch.empty(shape, dtype=dtype), None)
        )
        for shape in places
    )


def main() -> None:
    """Reckon every setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("experiments/bases/wan2.1-t2v-1.3b"))
    parser.add_argument("--rows", type=int, default=60, help="of latent pixels")
    parser.add_argument("--columns", type=int, default=104)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("docs/results/adapter-sizes.json"))
    options = parser.parse_args()
    place = (options.rows, options.columns)
    alone = operations(options.base, replace(adapt().adapter, memory="none"), *place)["later"]
    figures = {}
    for name, changes in SETTINGS.items():
        adapter = replace(adapt().adapter, **changes)
        each = operations(options.base, adapter, *place)
        steps = each["first"] + (options.steps - 1) * each["later"]
        more = {
            "TFLOP of a later step": each["later"] / 1e12,
            "of one without memory": alone / 1e12,
            "a segment over one without memory": (2 * steps + each["written"]) / (2 * options.steps * alone),
        }
        figures[name] = say(name, sizes(options.base, adapter, *place) | more)
    write(options.out, figures)


if __name__ == "__main__":
    main()
