"""A base for adapters: a stock Wan transformer that has learned short clips of `passage`, and nothing of memory.

    python experiments/wan_base.py --out runs/wan-base --minutes 8

It is `WanTransformer3DModel` as diffusers has it, 4 million weights, trained by flow matching on single clips of 8 to 12
latent frames with one noise level a clip, as Wan was. Latents are those of the packaged autoencoder, text states those of
the packaged text encoder with zeros behind them. It runs on a GPU where there is one, in bfloat16; a run that was stopped
goes on where it was. `OUT/pipeline` is a `WanPipeline` in half precision, for `DiffusionPipeline.from_pretrained` where
`malt.models.autoencoder` is imported; `OUT/base.json` says what it cost and how well it draws.
"""

import argparse
import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from malt.codecs.malt import MaltCodec
from malt.data.world_dataset import encode_world
from malt.diffusion.flow import interpolate, logit_normal, velocity
from malt.media.files import replacing, write_whole
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.precision import choose_precision
from malt.training.engine.loop import fit
from malt.training.engine.optimizer import Optimization, build_optimizers
from malt.training.objectives.rng import Generators, StepRandom
from malt.worlds.passage.passage_world import Passage

FIRST_SEED = 30_000_000  # of the scenes that are learned from; nothing is measured on any of them
SCENE_FRAMES = 208
SHORTEST, LONGEST = 8, 12  # latent frames of a clip
NUM_CAPTIONS = 4  # of a scene
NO_CAPTION, BEGINS = 0.12, 0.2  # shares of the clips
WORLD = Passage()


def build_transformer(layers: int = 6, heads: int = 6, ffn: int = 768) -> WanTransformer3DModel:
    """Untrained; every block adds nothing of the text yet, and the velocity is zero."""
    model: WanTransformer3DModel = WanTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=32,
        ffn_dim=ffn,
        num_layers=layers,
        text_dim=128,
        in_channels=16,
        out_channels=16,
    )
    for linear in (*(block.attn2.to_out[0] for block in model.blocks), model.proj_out):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    return model


@torch.no_grad()
def text_states(packaged: MaltPipeline, captions: list[str]) -> Tensor:
    """States (b, n, e) of captions by the packaged encoder, zero where a caption has ended."""
    padded = {"padding": "max_length", "max_length": packaged.tokenizer.model_max_length, "truncation": True}
    states = []
    for first in range(0, len(captions), 1024):
        tokens = packaged.tokenizer(captions[first : first + 1024], **padded, return_tensors="pt").to(packaged.device)
        found = packaged.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        states.append(found * tokens.attention_mask[..., None])
    return torch.cat(states)


@dataclass(frozen=True)
class Scenes:
    """Encoded scenes (v, s, c, h, w), states of different captions, the empty one first, and which are whose (v, k)."""

    latents: Tensor
    states: Tensor
    captions: Tensor


def scenes(packaged: MaltPipeline, count: int, kept: Path) -> Scenes:
    """Render and encode scenes on the device of the packaged models, once for a run; caption each a few times."""
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    if not kept.exists():
        with replacing(kept) as draft:
            save_file({"latents": encode_world(WORLD, packaged.vae, seeds, SCENE_FRAMES, batch_size=64).latents}, draft)
    latents = load_file(kept)["latents"].to(packaged.device)
    told = [WORLD.captions(seeds, [seed * NUM_CAPTIONS + k for seed in seeds]) for k in range(NUM_CAPTIONS)]
    different = ["", *sorted({caption for each in told for caption in each})]
    place = {caption: index for index, caption in enumerate(different)}
    whose = torch.tensor([[place[caption] for caption in each] for each in told], device=packaged.device).T
    return Scenes(latents, text_states(packaged, different), whose)


class SingleClips:
    """A `TrainingObjective`: flow matching of one clip a row, all of its frames at one noise level."""

    def __init__(self, module: WanTransformer3DModel, data: Scenes, batch_size: int, dtype: torch.dtype) -> None:
        self.module, self.data, self.batch_size, self.dtype = module, data, batch_size, dtype

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of the velocity."""
        device = self.data.latents.device
        rng = StepRandom(Generators.on(device).begin(0, step), self.batch_size)
        length = SHORTEST + step % (LONGEST - SHORTEST + 1)
        clean = self._clips(rng, length)
        level, eps = logit_normal(rng.normal(), 0.7), rng.normal(shape=clean.shape[1:])
        noisy = interpolate(clean, eps, level[:, None].expand(-1, length))
        states = self.data.states[self._captions]
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            made = self.module(noisy.transpose(1, 2), 1000 * level, states, return_dict=False)[0].transpose(1, 2)
        return (made.float() - velocity(clean, eps)).square().mean(), {}

    def _clips(self, rng: StepRandom, length: int) -> Tensor:
        videos, frames = self.data.latents.shape[:2]
        video = (rng.uniform() * videos).long()
        start = (rng.uniform() * (frames - length + 1)).long() * (rng.uniform() >= BEGINS)
        which = (rng.uniform() * NUM_CAPTIONS).long()
        self._captions = self.data.captions[video, which] * (rng.uniform() >= NO_CAPTION)
        return self.data.latents[video[:, None], start[:, None] + torch.arange(length, device=video.device)].float()


def seconds_a_step(objective: SingleClips, plan: Optimization) -> float:
    """What a step takes here, measured on a copy."""
    trial = SingleClips(copy.deepcopy(objective.module), objective.data, objective.batch_size, objective.dtype)
    optimizers = build_optimizers(trial.module, plan)
    begun = 0.0
    for step in range(3 + 10):
        if step == 3:
            begun = time.monotonic()
        loss, _ = trial.loss(step)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        loss.detach().cpu()
    return (time.monotonic() - begun) / 10


def planned_steps(objective: SingleClips, plan: Optimization, minutes: float, kept: Path) -> int:
    """How many steps fit into so many minutes; decided once for a run, so that it can be gone on with."""
    if not kept.exists():
        fit_in = max(1, int(minutes * 60 / seconds_a_step(objective, plan)))
        write_whole(kept, json.dumps({"steps": fit_in}))
    return int(json.loads(kept.read_text())["steps"])


def tflop_a_step(objective: SingleClips) -> float:
    """Of the matrix products of a step, averaged over the lengths of the clips."""
    lengths = LONGEST - SHORTEST + 1
    with FlopCounterMode(display=False) as counter:
        for step in range(lengths):
            objective.loss(step)[0].backward()
    objective.module.zero_grad(set_to_none=True)
    return counter.get_total_flops() / lengths / 1e12


def build_pipeline(transformer: WanTransformer3DModel, packaged: MaltPipeline) -> WanPipeline:
    """The base as Wan's own pipeline; the autoencoder streams, so decode its latents with malt."""
    pipeline = WanPipeline(
        tokenizer=packaged.tokenizer,
        text_encoder=packaged.text_encoder,
        vae=packaged.vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        transformer=transformer,
    )
    pipeline.register_to_config(_max_sequence_length=packaged.tokenizer.model_max_length)  # not Wan's 512
    return pipeline


@torch.no_grad()
def drawn(pipeline: WanPipeline, packaged: MaltPipeline, count: int = 32) -> dict[str, float]:
    """What the oracle reads in clips of the base's own pipeline, a frame each on average."""
    captions = WORLD.captions(range(count), range(count))
    latents = pipeline(
        prompt_embeds=text_states(packaged, captions),
        negative_prompt_embeds=text_states(packaged, [""] * count),
        height=64,
        width=64,
        num_frames=4 * SHORTEST - 3,
        num_inference_steps=25,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    ).frames
    frames, _ = MaltCodec(packaged.vae).decode(latents.transpose(1, 2).float())
    signs = [WORLD.oracle.drift(video) for video in frames.float().cpu()]
    return {name: sum(sign[name] for sign in signs) / count for name in signs[0]}


def main() -> None:
    """Train, save the pipeline, and look at what it draws."""
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="of the training")
    parser.add_argument("--steps", type=int, help="instead of minutes")
    parser.add_argument("--batch", type=int, default=256 if on_gpu else 24, help="clips")
    parser.add_argument("--scenes", type=int, default=8192 if on_gpu else 1600)
    parser.add_argument("--compile", action="store_true", help="compile the blocks")
    options = parser.parse_args()
    device = "cuda" if on_gpu else "cpu"
    options.out.mkdir(parents=True, exist_ok=True)
    packaged = load_pipeline().to(device)
    data = scenes(packaged, options.scenes, options.out / "scenes.safetensors")
    torch.manual_seed(0)
    transformer = build_transformer().to(device).train()
    weights = sum(weight.numel() for weight in transformer.parameters())
    objective = SingleClips(transformer, data, options.batch, choose_precision("auto", torch.device(device)))
    tflop = tflop_a_step(objective)
    for block in transformer.blocks if options.compile else ():
        block.compile()
    plan = Optimization(num_steps=1, learning_rate=1.5e-3, muon_learning_rate=1.5e-3)
    steps = options.steps or planned_steps(objective, plan, options.minutes, options.out / "plan.json")
    print(f"{weights:,} weights, {steps} steps of {options.batch} clips, {steps * tflop:.0f} TFLOP", flush=True)
    plan = Optimization(num_steps=steps, learning_rate=1.5e-3, muon_learning_rate=1.5e-3)
    average = fit(objective, plan, options.out / "transformer", save_seconds=60, keep=1)
    average.copy_to(transformer)
    found = drawn(build_pipeline(transformer.eval(), packaged), packaged)
    about = {"weights": weights, "steps": steps, "batch": options.batch, "tflop": round(steps * tflop, 1), **found}
    write_whole(options.out / "base.json", json.dumps(about, indent=1))
    build_pipeline(transformer.half(), packaged.to(dtype=torch.float16)).save_pretrained(options.out / "pipeline")
    print(json.dumps(about), flush=True)


if __name__ == "__main__":
    main()
