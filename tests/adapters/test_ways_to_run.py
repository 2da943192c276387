"""A base with a memory runs in the ways in which bases run: offloaded, cast, quantised, by another attention backend."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from diffusers import (
    FasterCacheConfig,
    FirstBlockCacheConfig,
    MagCacheConfig,
    PyramidAttentionBroadcastConfig,
    TaylorSeerCacheConfig,
)
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from torch import Tensor

from malt.adapters import AdaptedTransformer3DModel, add_memory, save_adapter
from malt.adapters.base_hooks import hooks_of
from malt.errors import UsageError
from tiny_bases import TINY_BASES, TinyBase, remember, run

CPU = torch.device("cpu")
Prepare = Callable[[Any], object]


def group_offload(kind: str, base: Any, folder: Path | None = None) -> None:
    """As a user of diffusers turns it on; one block at a time."""
    count = {"num_blocks_per_group": 1} if kind == "block_level" else {}
    base.enable_group_offload(
        onload_device=CPU,
        offload_device=CPU,
        offload_type=kind,
        offload_to_disk_path=None if folder is None else str(folder),
        **count,
    )


OFFLOADS: dict[str, Prepare] = {
    "block": partial(group_offload, "block_level"),
    "leaf": partial(group_offload, "leaf_level"),
    "sequential": partial(cpu_offload, execution_device=CPU),
}


@pytest.fixture(params=TINY_BASES)
def tiny(request: pytest.FixtureRequest) -> TinyBase:
    return TINY_BASES[request.param]


WAN = TINY_BASES["wan"]


def awake(tiny: TinyBase, base: Any = None) -> AdaptedTransformer3DModel:
    """A model whose memory has a say: what reads it behind a block begins at zero."""
    base = tiny.base() if base is None else base
    torch.manual_seed(3)  # the same adapter on every base
    model = tiny.adapted(base)
    for parameter in model.adapter.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@torch.no_grad()
def with_and_without(tiny: TinyBase, prepare: Prepare) -> tuple[Tensor, Tensor]:
    """What a base in this state makes with a memory and without any; the latter must be what it makes by itself."""
    base = tiny.base()
    alone, model = copy.deepcopy(base), awake(tiny, base)
    memory, given = remember(tiny, model), tiny.given()
    prepare(base), prepare(alone)
    empty = run(model, given).velocity
    assert torch.equal(empty, tiny.alone(alone, given))
    return run(model, given, memory).velocity, empty


@pytest.mark.parametrize("way", OFFLOADS)
def test_an_offloaded_base_computes_what_it_did(tiny: TinyBase, way: str) -> None:
    resident, offloaded = (with_and_without(tiny, prepare) for prepare in (lambda base: None, OFFLOADS[way]))
    assert torch.equal(resident[0], offloaded[0]) and torch.equal(resident[1], offloaded[1])


@torch.no_grad()
def test_a_base_may_keep_its_blocks_on_the_disk(tiny: TinyBase, tmp_path: Path) -> None:
    base, given = tiny.base(), tiny.given()
    model = awake(tiny, base)
    memory = remember(tiny, model)
    want = run(model, given, memory).velocity
    group_offload("block_level", base, tmp_path)
    assert torch.equal(run(model, given, memory).velocity, want)


@pytest.mark.parametrize("way", ["block", "sequential"])
@torch.no_grad()
def test_a_saved_adapter_goes_onto_a_base_that_is_offloaded_already_and_a_new_one_does_not(
    way: str, tmp_path: Path
) -> None:
    model, given = WAN.adapted(), WAN.given()
    memory = remember(WAN, model)
    save_adapter(model, tmp_path)
    base = WAN.base()
    OFFLOADS[way](base)
    with pytest.raises(UsageError, match="this base is offloaded, so a new adapter cannot begin from its weights"):
        WAN.adapted(base)
    assert torch.equal(run(add_memory(base, tmp_path), given, memory).velocity, run(model, given, memory).velocity)


def test_weights_may_be_stored_in_eight_bits_and_cast_layer_by_layer(tiny: TinyBase) -> None:
    eight = partial(_cast_layer_by_layer, torch.float8_e4m3fn)
    cast, plain = with_and_without(tiny, eight), with_and_without(tiny, lambda base: None)
    assert not torch.equal(cast[0], cast[1])
    assert torch.allclose(cast[0], plain[0], atol=0.3)


def _cast_layer_by_layer(storage: torch.dtype, base: Any) -> None:
    base.enable_layerwise_casting(storage_dtype=storage, compute_dtype=torch.float32)


def test_a_base_may_be_quantised(tiny: TinyBase) -> None:
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed; pip install torchao")
    quantise = partial(quantization.quantize_, config=quantization.Int8WeightOnlyConfig())
    quantised, plain = with_and_without(tiny, quantise), with_and_without(tiny, lambda base: None)
    assert not torch.equal(quantised[0], quantised[1])
    assert torch.allclose(quantised[0], plain[0], atol=0.1)


def test_what_learns_beside_a_quantised_base_has_gradients() -> None:
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed; pip install torchao")
    base = WAN.base()
    quantization.quantize_(base, quantization.Int8WeightOnlyConfig())
    model = WAN.adapted(base, memory="slots", memory_size=4, memory_width=8, lora_rank=2)
    run(model, WAN.given(), run(model, WAN.given(2, level=0.0)).memory).velocity.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("tiny", ["wan", "cogvideox", "hunyuan-video"], indirect=True)
def test_a_base_may_be_quantised_by_bitsandbytes(tiny: TinyBase, bits: int) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed; pip install bitsandbytes")
    quantised, plain = with_and_without(tiny, partial(_few_bits, bits)), with_and_without(tiny, lambda base: None)
    assert not torch.equal(quantised[0], quantised[1])
    for less, all_bits in zip(quantised, plain, strict=True):
        assert (less - all_bits).std() < 0.5 * all_bits.std()


def _few_bits(bits: int, base: Any) -> None:
    """As diffusers puts bitsandbytes' layers in the place of a block's linear ones, which it does on a GPU alone."""
    from bitsandbytes import nn

    for module in [module for name, module in base.named_modules() if "blocks." in name]:
        for name, linear in module.named_children():
            if type(linear) is not torch.nn.Linear:
                continue
            sizes, biased = (linear.in_features, linear.out_features), linear.bias is not None
            eight = {"has_fp16_weights": False}
            made = nn.Linear8bitLt(*sizes, biased, **eight) if bits == 8 else nn.Linear4bit(*sizes, biased)
            made.bias, weight = linear.bias, linear.weight.data
            kind = partial(nn.Int8Params, **eight) if bits == 8 else partial(nn.Params4bit, quant_type="nf4")
            made.weight = kind(weight, requires_grad=False)
            setattr(module, name, made.to(CPU))


@pytest.fixture
def backend() -> Iterator[str]:
    """A backend of attention that is not the default; diffusers makes it that of the whole process."""
    before = _AttentionBackendRegistry.get_active_backend()[0]
    yield "_native_math"
    _AttentionBackendRegistry.set_active_backend(before)


def test_another_attention_backend_serves_the_memory_too(tiny: TinyBase, backend: str) -> None:
    plain = with_and_without(tiny, lambda base: None)
    other = with_and_without(tiny, lambda base: base.set_attention_backend(backend))
    assert torch.allclose(other[0], plain[0], atol=1e-5)


@torch.no_grad()
def test_a_backend_that_was_set_before_is_that_of_the_memory(backend: str) -> None:
    base = WAN.base()
    base.set_attention_backend(backend)
    model = WAN.adapted(base)
    assert {processor._attention_backend.value for processor in base.attn_processors.values()} == {backend}
    remember(WAN, model)


@torch.no_grad()
def test_a_memory_that_fills_up_needs_no_mask(tiny: TinyBase, monkeypatch: pytest.MonkeyPatch) -> None:
    masks: list[Tensor | None] = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def watched(*heads: Tensor, **more: Any) -> Tensor:
        query, key = heads[:2] if heads else (more["query"], more["key"])
        if key.shape[-2] > query.shape[-2] > 1:  # to captions there are fewer keys; one query sums a caption up
            masks.append(more.get("attn_mask"))
        return attention(*heads, **more)

    model, given = tiny.adapted(), tiny.given()
    memory = remember(tiny, model, segments=1)
    assert not all(state.valid.all() for state in memory)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    run(model, given, memory)
    assert len(masks) >= len(memory) and all(mask is None for mask in masks)


CACHES = {
    "first block": FirstBlockCacheConfig(threshold=0.2),
    "pyramid": PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500
    ),
    "faster": FasterCacheConfig(current_timestep_callback=lambda: 500),
    "mag": MagCacheConfig(mag_ratios=[1.0] * 10, num_inference_steps=10),
    "taylor": TaylorSeerCacheConfig(use_lite_mode=True),
}


def is_cached(base: Any, config: Any) -> bool:
    """Whether the library has such a cache for such a base; it is on then."""
    try:
        base.enable_cache(config)
    except (AttributeError, ValueError):
        return False
    return any(hooks_of(base.modules()))


@pytest.mark.parametrize("cache", CACHES)
@torch.no_grad()
def test_a_cache_between_steps_is_refused(tiny: TinyBase, cache: str) -> None:
    base, given = tiny.base(), tiny.given()
    model = tiny.adapted(base)
    want = run(model, given).velocity
    if not is_cached(base, CACHES[cache]):
        pytest.skip("the library has no such cache for this base")
    with pytest.raises(UsageError, match="a cache between steps would hide what is remembered; call disable_cache"):
        run(model, given)
    base.disable_cache()
    assert torch.equal(run(model, given).velocity, want)


@torch.no_grad()
def test_processors_that_were_changed_behind_its_back_are_refused() -> None:
    tiny = TINY_BASES["cogvideox"]
    base = tiny.base()
    model = tiny.adapted(base)
    base.fuse_qkv_projections()
    with pytest.raises(UsageError, match="the attention processors of this base were changed; set them first"):
        run(model, tiny.given())


# LTX-2 attends from video to sound, of other widths; Mochi has no such method.
@pytest.mark.parametrize("tiny", sorted(TINY_BASES.keys() - {"ltx-2", "mochi"}), indirect=True)
@torch.no_grad()
def test_projections_may_be_fused(tiny: TinyBase) -> None:
    base = tiny.base()
    base.fuse_qkv_projections()
    model, plain, given = awake(tiny, base), awake(tiny), tiny.given()
    memory = remember(tiny, plain)
    assert torch.allclose(run(model, given, memory).velocity, run(plain, given, memory).velocity, atol=1e-5)
