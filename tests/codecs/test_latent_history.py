"""Laws of decoders that are made again from the last latents: bit for bit, and from as few as there can be."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from malt.codecs.latent_history import Entries, LatentHistory
from malt.codecs.wan import WanCodec
from malt.rollouts.base import held_bytes

SHALLOW: dict[str, Any] = {"dim_mult": [1, 1], "temperal_downsample": [True], "num_res_blocks": 0}
STATISTICS = {"latents_mean": [0.1, -0.2, 0.0], "latents_std": [0.5, 1.0, 2.0]}


def codec(**settings: Any) -> WanCodec:
    torch.manual_seed(0)
    return WanCodec(AutoencoderKLWan(base_dim=4, z_dim=3, **SHALLOW | STATISTICS | settings).eval())


@pytest.fixture(params=[{}, {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12}])
def wan(request: pytest.FixtureRequest) -> WanCodec:
    return codec(**request.param)


def latents_of(count: int, seed: int = 1) -> Tensor:
    return torch.randn(1, count, 3, 2, 2, generator=torch.Generator().manual_seed(seed))


def streamed(codec: WanCodec, latents: Tensor, rests: bool) -> Iterator[tuple[Tensor, LatentHistory]]:
    """The frames of piece after piece, the cache put to rest after each where `rests`."""
    cache = None
    for piece in latents.split((1, 3, 2, 4, 8, 4, 4, 4), dim=1):
        frames, cache = codec.decode(piece, cache)
        yield frames, cache
        cache = cache.at_rest() if rests else cache


def entries_behind(codec: WanCodec, latents: Tensor) -> Entries:
    entries = codec.decode(latents)[1].entries
    assert entries is not None
    return entries


def equal(one: Entries, other: Entries) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b for a, b in pairs)


def test_going_on_from_a_cache_at_rest_is_going_on_bit_for_bit(wan: WanCodec) -> None:
    latents = latents_of(30)
    assert wan.reach < 30
    for kept, rested in zip(streamed(wan, latents, rests=False), streamed(wan, latents, rests=True), strict=True):
        assert torch.equal(kept[0], rested[0])
        assert equal(kept[1].entries or (), rested[1].entries or ())


def test_a_cache_at_rest_holds_the_last_latents_and_nothing_else(wan: WanCodec) -> None:
    latents = latents_of(30)
    *_, (_, cache) = streamed(wan, latents, rests=False)
    rest = cache.at_rest()
    assert rest.entries is None
    assert rest.first == 0
    assert torch.equal(rest.latents, latents[:, -wan.reach :])


def test_the_reach_is_no_shorter_and_hardly_longer_than_what_the_decoder_depends_on(wan: WanCodec) -> None:
    latents = latents_of(40)
    whole = entries_behind(wan, latents)
    assert equal(entries_behind(wan, latents[:, -wan.reach :]), whole)
    assert not equal(entries_behind(wan, latents[:, -wan.reach + 4 :]), whole)


def test_the_reach_does_not_depend_on_the_weights(wan: WanCodec) -> None:
    before = wan.reach
    for parameter in wan.autoencoder.parameters():
        parameter.data.zero_()
    assert WanCodec(wan.autoencoder).reach == before == 21


@pytest.mark.parametrize(
    "released",
    [
        {},
        {
            "base_dim": 160,
            "decoder_base_dim": 256,
            "z_dim": 48,
            "is_residual": True,
            "patch_size": 2,
            "in_channels": 12,
            "out_channels": 12,
            "latents_mean": [0.0] * 48,
            "latents_std": [1.0] * 48,
        },
    ],
)
def test_the_released_decoders_reach_back_40_latents(released: dict[str, Any]) -> None:
    with torch.device("meta"):
        assert WanCodec(AutoencoderKLWan(**released)).reach == 40


def test_a_snapshot_of_the_released_decoder_takes_16_mb_at_480x832_where_what_it_carries_takes_3_gib() -> None:
    with torch.device("meta"):
        released = WanCodec(AutoencoderKLWan().eval())
        cache = released.decode(torch.zeros(1, 3, 16, 60, 104))[1]
        full = LatentHistory.after(cache, torch.zeros(1, 40, 16, 60, 104), (), released.reach)
    assert held_bytes(full.at_rest()) <= 16e6
    assert held_bytes(cache.entries) > 3.5 * 1024**3
