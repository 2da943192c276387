"""A memory on a frozen base against the base alone, its rivals and a natively trained memory: recall, drift and cost.

    python benchmarks/adapters.py --base runs/wan-base/pipeline memory=runs/adapters/memory/adapter
        context=runs/adapters/context/adapter anchor=runs/adapters/anchor/adapter native=runs/native/pipeline
        [--device cuda] [--folder runs/adapters/figures] [--out docs/results/adapters.json]

Each is NAME=FOLDER of an adapter on the base (experiments/adapters.py), or of a pipeline with a memory of its own; one called
`anchor` keeps the first frames it has seen in its context. `base` is measured as well: the base alone, a sliding window.
Finished runs are kept in --folder. Several processes share the work: `--only NAME` measures one of them and writes no
figures; when all are done the command without it writes them. `--metrics` measures only some. `--table` measures nothing
more and writes what is there. All at once, training included: experiments/adapters.sh.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from results import write
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from malt.adapters import AdaptedTransformer3DModel, add_memory, read_adapter
from malt.adapters.lora import NAME
from malt.codecs.registry import codec_of
from malt.diffusion.guidance import Guidance
from malt.evaluation.evaluated_model import EvaluatedModel, RolloutModel, evaluated_model_of
from malt.evaluation.evaluation_run import EvaluationRun, Results
from malt.evaluation.metrics.base import Metric
from malt.evaluation.metrics.drift import Drift
from malt.evaluation.metrics.recall import USES, Recall
from malt.evaluation.reference import Naming
from malt.media.files import file_sha256
from malt.pipelines.autoencoder_loading import load_autoencoder
from malt.pipelines.few_steps import FewSteps
from malt.pipelines.loading import load_pipeline
from malt.rollouts.malt import MaltRollout
from malt.training.adapted_base import load_base_transformer
from malt.training.base_text import BaseText
from malt.worlds.passage.passage_world import Passage

ANCHORS, VIEW = 2, 8  # as in experiments/adapters.py
ALONE: dict[str, object] = {"memory": "none", "segment_frames": 4, "context_frames": VIEW}
SAME = "the same segment without memory"
CAPTION = "a red circle and a blue square pass behind a wall"


@dataclass(frozen=True, kw_only=True)
class AnchoredRollout(MaltRollout):
    """Without a memory: behind the first frames of all and the last ones."""

    def _tail(self, before: Tensor | None, latest: Tensor) -> Tensor:
        seen = latest if before is None else torch.cat([before, latest], dim=1)
        recent = seen[:, ANCHORS:]
        return torch.cat([seen[:, :ANCHORS], recent[:, max(0, recent.shape[1] - (VIEW - ANCHORS)) :]], dim=1)


@dataclass(frozen=True)
class Made:
    """A model on the base, and how it makes video."""

    model: AdaptedTransformer3DModel
    rollout: Callable[[list[str]], MaltRollout]


def on_base(name: str, adapter: Path | Mapping[str, object], options: argparse.Namespace) -> Made:
    """The base with an adapter, or with nothing but its own last frames as context, at the noise level of the segment."""
    device = options.device
    model = add_memory(load_base_transformer(options.base, torch.float32), adapter).to(device).eval()
    codec = codec_of(load_autoencoder(options.base).to(device))
    text = BaseText(options.base, torch.float32, device)
    if device != "cpu":
        model.forward = torch.autocast(device, torch.bfloat16)(model.forward)  # as it learned
    kind = AnchoredRollout if name == "anchor" else MaltRollout
    with_memory = options.memory_guidance if model.remembers else 1.0
    few = FewSteps.of(read_adapter(adapter).settings) if isinstance(adapter, Path) else None

    def rollout(captions: list[str]) -> MaltRollout:
        return kind(
            transformer=model,
            codec=codec,
            scheduler=few.scheduler if few else FlowMatchEulerDiscreteScheduler(shift=3.0),
            caption=text(captions),
            uncaptioned=text([""] * len(captions)),
            latent_size=(8, 8),
            guidance=Guidance() if few else Guidance(text=options.guidance, memory=with_memory),
            num_steps=few.num_steps[0] if few else options.steps,
            context_noise=0.05,
            context_follows=not isinstance(adapter, Path),
            begins_alone=True,
            remembers_in_last_step=options.last_step,
        )

    return Made(model, rollout)


def subject(name: str, folder: Path | None, options: argparse.Namespace) -> EvaluatedModel:
    """What is measured; a pipeline of its own where the folder is one."""
    about: dict[str, Any] = {"guidance": options.guidance, "memory_guidance": options.memory_guidance}
    if options.last_step:
        about["memory written"] = "in the last step"
    if folder is not None and (folder / "model_index.json").exists():
        pipe = load_pipeline(folder).to(options.device)
        pipe.register_to_config(guidance_scale=options.guidance, memory_guidance_scale=options.memory_guidance)
        return evaluated_model_of(pipe, called=name, identity=about)
    made = on_base(name, folder or ALONE, options)
    if folder is not None:
        about["adapter"] = {file.name: file_sha256(file) for file in sorted(folder.glob("*.safetensors"))}
    about |= weights(made.model)
    world = Passage()
    return RolloutModel(
        name=name,
        rollout=lambda request: made.rollout(request.captions),
        frame_rate=world.frame_rate,
        frame_size=world.frame_size,
        has_memory=made.model.remembers,
        identity=about,
        device=options.device,
    )


def weights(model: AdaptedTransformer3DModel) -> dict[str, float]:
    """How many weights the adapter has, of how many of the base."""
    lora = sum(weight.numel() for name, weight in model.base.named_parameters() if f".{NAME}." in name)
    own = lora + sum(weight.numel() for weight in model.adapter.parameters())
    base = sum(weight.numel() for weight in model.base.parameters()) - lora
    return {"adapter weights": own, "base weights": base, "adapter weights over the base's": own / base}


def costs(folder: Path, options: argparse.Namespace, times: int = 9) -> dict[str, dict[str, float]]:
    """Of a segment of one video with a full memory, without guidance: seconds (the median, in turns) and operations.

    Without a memory it is the same segment behind as much context, once at the noise levels that the adapter's has (a clean
    context) and once at a single one, as the base learned it.
    """
    plain = argparse.Namespace(**vars(options) | {"guidance": 1.0, "memory_guidance": 1.0, "last_step": False})
    adapted, merged = on_base("adapted", folder, plain), on_base("merged", folder, plain)
    if merged.model.adapter.config.lora_rank:
        merged.model.base.fuse_lora(adapter_names=[NAME])
    same = ALONE | {"context_frames": adapted.model.context_frames}
    ways = {
        SAME: on_base("same", same, plain),
        "at a single noise level": on_base("alone", same, plain),
        "the base as a sliding window": on_base("window", ALONE, plain),
        "with the adapter": adapted,
        "with the adapter, its LoRA merged": merged,
    }
    rollouts = {name: made.rollout([CAPTION]) for name, made in ways.items()}
    rollouts[SAME] = replace(rollouts[SAME], context_follows=False)
    merged_way = "with the adapter, its LoRA merged"
    rollouts[f"{merged_way}, written in the last step"] = replace(rollouts[merged_way], remembers_in_last_step=True)
    states = {name: rollout.begin(0) for name, rollout in rollouts.items()}
    taken: dict[str, list[float]] = {name: [] for name in rollouts}
    for _ in range(12 + times):
        for name, rollout in rollouts.items():
            begun = _clock(options.device)
            states[name] = rollout.advance(states[name])[1]
            taken[name].append(_clock(options.device) - begun)
    found = {name: {"seconds": sorted(each[-times:])[times // 2]} for name, each in taken.items()}
    for name, rollout in rollouts.items():
        with FlopCounterMode(display=False) as counter:
            rollout.advance(states[name])
        found[name]["GFLOP"] = counter.get_total_flops() / 1e9
        found[name] |= {f"{what} over {SAME}": value / found[SAME][what] for what, value in [*found[name].items()]}
    return found


def remembers(folder: Path) -> bool:
    """Whether this is an adapter that has a memory."""
    return (folder / "adapter.json").exists() and read_adapter(folder).adapter["memory"] != "none"


def _clock(device: str) -> float:
    """Seconds of the processor where it computes, which do not count what others do; else those on the wall."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def metrics(options: argparse.Namespace) -> list[Metric]:
    """Recall, and drift at every length."""
    world = Passage()
    found: list[Metric] = [Recall(world=world, per_bin=options.per_bin)]
    told = "" if options.naming == "some" else f"-naming-{options.naming}"
    found += [
        Drift(world=world, num_videos=options.videos, num_frames=n, naming=options.naming, name=f"drift-{n}{told}")
        for n in options.lengths
    ]
    return [metric for metric in found if options.metrics is None or metric.name in options.metrics]


def by_span(results: Results) -> dict[str, dict[str, Any]]:
    """Of every model and use of its memory, the share that comes out the same by hidden span, with its interval."""
    table: dict[str, dict[str, Any]] = {}
    spans = [span.name for span in Passage().oracle.spans]
    for name, found in results["subjects"].items():
        for curve in found["metrics"]["recall"]["curves"] if "recall" in found["metrics"] else []:
            if curve["chart"] == "same" and curve["line"] in USES.values():
                table.setdefault(name, {})[curve["line"]] = dict(zip(spans, curve["points"], strict=True))
    return table


def main() -> None:
    """Measure what is missing, and write the figures unless only one model is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="NAME=FOLDER")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", help="one of the models; writes no figures")
    parser.add_argument("--table", action="store_true", help="write what is there")
    parser.add_argument("--metrics", nargs="+", help="recall, drift-1024, drift-4096, drift-1024-naming-nothing")
    parser.add_argument("--per-bin", type=int, default=64, help="occlusions of each span of hidden frames and seed")
    parser.add_argument("--videos", type=int, default=16, help="of each length")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument(
        "--naming",
        choices=get_args(Naming),
        default="some",
        help="how much captions of drift name; what they do not, a memory alone holds",
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--memory-guidance", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=12, help="but for an adapter that was distilled")
    parser.add_argument("--last-step", action="store_true", help="write the memory in the last denoising step")
    parser.add_argument("--note", default="", help="kept with the figures, as where they were measured")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/adapters/figures"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/adapters.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folders: dict[str, Path | None] = {
        name: Path(folder) for name, _, folder in (text.partition("=") for text in options.models)
    }
    folders["base"] = None
    named = {name: folder for name, folder in folders.items() if options.only in (None, name)}
    study = EvaluationRun(
        world=Passage(),
        models=[subject(name, folder, options) for name, folder in named.items()],
        metrics=metrics(options),
        seeds=options.seeds,
        folder=options.folder,
    )
    study.begin()
    for task in [] if options.table else study.pending():
        print(f"{task.metric.name} of {task.model.name}, seed {task.seed}", flush=True)
        study.run(task)
    if options.only is None:
        results = study.results()
        adapters = {name: folder for name, folder in folders.items() if folder and remembers(folder)}
        found = {name: costs(folder, options) for name, folder in adapters.items()}
        write(
            options.out,
            {"note": options.note, "recall by hidden frames": by_span(results), "a segment": found, **results},
        )


if __name__ == "__main__":
    main()
