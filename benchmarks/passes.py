"""Where the time of a segment goes: its passes and its decoding, and the share of a core's peak that it reaches.

    python benchmarks/passes.py [MODEL ...] [--compile] [--segments 14] [--runs 30] [--out docs/results/passes.json]

One thread; with --compile by compiled blocks, as `malt generate --compile` makes videos. After so many segments, as many
arguments as a pass was given are given to it again, in turns with the others, so that all parts see the same machine; seconds
are those of the thread, the least and the median. The peak is that of a product of 1,024 x 1,024 matrices in float32, in
turns with the rest. Operations are those of products, convolutions and attention.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from results import say, write
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from malt.commands.compiling import blocks_of
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.sessions.session import Session

PROMPT, SIDE = "a red circle and a blue square pass behind a wall", 1024


def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Operations of the processor's attention on these shapes, which PyTorch does not count."""
    return int(sdpa_flop_count(query, key, value))


COUNTED_TOO = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}


def parts_of(pipe: MaltPipeline, session: Session, advance: Callable[[], object]) -> dict[str, Callable[[], object]]:
    """Each part of a segment, to be run again as it was run last."""
    parts: dict[str, Callable[[], object]] = {}
    transformer, autoencoder = cast(Any, pipe.transformer), cast(Any, pipe.vae)
    forward, decode = transformer.forward, autoencoder.decode

    def noting(*given: Any, **named: Any) -> Any:
        is_first, remembers = named.get("cache") is None, named.get("update_memory", True)
        name = "remembering pass" if remembers else "first pass" if is_first else "later pass"
        parts[name] = partial(forward, *given, **named)
        return parts[name]()

    def noting_frames(*given: Any) -> Any:
        parts["decoding"] = partial(decode, *given)
        return parts["decoding"]()

    transformer.forward, autoencoder.decode = noting, noting_frames
    advance()
    del transformer.forward, autoencoder.decode
    return parts | {"segment": advance}


def seconds_of(parts: dict[str, Callable[[], object]], runs: int) -> dict[str, dict[str, float]]:
    """The least and the median of the thread's seconds, all parts in turns."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(runs):
        for name, part in parts.items():
            began = time.thread_time()
            part()
            taken[name].append(time.thread_time() - began)
    return {name: {"least": min(each), "median": statistics.median(each)} for name, each in taken.items()}


@torch.no_grad()
def measure(name: str, segments: int, runs: int, compiled: bool) -> dict[str, Any]:
    """The figures of one model."""
    pipe = load_pipeline(name)
    session = Session.begin(pipe, PROMPT, seed=1)
    numbers = (pipe.transformer.action_dim or 0) // pipe.codec.time_compression

    def advance() -> object:
        return session.advance(torch.zeros(session.frames_ahead, numbers) if numbers else None)

    for _ in range(segments):
        advance()
    with FlopCounterMode(display=False, custom_mapping=COUNTED_TOO) as counter:
        advance()
    if compiled:
        for block in blocks_of(pipe):
            block.compile()
        advance()
    matrix = torch.randn(SIDE, SIDE)
    taken = seconds_of(parts_of(pipe, session, advance) | {"product": lambda: matrix @ matrix}, runs)
    operations, peak = counter.get_total_flops(), 2 * SIDE**3 / taken.pop("product")["least"]
    share = operations / taken["segment"]["least"] / peak
    return {"seconds": taken, "operations": operations, "peak_operations_per_second": peak, "share_of_peak": share}


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["default", "drive", "maze", "teacher"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--segments", type=int, default=14, help="made before anything is measured")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path("docs/results/passes.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    write(
        options.out,
        {name: say(name, measure(name, options.segments, options.runs, options.compile)) for name in options.models},
    )


if __name__ == "__main__":
    main()
