"""`AdaptedTransformer3DModel`: a frozen pretrained transformer with a memory, called as malt's own is."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.configuration_utils import FrozenDict
from jaxtyping import Bool, Float
from torch import Tensor, nn

from malt.adapters.adapter import MemoryAdapter
from malt.adapters.base_checks import check_fit, check_ready
from malt.adapters.base_hooks import compute_dtype
from malt.adapters.family import BaseConditions, Family
from malt.adapters.lora import add_lora, keep_active, remove_lora
from malt.adapters.memory_pass import Blocks, MemoryPass
from malt.errors import UsageError
from malt.memory.protocol import Conditions, LayerMemory, Layout
from malt.memory.state import KVCache, Memory
from malt.models.capturing import is_capturing
from malt.models.video_model import TransformerOutput


class AdaptedTransformer3DModel(nn.Module):
    """A base with an adapter attached; `detach` gives the base back as it was.

    Args:
        base: a pretrained transformer of diffusers. It is frozen, and goes on to work by itself.
        adapter: its memory.
        family: what to know of the base's kind.
    """

    action_dim = None
    distilled = None
    boundary = None

    base: Any
    adapter: MemoryAdapter

    def __init__(self, base: nn.Module, adapter: MemoryAdapter, family: Family) -> None:
        super().__init__()
        check_fit(base, adapter, family)
        self.base, self.adapter, self.family = base, adapter, family
        self._modules_of_base = list(base.modules())  # a LoRA adds many, which no pass need look at
        self._learned = [parameter for parameter in base.parameters() if parameter.requires_grad]
        processors = family.processors(base)
        self._own_processors = _swap_processors(base, processors)
        self._attentions = [(base.get_submodule(name), processor) for name, processor in processors.items()]
        base.requires_grad_(False)
        if adapter.config.lora_rank:
            config = adapter.config
            add_lora(base, family, config.lora_rank, config.lora_targets, config.lora_every)
        for name in family.lists:
            getattr(base, name).__class__ = Blocks

    def detach(self) -> nn.Module:
        """Take the adapter off: the base as it was before."""
        remove_lora(self.base)
        _swap_processors(self.base, self._own_processors)
        for name in self.family.lists:
            getattr(self.base, name).__class__ = nn.ModuleList
        for parameter in self._learned:
            parameter.requires_grad_(True)
        base: nn.Module = self.base
        return base

    @property
    def segment_frames(self) -> int:
        """Latent frames in a segment."""
        return int(self.adapter.config.segment_frames)

    @property
    def context_frames(self) -> int:
        """Clean latent frames before a segment that it sees beside its memory."""
        return int(self.adapter.config.context_frames)

    @property
    def patch_size(self) -> tuple[int, int]:
        """Rows and columns of latent pixels in a token."""
        _, rows, columns = self.family.patch(self.base)
        return rows, columns

    @property
    def remembers(self) -> bool:
        """Whether its memory has room for anything."""
        return bool(self.adapter.config.memory != "none")

    @property
    def config(self) -> Any:
        """The adapter's."""
        return FrozenDict(dict(self.adapter.config) | {"action_dim": None})

    @property
    def device(self) -> torch.device:
        """Where the adapter's weights are; where it has none, the base's."""
        weight = next(self.adapter.parameters(), None)
        return torch.device(self.base.device) if weight is None else weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The base's."""
        dtype: torch.dtype = self.base.dtype
        return dtype

    def enable_gradient_checkpointing(self) -> None:
        """Let the base compute its layers, and with them the reads and writes of their memories, again for gradients."""
        self.base.enable_gradient_checkpointing()

    @property
    def blocks(self) -> list[nn.Module]:
        """The base's, in the order in which they run."""
        return [block for name in self.family.lists for block in getattr(self.base, name)]

    def memory_modules(self) -> list[LayerMemory]:
        """The memory of every layer."""
        return [layer.memory for layer in self.adapter.each]

    def empty_memory(self, batch: int, height: int, width: int) -> Memory:
        """A memory in which nothing has been written, for `batch` videos of `height` x `width` latent pixels."""
        layout = self._layout(self.segment_frames, height, width, 0)
        weight = next(self.adapter.parameters(), None)
        dtype = self.dtype if weight is None else weight.dtype
        return self.adapter.empty(batch, layout, torch.empty(0, dtype=dtype, device=self.device))

    def memory_bytes(self, batch: int, height: int, width: int) -> int:
        """What a memory of `batch` videos of `height` x `width` latent pixels takes, in bytes, from shapes alone."""
        return self.adapter.memory_bytes(batch, self._layout(self.segment_frames, height, width, 0))

    def forward(
        self,
        latents: Float[Tensor, "b s c h w"],
        timestep: Float[Tensor, "b s"],
        memory: Memory | None,
        encoder_hidden_states: Float[Tensor, "b n e"],
        encoder_attention_mask: Bool[Tensor, "b n"],
        actions: Float[Tensor, "b s a"] | None = None,
        num_context_frames: int = 0,
        cache: KVCache | None = None,
        update_memory: bool = True,
        added_conditions: Mapping[str, Tensor] | None = None,
    ) -> TransformerOutput:
        """Velocity of every latent frame, and the memory after these frames; as in `MaltTransformer3DModel.forward`.

        Args:
            latents: frames x_t = (1 - t) x_0 + t eps, context first.
            timestep: noise level t of every frame, in [0, 1].
            memory: of the segments before; None for an empty one.
            encoder_hidden_states: the caption, as the base's own text encoder gives it.
            encoder_attention_mask: which of the caption's tokens count.
            actions: None; pretrained bases take none.
            num_context_frames: how many of the first frames belong to the segment that the memory saw last.
            cache: what the step before handed back for the same memory.
            update_memory: False while denoising: the memory then comes back as it was, with a cache for the next step.
            added_conditions: whatever else the base takes, by name, as in `Family.takes`.

        Raises:
            UsageError: for what this base cannot be told or given.
        """
        layout = self._layout(latents.shape[1], latents.shape[3], latents.shape[4], num_context_frames)
        dtype = compute_dtype(self.base, self._modules_of_base)
        told = BaseConditions(encoder_hidden_states, encoder_attention_mask, added_conditions or {}, dtype)
        self._check(timestep, actions, told)
        if memory is None:
            memory = self.empty_memory(len(latents), latents.shape[3], latents.shape[4])
        check_ready(self._modules_of_base, self._attentions)
        keep_active(self.base)
        if self._is_elsewhere(latents.device):  # the base may be offloaded, and say another device than it computes on
            self.adapter.to(latents.device)
        conditions = Conditions(layout, encoder_hidden_states, encoder_attention_mask)
        run = MemoryPass(self.base, self.adapter, self.family, memory, conditions, cache, update_memory)
        with run.running():
            velocity = self.family.call(self.base, latents, timestep, told)
        results = run.finished()
        keeps = not (update_memory or torch.is_grad_enabled())
        return TransformerOutput(
            velocity,
            tuple(result.state for result in results),
            tuple(result.cache for result in results) if keeps else None,
        )

    def _is_elsewhere(self, device: torch.device) -> bool:
        weight = next(self.adapter.parameters(), None)
        return weight is not None and weight.device != device

    def _layout(self, frames: int, height: int, width: int, num_context: int) -> Layout:
        sizes = self.family.patch(self.base)
        for have, step, what in zip((frames, height, width), sizes, ("frames", "rows", "columns"), strict=True):
            if have % step:
                raise UsageError(f"this base takes {step} {what} of latents at a time, not {have}; give a multiple")
        return Layout(frames // sizes[0], height // sizes[1], width // sizes[2], num_context // sizes[0])

    def _check(self, levels: Tensor, actions: Tensor | None, told: BaseConditions) -> None:
        if actions is not None:
            raise UsageError("a pretrained base takes no actions")
        if unknown := told.added.keys() - self.family.takes:
            known = ", ".join(sorted(self.family.takes)) or "nothing more"
            raise UsageError(f"a base of the family {self.family.name} takes no {min(unknown)}; it takes {known}")
        if not self.family.levels_per_frame and _differ(levels):
            raise UsageError(
                f"a base of the family {self.family.name} has one noise level for all frames; give it no clean frames of context"
            )


def _differ(levels: Tensor) -> bool:
    """Whether some frames of a video have another noise level than others, where that can be asked."""
    return not is_capturing() and bool((levels != levels[:, :1]).any())


def _swap_processors(base: Any, processors: Mapping[str, Any]) -> dict[str, Any]:
    """Set attention processors by the names of their modules, each with its predecessor's settings; give back those."""
    before = {}
    for name, processor in processors.items():
        attention = base.get_submodule(name)
        before[name] = attention.processor
        vars(processor).update(vars(attention.processor))
        attention.set_processor(processor)
    return before
