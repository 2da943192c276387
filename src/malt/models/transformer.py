"""`MaltTransformer3DModel`: a latent video diffusion transformer with memory. One forward, two readings.

Denoise: latents at their noise levels, the memory of the segments before -> velocity.
Remember: a clean segment at noise level 0, the memory before it -> the memory after it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.attention import AttentionMixin
from diffusers.models.cache_utils import CacheMixin
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from malt.memory.poses import dead_reckoning
from malt.memory.protocol import Conditions, LayerMemory, Layout
from malt.memory.registry import Setting, build_memory
from malt.memory.state import KVCache, LayerCache, Memory, State, num_bytes
from malt.models.blocks import BlockOutput, MaltBlock
from malt.models.conditioning import FrameConditioning
from malt.models.step_conditioning import Distilled, StepConditioning
from malt.models.video_model import TransformerOutput


class MaltTransformer3DModel(ModelMixin, ConfigMixin, PeftAdapterMixin, CacheMixin, AttentionMixin):
    """Patchify, blocks, unpatchify, over (b, s, c, h, w) latents of which every frame has a noise level of its own.

    Args:
        in_channels: channels of the latents.
        patch_size: side of the square of latent pixels that is one token.
        num_layers: number of blocks.
        num_attention_heads: heads of each attention.
        attention_head_dim: width of a head; the width of the transformer is heads x head_dim.
        caption_dim: width of the text encoder's states.
        memory: kind of memory, one of `malt.memory.registry.KINDS`.
        memory_size: how much a layer's memory holds (None: the kind's default; `recurrent` is as large as a segment).
        memory_config: settings of the kind by name, as in its config class; they count before `memory_size`.
        segment_frames: latent frames in a segment.
        context_frames: clean latent frames before a segment that it sees beside its memory.
        action_dim: length of a latent frame's action vector, None for a model that takes no actions.
        attention: kind of each layer's attention, repeated to `num_layers`: `space_time` or `space`.
        window_size: (rows, columns) of tokens to which space-time attention is confined; None for the whole frame.
        motion: of a model whose actions are a turn and a step: radians of a turn of 1, and units of length of a step of 1.
        distilled: the scales and the numbers of steps that a model of few steps was made for; None for one that is guided by
            passes of its own.
    """

    boundary = None
    _supports_gradient_checkpointing = True
    _no_split_modules = ["MaltBlock"]
    _repeated_blocks = ["MaltBlock"]

    @register_to_config
    def __init__(
        self,
        *,
        in_channels: int = 16,
        patch_size: int = 2,
        num_layers: int = 6,
        num_attention_heads: int = 8,
        attention_head_dim: int = 32,
        mlp_ratio: float = 3.0,
        caption_dim: int = 128,
        modulation_dim: int = 128,
        memory: str = "recurrent",
        memory_size: int | None = None,
        segment_frames: int = 4,
        context_frames: int = 1,
        action_dim: int | None = None,
        attention: Sequence[str] = ("space_time",),
        window_size: Sequence[int] | None = None,
        memory_config: Mapping[str, Setting] | None = None,
        distilled: Distilled | None = None,
        motion: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        width = num_attention_heads * attention_head_dim
        self.segment_frames, self.context_frames = segment_frames, context_frames
        self.patch_size = patch_size, patch_size
        self.action_dim, self.remembers, self.distilled = action_dim, memory != "none", distilled
        self.motion = (motion[0], motion[1]) if motion else None
        over_time = [_is_over_time(attention[layer % len(attention)]) for layer in range(num_layers)]
        self.patch_embed = nn.Linear(in_channels * patch_size**2, width)
        self.conditioning = FrameConditioning(width, modulation_dim, action_dim, is_moving=bool(motion))
        self.blocks = nn.ModuleList(
            MaltBlock(
                width,
                num_attention_heads,
                caption_dim,
                mlp_ratio,
                build_memory(memory, width, num_attention_heads, memory_size, memory_config)
                if over
                else build_memory("none", width, num_attention_heads),
                over_time=over,
                window=(window_size[0], window_size[1]) if window_size else None,
            )
            for over in over_time
        )
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.proj_out = nn.Linear(width, in_channels * patch_size**2)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)
        self.step_conditioning = StepConditioning(modulation_dim, distilled) if distilled else None
        self.gradient_checkpointing = False

    def empty_memory(self, batch: int, height: int, width: int) -> Memory:
        """A memory in which nothing has been written, for `batch` videos of `height` x `width` latent pixels."""
        layout = self._layout(self.segment_frames, height, width, 0)
        return tuple(memory.empty(batch, layout, self.proj_out.weight) for memory in self.memory_modules())

    def memory_bytes(self, batch: int, height: int, width: int) -> int:
        """Size of such a memory in bytes, as rollouts keep it: two bytes a number."""
        layout, like = self._layout(self.segment_frames, height, width, 0), torch.empty(0, device="meta")
        return num_bytes(tuple(memory.empty(batch, layout, like.half()) for memory in self.memory_modules()))

    def memory_modules(self) -> list[LayerMemory]:
        """The memory of each layer."""
        return [block.memory for block in cast(Iterable[MaltBlock], self.blocks)]

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
        """Velocity of every latent frame, and the memory after these frames.

        Args:
            latents: frames x_t = (1 - t) x_0 + t eps, context first.
            timestep: noise level t of every frame, in [0, 1].
            memory: of the segments before; None for an empty one.
            encoder_hidden_states: the caption, as the text encoder's states.
            encoder_attention_mask: which of the caption's tokens count.
            actions: what was done during every latent frame, for models that take actions.
            num_context_frames: how many of the first frames belong to the segment that the memory saw last.
            cache: what the step before handed back for the same memory and caption, which then need not be attended to anew.
            update_memory: False while denoising: the memory then comes back as it was, with a cache for the next step.
            added_conditions: what a step of a distilled model is told, as `StepConditioning` has it; None for all other passes.

        Raises:
            ValueError: when height or width is not a multiple of the patch size, or there are other conditions.
        """
        step = self._step(added_conditions) if added_conditions else None
        batch, frames, _, height, width = latents.shape
        layout = self._layout(frames, height, width, num_context_frames)
        motion = (
            None if self.motion is None or actions is None else dead_reckoning(actions, self.motion, num_context_frames)
        )
        conditions = Conditions(layout, encoder_hidden_states, encoder_attention_mask, actions, motion)
        memory = self.empty_memory(batch, height, width) if memory is None else memory
        modulation = self.conditioning(timestep, actions, step, motion)
        hidden = self._embed(latents)
        states: list[State] = []
        caches: list[LayerCache | None] = []
        for block, state, known in zip(self.blocks, memory, cache or [None] * len(self.blocks), strict=True):
            hidden, state, known = self._run(block, hidden, modulation, conditions, state, known, update_memory)
            states.append(state)
            caches.append(known)
        velocity = self._unpatchify(self.proj_out(self.norm_out(hidden)), layout)
        made = tuple(known for known in caches if known is not None)
        return TransformerOutput(velocity, tuple(states), None if update_memory else made)

    def _step(self, added: Mapping[str, Tensor]) -> Tensor:
        if self.step_conditioning is None:
            raise ValueError(f"this model takes no {', '.join(added)}; give it a caption and actions alone")
        embedded: Tensor = self.step_conditioning(added)
        return embedded

    def _embed(self, latents: Tensor) -> Tensor:
        """Tokens; under autocast in float32, as what leaves a block is there, so that all blocks are compiled as one."""
        hidden: Tensor = self.patch_embed(self._patchify(latents))
        return hidden.to(latents.dtype) if torch.is_autocast_enabled(latents.device.type) else hidden

    def _run(self, block: nn.Module, *arguments: object) -> BlockOutput:
        checkpointing = torch.is_grad_enabled() and self.gradient_checkpointing
        output = self._gradient_checkpointing_func(block, *arguments) if checkpointing else block(*arguments)
        return cast(BlockOutput, output)

    def _layout(self, frames: int, height: int, width: int, num_context: int) -> Layout:
        rows, columns = self.patch_size
        if height % rows or width % columns:
            raise ValueError(f"latents of {width}x{height} cannot be cut into patches of {rows}; pad or resize")
        return Layout(frames, height // rows, width // columns, num_context)

    def _patchify(self, latents: Tensor) -> Tensor:
        sizes = dict(zip("pq", self.patch_size, strict=True))
        return rearrange(latents, "b s c (h p) (w q) -> b (s h w) (p q c)", **sizes).to(self.patch_embed.weight.dtype)

    def _unpatchify(self, tokens: Tensor, layout: Layout) -> Tensor:
        sizes = dict(zip("pq", self.patch_size, strict=True)) | {"h": layout.rows, "w": layout.columns}
        return rearrange(tokens, "b (s h w) (p q c) -> b s c (h p) (w q)", **sizes)


def _is_over_time(attention: str) -> bool:
    if attention not in ("space_time", "space"):
        raise ValueError(f"there is no attention called {attention!r}; choose space_time or space")
    return attention == "space_time"
