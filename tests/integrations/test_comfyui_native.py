"""Laws of a memory on ComfyUI's own MODEL, in ComfyUI's own code: tiny bases, the same weights there and in diffusers.

They run where ComfyUI can be imported: PYTHONPATH=ComfyUI python -m pytest tests/integrations/test_comfyui_native.py
"""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTXVideoTransformer3DModel, WanTransformer3DModel
from torch import Tensor

from malt.adapters import AdaptedTransformer3DModel, add_memory, save_adapter
from malt.errors import UsageError
from malt.memory.state import Memory, in_half, join
from tiny_comfyui import PACK

pytestmark = pytest.mark.skipif(
    find_spec("comfy") is None, reason="no ComfyUI: put its folder into PYTHONPATH, and take its Python"
)
FRAMES, SIDE, TEXT = 2, 4, 6
SIGMAS = torch.tensor([1.0, 0.7, 0.3, 0.0])
GUIDANCE = 3.0
SIZES = {"attention_head_dim": 128, "text_dim": 4096, "freq_dim": 256}  # which ComfyUI takes for granted
LTX_SIZES: dict[str, Any] = {
    "in_channels": 128,
    "out_channels": 128,
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "cross_attention_dim": 48,
    "num_layers": 3,
    "caption_channels": 4096,
}
KINDS = {
    "hierarchical": {"memory": "hierarchical", "memory_size": 2},
    "slots": {"memory": "slots", "memory_size": 4, "memory_width": 32},
    "behind each block": {"memory": "hierarchical", "memory_size": 2, "memory_width": 32, "read": "behind"},
    "frames before": {"memory": "slots", "memory_size": 4, "memory_width": 32, "context_frames": 1},
    "a LoRA": {"memory": "hierarchical", "memory_size": 1, "every": 2, "context_frames": 2, "lora_rank": 2},
}


@dataclass
class Native:
    """ComfyUI's modules, the pack's, and a folder for adapters."""

    folder: Path
    base: Any
    memory: Any
    sample: Any
    sd: Any

    def model(self, transformer: WanTransformer3DModel) -> Any:
        """A MODEL of these weights, under ComfyUI's names, by ComfyUI's loader."""
        if isinstance(transformer, LTXVideoTransformer3DModel):
            return self._ltx(transformer)
        from comfy.ldm.wan.model import WanModel
        from comfy.ops import manual_cast
        from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

        config = transformer.config
        sizes = {"dim": 128 * config.num_attention_heads, "num_heads": config.num_attention_heads}
        sizes |= {"ffn_dim": config.ffn_dim, "num_layers": config.num_layers, "in_dim": config.in_channels}
        names = {name: name for name in WanModel(**sizes, device="meta", operations=manual_cast).state_dict()}
        theirs = convert_wan_transformer_to_diffusers(names)
        weights = {theirs[name]: tensor.clone() for name, tensor in transformer.state_dict().items()}
        return self.sd.load_diffusion_model_state_dict(weights, model_options={"dtype": torch.float32})

    def _ltx(self, transformer: LTXVideoTransformer3DModel) -> Any:
        renamed = {"proj_in": "patchify_proj", "time_embed": "adaln_single", "norm_q": "q_norm", "norm_k": "k_norm"}
        weights = {}
        for name, tensor in transformer.state_dict().items():
            for theirs, ours in renamed.items():
                name = name.replace(theirs, ours)
            weights[name] = tensor.clone()
        config = {name: getattr(transformer.config, name) for name in LTX_SIZES}
        about = {"config": json.dumps({"transformer": config})}
        return self.sd.load_diffusion_model_state_dict(weights, {"dtype": torch.float32}, metadata=about)

    def segment(self, model: Any, number: int, videos: int = 1, shown: Any = None, frames: int = FRAMES) -> Tensor:
        """A segment by ComfyUI's Euler sampler, with guidance."""
        channels = model.model.latent_format.latent_channels
        empty = torch.zeros(videos, channels, frames, SIDE, SIDE)
        given = {"cfg": GUIDANCE, "sampler_name": "euler", "scheduler": "simple", "sigmas": SIGMAS}
        conditions = (shown or [[caption(0), told_of(0)]], [[caption(1), told_of(1)]])
        latents: Tensor = self.sample.sample(
            model, noise(number, videos, frames, channels), 3, given.pop("cfg"), given.pop("sampler_name"),
            given.pop("scheduler"), *conditions, empty, disable_pbar=True, **given,
        )  # fmt: skip
        return latents


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    from comfy.cli_args import args

    args.cpu = True
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PACK.parent))
        base, memory = (importlib.import_module(f"comfyui.native_{name}") for name in ("base", "memory"))
    sample, sd = (importlib.import_module(f"comfy.{name}") for name in ("sample", "sd"))
    return Native(tmp_path_factory.mktemp("adapters"), base, memory, sample, sd)


def tiny(**sizes: Any) -> WanTransformer3DModel:
    torch.manual_seed(0)
    given = {"num_attention_heads": 2, "ffn_dim": 64, "num_layers": 3, "rope_max_seq_len": 64} | SIZES | sizes
    base = WanTransformer3DModel(**given).eval()
    for parameter in base.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return base


def tiny_ltx() -> LTXVideoTransformer3DModel:
    torch.manual_seed(0)
    return LTXVideoTransformer3DModel(**LTX_SIZES).eval()


def adapted(
    native: Native, name: str, context_noise: float = 0.0, make: Callable[[], Any] = tiny
) -> tuple[AdaptedTransformer3DModel, Path]:
    """A base with a memory as if it had learned something, and the folder of that."""
    torch.manual_seed(1)
    model = add_memory(make(), {"segment_frames": FRAMES} | KINDS[name])
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    folder = native.folder / make.__name__ / name
    save_adapter(model, folder, "the/base", {"context_noise": context_noise})
    return model, folder


def noise(number: int, videos: int = 1, frames: int = FRAMES, channels: int = 16) -> Tensor:
    return torch.randn(videos, channels, frames, SIDE, SIDE, generator=torch.Generator().manual_seed(number))


def caption(number: int) -> Tensor:
    """Of so many words and padding of zeros, as ComfyUI's text encoder of Wan gives it."""
    states = torch.randn(1, TEXT, 4096, generator=torch.Generator().manual_seed(70 + number))
    states[:, TEXT - number :] = 0
    return states


def told_of(number: int) -> dict[str, Tensor]:
    """Which of its words count, which LTX is told."""
    return {"attention_mask": caption(number).any(dim=-1).int()}


class Expected:
    """The same sampler on diffusers' base with malt's own adapter."""

    def __init__(self, model: AdaptedTransformer3DModel) -> None:
        self.model, self.memory, self.tail = (
            model,
            self._nothing(model),
            torch.zeros(1, 0, model.base.config.in_channels, SIDE, SIDE),
        )

    @staticmethod
    def _nothing(model: AdaptedTransformer3DModel) -> Memory:
        return in_half(model.empty_memory(1, SIDE, SIDE))

    def step(self, latents: Tensor, level: float, number: int) -> Tensor:
        """The velocity of a segment under guidance."""
        before = self.tail[:, self.tail.shape[1] - min(self.tail.shape[1], self.model.context_frames) :]
        count, states = before.shape[1], torch.cat([caption(0), caption(1)])
        video = torch.cat([before, latents], dim=1).expand(2, -1, -1, -1, -1)
        levels = torch.tensor([0.0] * count + [level] * FRAMES).expand(2, -1)
        memory, mask = join([self.memory, self.memory]), states.any(dim=-1)
        made = self.model(video, levels, memory, states, mask, num_context_frames=count, update_memory=False)
        shown, empty = made.velocity[:, count:]
        return (empty + GUIDANCE * (shown - empty))[None]

    def segment(self, number: int) -> Tensor:
        """A segment, as the network sees it, which is remembered then."""
        latents = noise(number, channels=self.model.base.config.in_channels).movedim(1, 2)
        for level, after in zip(SIGMAS[:-1].tolist(), SIGMAS[1:].tolist(), strict=True):
            latents = latents + (after - level) * self.step(latents, level, number)
        made = self.model(latents, torch.zeros(1, FRAMES), self.memory, caption(0), caption(0).any(dim=-1))
        self.memory, self.tail = in_half(made.memory), latents
        return latents


@pytest.mark.parametrize("make", [tiny, tiny_ltx], ids=["wan", "ltx"])
@pytest.mark.parametrize("name", KINDS)
@torch.inference_mode()
def test_comfyui_makes_what_the_base_in_diffusers_makes_with_its_memory(
    native: Native, name: str, make: Callable[[], Any]
) -> None:
    reference, folder = adapted(native, name, make=make)
    expected = Expected(reference)
    model = native.base.with_memory(native.model(make()), folder)
    alone = native.segment(native.model(make()), 3)
    for number in range(4):
        latents = native.segment(model, number)
        assert torch.allclose(model.model.process_latent_in(latents).movedim(1, 2), expected.segment(number), atol=2e-4)
        if number == 3:
            assert not torch.allclose(latents, alone, atol=2e-3)
        model = native.memory.remember(model, latents, caption(0), told_of(0))


@pytest.mark.parametrize("make", [tiny, tiny_ltx], ids=["wan", "ltx"])
@torch.inference_mode()
def test_an_empty_memory_changes_no_bit_and_the_model_that_was_given_stays_without(
    native: Native, make: Callable[[], Any]
) -> None:
    _, folder = adapted(native, "slots", make=make)
    alone = native.model(make())
    expected = native.segment(alone, 5)
    model = native.base.with_memory(alone, folder)
    assert torch.equal(native.segment(model, 5), expected)
    native.memory.remember(model, expected, caption(0), told_of(0))
    assert torch.equal(native.segment(alone, 5), expected)


@torch.inference_mode()
def test_a_model_wired_into_two_samplers_has_two_futures_and_stays_what_it_was(native: Native) -> None:
    _, folder = adapted(native, "frames before")
    past = native.base.with_memory(native.model(tiny()), folder)
    past = native.memory.remember(past, native.segment(past, 0), caption(0))
    first = native.segment(past, 1)
    native.memory.remember(past, native.segment(past, 2), caption(1))
    assert torch.equal(native.segment(past, 1), first)


@torch.inference_mode()
def test_several_videos_are_remembered_each_by_itself(native: Native) -> None:
    _, folder = adapted(native, "frames before")
    both = native.base.with_memory(native.model(tiny()), folder)
    made = native.segment(both, 0, videos=2)
    both = native.memory.remember(both, made, caption(0))
    one = native.base.with_memory(native.model(tiny()), folder)
    one = native.memory.remember(one, made[1:], caption(0))
    assert torch.equal(both.get_attachment("malt").memory[0].tokens[1:], one.get_attachment("malt").memory[0].tokens)
    assert native.segment(both, 1, videos=2).isfinite().all()
    with pytest.raises(UsageError, match="the segments before are 2 of 4x4 latents, this is 1 of 4x4; keep batch"):
        native.memory.remember(both, made[:1], caption(0))


@torch.inference_mode()
def test_the_noise_on_frames_before_is_the_same_in_every_step(native: Native) -> None:
    _, folder = adapted(native, "frames before", context_noise=0.3)
    model = native.base.with_memory(native.model(tiny()), folder)
    model = native.memory.remember(model, native.segment(model, 0), caption(0))
    kept, like = model.get_attachment("malt"), torch.zeros(2, 16, FRAMES, SIDE, SIDE)
    shown = kept.before(like)
    assert torch.equal(shown, kept.before(like))
    assert torch.equal(shown[0], shown[1])
    assert not torch.allclose(shown[:1], kept.tail[:, :, -1:], atol=0.1)
    assert torch.equal(native.segment(model, 1), native.segment(model, 1))


@torch.inference_mode()
def test_keys_of_what_is_remembered_are_made_once_a_segment(native: Native, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = adapted(native, "hierarchical")
    model = native.base.with_memory(native.model(tiny()), folder)
    model = native.memory.remember(model, native.segment(model, 0), caption(0))
    family, made = importlib.import_module("comfyui.native_wan").ComfyUIWan, []
    project = family.keys_values

    def counted(*given: object) -> object:
        made.append(1)
        return project(*given)

    monkeypatch.setattr(family, "keys_values", staticmethod(counted))
    shared = native.segment(model, 1)
    layers = len(model.model.diffusion_model.blocks)
    assert len(made) == layers
    model.remove_wrappers_with_key("sampler_sample", "malt")
    assert torch.equal(native.segment(model, 1), shared)
    assert len(made) == layers + layers * (len(SIGMAS) - 1)


@torch.inference_mode()
def test_prompts_of_regions_are_told_by_masks(native: Native) -> None:
    _, folder = adapted(native, "hierarchical")
    model = native.base.with_memory(native.model(tiny()), folder)
    model = native.memory.remember(model, native.segment(model, 0), caption(0))
    whole = native.segment(model, 1)
    left = torch.zeros(1, 8 * SIDE, 8 * SIDE)
    left[..., : 4 * SIDE] = 1
    halves = [[caption(0), {"mask": left}], [caption(0), {"mask": 1 - left}]]
    assert torch.allclose(native.segment(model, 1, shown=halves), whole, atol=1e-4)
    area = [[caption(0), {"area": (SIDE, SIDE // 2, 0, 0)}]]
    with pytest.raises(UsageError, match="for prompts of regions set masks, not areas"):
        native.segment(model, 1, shown=area)


@torch.inference_mode()
def test_context_windows_are_refused_in_a_sentence(native: Native) -> None:
    windows = importlib.import_module("comfy.context_windows")
    _, folder = adapted(native, "hierarchical")
    model = native.base.with_memory(native.model(tiny()), folder)
    schedule = windows.get_matching_context_schedule(windows.ContextSchedules.STATIC_STANDARD)
    fuse = windows.get_matching_fuse_method(windows.ContextFuseMethods.PYRAMID)
    model.model_options["context_handler"] = windows.IndexListContextHandler(
        schedule, fuse, context_length=FRAMES, context_overlap=1, dim=2
    )
    windows.create_prepare_sampling_wrapper(model)
    with pytest.raises(UsageError, match="a segment is made as a whole; take Context Windows off"):
        native.segment(model, 0, frames=2 * FRAMES)


@torch.inference_mode()
def test_ltx_beside_a_memory_takes_its_frame_rate_and_no_image(native: Native) -> None:
    _, folder = adapted(native, "hierarchical", make=tiny_ltx)
    model = native.base.with_memory(native.model(tiny_ltx()), folder)
    model = native.memory.remember(model, native.segment(model, 0), caption(0), told_of(0))
    slower = [[caption(0), told_of(0) | {"frame_rate": 8.0}]]
    assert not torch.equal(native.segment(model, 1, shown=slower), native.segment(model, 1))
    image = [[caption(0), told_of(0) | {"concat_mask": torch.ones(1, 1, FRAMES, SIDE, SIDE)}]]
    with pytest.raises(UsageError, match="takes no images beside a memory here; begin with an empty latent video"):
        native.segment(model, 1, shown=image)


@torch.inference_mode()
def test_what_does_not_fit_is_refused_in_a_sentence(native: Native) -> None:
    _, folder = adapted(native, "slots")
    alone = native.model(tiny())
    model = native.base.with_memory(alone, folder)
    with pytest.raises(UsageError, match="this MODEL has no memory; put Apply Memory to MODEL before it"):
        native.memory.remember(alone, noise(0), caption(0))
    with pytest.raises(
        UsageError, match="segments of 2 latent frames, not 1; give the sampler an empty video of length 5"
    ):
        native.memory.remember(model, noise(0)[:, :, :1], caption(0))
    with pytest.raises(
        UsageError, match="the adapter was made for the/base, whose ffn_dim is 64, not 32; load that base"
    ):
        native.base.with_memory(native.model(tiny(ffn_dim=32)), folder)
    with pytest.raises(
        UsageError,
        match=r"made for WanTransformer3DModel \(the/base\), not for LTX-Video 0.9.0 and 0.9.1 of text to video",
    ):
        native.base.with_memory(native.model(tiny_ltx()), folder)
    later = native.model(tiny_ltx())
    later.model.diffusion_model.causal_temporal_positioning = True  # as 0.9.5 has it
    with pytest.raises(UsageError, match="LTXV takes no memory here, only Wan 2.1 and 2.2"):
        native.base.with_memory(later, folder)
    with pytest.raises(
        UsageError, match="WAN21 takes no memory here, only Wan 2.1 and 2.2 of text to video and LTX-Video 0.9.0 and"
    ):
        native.base.with_memory(native.model(tiny(in_channels=36)), folder)
