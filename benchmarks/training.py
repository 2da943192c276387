"""How much of the machine training uses, how that compares with plain loops, and whether long videos cost memory.

    python benchmarks/training.py [--device cpu] [--dtype float32] [--threads 1] [--out docs/results/training.json]

The plain loops learn whole videos with diffusers' own transformers of the same size: Latte (attention within frames and
along time by turns) and Wan (attention from everything to everything). Peak, our step and theirs are timed in turn, round
after round in one process, so that what disturbs one disturbs all; longer videos come in smaller batches. Only the matrix
products (attention's among them) that a step needs are counted as work, by torch's own counter; the time is that of the
whole step: forward, backward, clipping, optimizer and average. The memory of each stage of the curriculum is that of a
process of its own.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import LatteTransformer3DModel, WanTransformer3DModel
from results import say, write
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from malt.data.batch import Batch
from malt.models.text import build_text_encoder, build_tokenizer
from malt.models.transformer import MaltTransformer3DModel
from malt.training.engine.ema import EMA
from malt.training.engine.optimizer import Optimization, build_optimizers
from malt.training.engine.parallel import clip_gradients, compile_blocks
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.denoising import CaptionedTransformer, DenoisingObjective
from malt.training.objectives.objective import Objective, UnrollConfig
from malt.worlds.passage.captions import vocabulary

PLAN = Optimization(num_steps=1000, learning_rate=1e-4)
CAPTION = "a red circle and a blue square pass behind a wall"
CAPTION_TOKENS, CAPTION_DIM = 16, 128
TIME_COMPRESSION = 4  # video frames of a latent frame


@dataclass(frozen=True)
class Size:
    """What is trained: a transformer, and the videos it is shown."""

    layers: int
    heads: int
    head_dim: int
    side: int  # latent pixels
    batch: int
    segments: int

    @property
    def frames(self) -> int:
        """Latent frames in a sample."""
        return self.segments * 4


def examples(size: Size) -> Callable[..., Batch]:
    """Noise for videos: what it is makes no difference to the time."""

    def draw(
        step: int, num_videos: int, num_frames: int, context_frames: int, start_share: float, far_frames: int = 0
    ) -> Batch:
        chance = torch.Generator().manual_seed(step)
        latents = torch.randn(num_videos, context_frames + num_frames, 16, size.side, size.side, generator=chance)
        return Batch(latents, [CAPTION] * num_videos, torch.rand(num_videos, generator=chance) < start_share)

    return draw


def ours(size: Size, options: argparse.Namespace, denoise_segments: int | None = None) -> DenoisingObjective:
    """Our transformer with its text encoder, learning with its memory: all segments, or the last so many."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(vocabulary())
    model = MaltTransformer3DModel(
        num_layers=size.layers, num_attention_heads=size.heads, attention_head_dim=size.head_dim, memory=options.memory
    )
    module = CaptionedTransformer(model, build_text_encoder(len(tokenizer), model.config.caption_dim), tokenizer)
    module.to(options.device).train()
    if options.compile:
        torch._dynamo.config.recompile_limit = 64
        compile_blocks(model.blocks)
    unroll = UnrollConfig(
        num_segments=size.segments, bptt_segments=options.bptt_segments, denoise_segments=denoise_segments
    )
    objective = Objective(batch_size=size.batch, unroll=unroll)
    stage = Stage(until=PLAN.num_steps, objectives=(objective,))
    return DenoisingObjective(module, examples(size), (stage,), 0, getattr(torch, options.dtype))


def latte(size: Size, weights: int) -> nn.Module:
    """Diffusers' Latte, as near to `weights` as its depth allows: a Latte layer is two, space and then time."""

    def build(depth: int) -> nn.Module:
        torch.manual_seed(0)
        return LatteTransformer3DModel(
            num_attention_heads=size.heads,
            attention_head_dim=size.head_dim,
            in_channels=16,
            out_channels=16,
            num_layers=depth,
            cross_attention_dim=size.heads * size.head_dim,
            attention_bias=True,
            sample_size=size.side,
            patch_size=2,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            caption_channels=CAPTION_DIM,
            video_length=size.frames,
        )

    return nearest(map(build, range(1, size.layers + 1)), weights)


def wan(size: Size, weights: int) -> nn.Module:
    """Diffusers' Wan of as many layers, as near to `weights` as the width of its feed-forward layers allows."""

    def build(ffn_dim: int) -> nn.Module:
        torch.manual_seed(0)
        return WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=size.heads,
            attention_head_dim=size.head_dim,
            in_channels=16,
            out_channels=16,
            text_dim=CAPTION_DIM,
            ffn_dim=ffn_dim,
            num_layers=size.layers,
        )

    width = size.heads * size.head_dim
    return nearest((build(width * eighths // 8) for eighths in range(4, 33)), weights)


def nearest(models: Iterable[nn.Module], weights: int) -> nn.Module:
    """The model whose size is nearest."""
    return min(models, key=lambda model: abs(count(model) - weights))


class Plain:
    """A plain task: another's transformer denoises whole videos."""

    def __init__(self, module: nn.Module, blocks: Iterable[nn.Module], size: Size, options: argparse.Namespace) -> None:
        self.size, self.dtype, self.device = size, getattr(torch, options.dtype), options.device
        self.module = module.to(self.device).train()
        if options.compile:
            compile_blocks(blocks)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Flow matching on whole videos (b, c, s, h, w)."""
        size, chance = self.size, torch.Generator(self.device).manual_seed(step)
        shape = (size.batch, 16, size.frames, size.side, size.side)
        clean, eps = (torch.randn(shape, generator=chance, device=self.device) for _ in range(2))
        level = torch.rand(size.batch, generator=chance, device=self.device)
        t = level[:, None, None, None, None]
        caption = torch.randn(size.batch, CAPTION_TOKENS, CAPTION_DIM, generator=chance, device=self.device)
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            noisy, when = (1 - t) * clean + t * eps, (1000 * level).long()
            velocity = self.module(noisy, timestep=when, encoder_hidden_states=caption, return_dict=False)[0]
        return (velocity.float() - (eps - clean)).square().mean(), {}


def plain_tasks(size: Size, weights: int, options: argparse.Namespace) -> dict[str, Plain]:
    """The plain loops that ours is compared with."""
    space_time, joint = latte(size, weights), wan(size, weights)
    layers: Any = [*space_time.transformer_blocks, *space_time.temporal_transformer_blocks]  # type: ignore[misc]
    return {
        "latte": Plain(space_time, layers, size, options),
        "wan": Plain(joint, joint.blocks, size, options),  # type: ignore[arg-type]
    }


def count(module: nn.Module) -> int:
    """Weights that learn."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def trainer(task: DenoisingObjective | Plain) -> Callable[[int], None]:
    """A whole step of learning, as `fit` takes it."""
    optimizers, average = build_optimizers(task.module, PLAN), EMA(task.module, PLAN.ema_decay)

    def step(number: int) -> None:
        task.loss(number)[0].backward()
        clip_gradients(task.module, PLAN.max_gradient_norm)
        for optimizer in optimizers:
            optimizer.step()
        average.update(task.module, number)
        task.module.zero_grad(set_to_none=True)

    return step


def work(task: DenoisingObjective | Plain) -> int:
    """Floating point operations of the matrix products of one step, forward and backward."""
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        task.loss(0)[0].backward()
    task.module.zero_grad(set_to_none=True)
    return counter.get_total_flops()


def seconds(function: Callable[[], object], device: str) -> float:
    """How long a call takes, all of its work done."""
    began = time.perf_counter()
    function()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def peak(options: argparse.Namespace) -> float:
    """Operations a second of the fastest of several products of square matrices."""
    best = 0.0
    for side in (512, 1024, 2048) if options.device == "cpu" else (4096, 8192):
        one, other = (torch.randn(side, side, device=options.device, dtype=getattr(torch, options.dtype)) for _ in "ab")
        best = max([best, *(2 * side**3 / seconds(lambda: one @ other, options.device) for _ in range(options.repeat))])  # noqa: B023
    return best


def throughput(size: Size, options: argparse.Namespace) -> dict:
    """Ours and the plain loops, side by side; `ours_last` denoises the last segments alone, as the recipes' long walks do."""
    tasks: dict[str, DenoisingObjective | Plain] = {"ours": ours(size, options)}
    if size.segments > options.denoise_segments:
        tasks["ours_last"] = ours(size, options, options.denoise_segments)
    tasks |= plain_tasks(size, count(tasks["ours"].module.get_submodule("transformer")), options)
    needed, steps = {name: work(task) for name, task in tasks.items()}, {n: trainer(t) for n, t in tasks.items()}
    for step in steps.values():
        for number in range(2):  # compiles
            step(number)
    peaks: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(options.rounds):
        peaks.append(peak(options))
        for name, step in steps.items():
            times[name].append(seconds(lambda: step(number), options.device))  # noqa: B023
    highest, figures = max(peaks), {}
    for name, task in tasks.items():
        middle = statistics.median(times[name])
        figures[name] = {
            "parameters": count(task.module),
            "operations": needed[name],
            "seconds": times[name],
            "samples_per_second": size.batch / middle,
            "share_of_peak": needed[name] / middle / highest,
        }
    ratios = {
        f"{own}_over_{name}": _pairwise(times[own], times[name])
        for own in ("ours", "ours_last")
        for name in ("latte", "wan")
        if own in tasks
    }
    return {"batch": size.batch, "peak_operations_per_second": highest, **figures, **ratios}


def _pairwise(own: list[float], other: list[float]) -> float:
    """Samples a second of ours over the other's: the median over rounds, each of which times one after the other."""
    return statistics.median(theirs / ours for ours, theirs in zip(own, other, strict=True))


def stage_memory(size: Size, options: argparse.Namespace) -> dict:
    """Peak memory of two steps, in a process that does nothing else: before, and at the highest."""
    if options.device == "cuda":
        take = trainer(ours(size, options, options.denoise_segments))
        before = torch.cuda.memory_allocated()
        for number in range(2):
            take(number)
        return {"before": before, "peak": torch.cuda.max_memory_allocated()}
    take = trainer(ours(size, options, options.denoise_segments))
    before = _resident()
    for number in range(2):
        take(number)
    return {"before": before, "peak": _resident()}


def _resident() -> int:
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kibibytes if sys.platform == "darwin" else kibibytes * 1024


def stages(options: argparse.Namespace) -> dict:
    """The memory of every stage of the curriculum, and the last's over the first's."""
    figures = {}
    for frames in options.stages:
        arguments = [*sys.argv[1:], "--only-stage", str(frames)]
        done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
        figures[str(frames)] = say(f"stage of {frames} frames", json.loads(done.stdout.splitlines()[-1]))
    first, last = (figures[str(frames)] for frames in (options.stages[0], options.stages[-1]))
    return {"bytes": figures, "last_over_first": last["peak"] / first["peak"]}


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--head-dim", type=int, default=32)
    parser.add_argument("--side", type=int, default=8, help="latent pixels a side")
    parser.add_argument("--batch", type=int, default=8, help="videos a step, of the shortest")
    parser.add_argument("--segments", type=int, nargs="+", default=[4, 16, 64], help="of a video, for the throughput")
    parser.add_argument("--memory", default="recurrent")
    parser.add_argument("--bptt-segments", type=int, default=2)
    parser.add_argument("--denoise-segments", type=int, default=4, help="of a long video, the last ones")
    parser.add_argument("--stages", type=int, nargs="+", default=[64, 128, 256, 512, 1024], help="video frames")
    parser.add_argument("--parts", nargs="+", choices=("memory", "throughput"), default=["memory", "throughput"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=5, help="matrix products of a size in a round")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--only-stage", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("docs/results/training.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    first = options.segments[0]
    size = Size(options.layers, options.heads, options.head_dim, options.side, options.batch, first)
    if options.only_stage:
        print(json.dumps(stage_memory(replace(size, segments=options.only_stage // TIME_COMPRESSION // 4), options)))
        return
    figures: dict = {
        "settings": {name: value for name, value in vars(options).items() if name not in ("out", "only_stage")}
    }
    if "memory" in options.parts:
        figures["memory"] = stages(options)
    if "throughput" in options.parts:
        figures["throughput"] = {}
        for segments in options.segments:
            longer = replace(size, segments=segments, batch=max(1, options.batch * first // segments))
            frames = f"{longer.frames * TIME_COMPRESSION} frames"
            figures["throughput"][frames] = say(f"throughput, {frames}", throughput(longer, options))
    write(options.out, figures)


if __name__ == "__main__":
    main()
