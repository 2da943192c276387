"""A MODEL of ComfyUI that remembers: what it holds, what that does in a step, and how a segment gets into it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from comfy import model_management
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from malt.adapters.adapter import MemoryAdapter
from malt.adapters.memory_pass import MemoryPass
from malt.errors import UsageError
from malt.memory.protocol import Conditions, Layout
from malt.memory.state import Memory, in_half, join, move

from .block_replace import with_blocks
from .native_ltx import ComfyUILTX
from .native_wan import ComfyUIWan
from .segment_keys import Known, keys_of, with_keys

KEY = "malt"  # of what is malt's on a MODEL
OPTIONS = 2  # place of `transformer_options` among the arguments of a network's forward behind the caption
ComfyUIFamily = ComfyUIWan | ComfyUILTX


@dataclass(frozen=True)
class NativeMemory:
    """What a MODEL remembers, a value: a MODEL that remembers something else is another MODEL.

    family: of the network. memory: of the videos whose segments were finished; None before the first. tail: their last
    latents (b, c, s, h, w), as the network sees them, on the CPU. index: how many segments there were.
    """

    family: ComfyUIFamily
    adapter: MemoryAdapter
    context_noise: float
    memory: Memory | None = None
    tail: Tensor | None = None
    index: int = 0

    def before(self, latents: Tensor) -> Tensor:
        """The latents that a segment sees before its own, for all passes of guidance; the same in every step."""
        count = self.adapter.config.context_frames
        if self.tail is None or not count:
            return latents[:, :, :0]
        known = self.tail[:, :, -count:]
        noise = torch.randn(known.shape, generator=torch.Generator().manual_seed(self.index))
        known = (1 - self.context_noise) * known + self.context_noise * noise
        return known.repeat(len(latents) // len(known), 1, 1, 1, 1).to(latents)

    def memories(self, latents: Tensor, layout: Layout) -> Memory:
        """What is remembered, for all passes of guidance, where the network computes."""
        if self.memory is None:
            return in_half(self.adapter.empty(len(latents), layout, latents.float()))
        times = len(latents) // len(self.memory[0].valid)
        return move(join([self.memory] * times), latents.device)

    def check(self, latents: Tensor) -> None:
        """Refuse latents that are no next segment of these videos.

        Raises:
            UsageError: there are more or fewer frames or videos, or they are of another size.
        """
        count, frames = self.adapter.config.segment_frames, latents.shape[2]
        if frames != count:
            raise UsageError(
                f"this memory works in segments of {count} latent frames, not {frames}; "
                f"give the sampler an empty video of length {self.family.length(count)}"
            )
        if self.tail is None:
            return
        videos, *_, height, width = self.tail.shape
        if latents.shape[3:] != (height, width) or len(latents) % videos:
            raise UsageError(
                f"the segments before are {videos} of {width}x{height} latents, this is {len(latents)} of "
                f"{latents.shape[4]}x{latents.shape[3]}; keep batch and size (for prompts of regions set masks, not areas), or "
                "begin with the MODEL of Apply Memory to MODEL"
            )


def segment_length(model: Any) -> int:
    """The `length` of an empty latent video for a segment of a MODEL that `attach` gave."""
    remembered: NativeMemory = model.get_attachment(KEY)
    return remembered.family.length(remembered.adapter.config.segment_frames)


def attach(model: Any, remembered: NativeMemory) -> Any:
    """Another MODEL with the same weights, which remembers this."""
    model = model.clone()
    model.remove_wrappers_with_key(WrappersMP.DIFFUSION_MODEL, KEY)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, partial(_denoise, remembered))
    model.remove_wrappers_with_key(WrappersMP.SAMPLER_SAMPLE, KEY)
    model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, with_keys)
    model.set_attachments(KEY, remembered)
    return model


def remember(model: Any, segment: Tensor, caption: Tensor, told: Mapping[str, Any] | None = None) -> Any:
    """Another MODEL, which remembers a finished segment too.

    Args:
        model: one that `attach` gave.
        segment: latents (b, c, s, h, w) as ComfyUI's samplers give them.
        caption: states (1 or b, n, e) of the text encoder.
        told: what the conditioning holds beside them.

    Raises:
        UsageError: the MODEL has no memory, or the latents are no next segment.
    """
    remembered = model.get_attachment(KEY)
    if not isinstance(remembered, NativeMemory):
        raise UsageError("this MODEL has no memory; put Apply Memory to MODEL before it")
    remembered.check(segment)
    model_management.load_models_gpu([model], model.memory_required(segment.shape))
    latents = model.model.process_latent_in(segment.to(model.load_device))
    made: list[Memory] = []
    options = model.model_options["transformer_options"]
    shown = {name: (told or {}).get(name, usual) for name, usual in remembered.family.conditions.items()}
    write = {WrappersMP.DIFFUSION_MODEL: {KEY: [partial(_write, remembered, made)]}}
    model.model.apply_model(
        latents,
        latents.new_zeros(len(latents)),
        c_crossattn=caption.expand(len(latents), -1, -1),
        **shown,
        transformer_options={**options, "wrappers": write},
    )
    memory = move(in_half(made[0]), torch.device("cpu"))
    return attach(model, replace(remembered, memory=memory, tail=latents.cpu(), index=remembered.index + 1))


def _denoise(
    remembered: NativeMemory,
    run_network: Any,
    latents: Tensor,
    timestep: Tensor,
    context: Tensor,
    *given: Any,
    **more: Any,
) -> Tensor:
    """A step of a sampler: the network's velocity of a segment, which sees the memory and the latents before it."""
    options, base = given[OPTIONS], run_network.class_obj
    family = remembered.family.told(given, more)
    if "context_window" in options:
        raise UsageError("a segment is made as a whole; take Context Windows off, the memory stands in their place")
    remembered.check(latents)
    before = remembered.before(latents)
    count = before.shape[2]
    if count:
        levels = timestep.reshape(len(latents), -1).expand(-1, latents.shape[2])
        low = levels.new_full((len(latents), count), remembered.context_noise * family.noisiest)
        latents, timestep = torch.cat([before, latents], dim=2), torch.cat([low, levels], dim=1)
    layout = _layout(family, base, latents, count)
    if count:
        timestep = family.timesteps(timestep, layout)
    keys = keys_of(remembered.adapter, options, latents)
    known = keys.known or (remembered.memories(latents, layout), None)
    conditions = Conditions(layout, context, family.counting(context, given))
    run = _pass(remembered, family, base, conditions, known)
    velocity = _through(run, run_network, latents, timestep, context, *given, **more)[:, :, count:]
    keys.known = known[0], tuple(result.cache for result in run.finished())
    return velocity


def _write(
    remembered: NativeMemory, made: list[Memory], run_network: Any, latents: Tensor, *given: Any, **more: Any
) -> Tensor:
    """The pass without noise behind a segment; what is remembered after it is put into `made`."""
    timestep, context, *rest = given
    base, family = run_network.class_obj, remembered.family.told(rest, more)
    layout = _layout(family, base, latents, 0)
    conditions = Conditions(layout, context, family.counting(context, rest))
    run = _pass(remembered, family, base, conditions, (remembered.memories(latents, layout), None), update_memory=True)
    velocity = _through(run, run_network, latents, timestep, context, *rest, **more)
    made.append(tuple(result.state for result in run.finished()))
    return velocity


def _pass(
    remembered: NativeMemory,
    family: ComfyUIFamily,
    base: Any,
    conditions: Conditions,
    known: Known,
    update_memory: bool = False,
) -> MemoryPass:
    adapter = remembered.adapter.to(conditions.caption.device)
    return MemoryPass(base, adapter, family, known[0], conditions, known[1], update_memory)


def _layout(family: ComfyUIFamily, base: Any, latents: Tensor, count: int) -> Layout:
    _, rows, columns = family.patch(base)
    return Layout(latents.shape[2], -(-latents.shape[3] // rows), -(-latents.shape[4] // columns), count)


def _through(run: MemoryPass, run_network: Any, *given: Any, **more: Any) -> Tensor:
    """The network's own forward, whose blocks are handed to the pass."""
    told = [*given]
    told[3 + OPTIONS] = with_blocks(told[3 + OPTIONS], run)
    velocity: Tensor = run_network(*told, **more)
    return velocity
