"""Laws of the causal video autoencoder, on a tiny random one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline
from torch import Tensor

import tiny
from malt.data.codec_fingerprint import identify
from malt.models.autoencoder import AutoencoderMalt, Cache, Fold, Unfold

LATENT_FRAMES = 6
CHUNKINGS = [(6,), (1, 5), (5, 1), (2, 2, 2), (1, 1, 1, 1, 1, 1), (3, 1, 2)]


@pytest.fixture(scope="module")
def autoencoder() -> AutoencoderMalt:
    sizes = {"latent_channels": 4, "channels": (4, 6, 8), "encoder_blocks": (1, 2), "decoder_blocks": (2, 1)}
    return tiny.randomised(AutoencoderMalt(**sizes).eval().requires_grad_(False))


def video(seed: int = 0, frames: int = 4 * LATENT_FRAMES, sides: tuple[int, int] = (16, 24)) -> Tensor:
    return torch.rand(2, frames, 3, *sides, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def latents_of(seed: int = 0) -> Tensor:
    return torch.randn(2, LATENT_FRAMES, 4, 2, 3, generator=torch.Generator().manual_seed(seed))


def streamed(
    convert: Callable[[Tensor, Cache | None], tuple[Tensor, Cache]], whole: Tensor, sizes: tuple[int, ...]
) -> Tensor:
    cache, pieces = None, []
    for piece in whole.split(sizes, dim=1):
        converted, cache = convert(piece, cache)
        pieces.append(converted)
    return torch.cat(pieces, dim=1)


@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_streaming_encode_equals_whole_encode(autoencoder: AutoencoderMalt, chunking: tuple[int, ...]) -> None:
    found = streamed(autoencoder.encode, video(), tuple(4 * size for size in chunking))
    torch.testing.assert_close(found, autoencoder.encode(video())[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_streaming_decode_equals_whole_decode(autoencoder: AutoencoderMalt, chunking: tuple[int, ...]) -> None:
    found = streamed(autoencoder.decode, latents_of(), chunking)
    torch.testing.assert_close(found, autoencoder.decode(latents_of())[0], rtol=0, atol=1e-5)


def test_a_cache_is_as_large_after_many_segments_as_after_one(autoencoder: AutoencoderMalt) -> None:
    encoder_caches: list[Cache | None] = [None]
    decoder_caches: list[Cache | None] = [None]
    for n in range(3):
        encoder_caches.append(autoencoder.encode(video(n, frames=8), encoder_caches[-1])[1])
        decoder_caches.append(autoencoder.decode(latents_of(n)[:, : n + 1], decoder_caches[-1])[1])
    for caches in (encoder_caches, decoder_caches):
        sizes = [[tensor.shape for tensor in cache] for cache in caches if cache is not None]
        assert sizes[0] == sizes[1] == sizes[2]


def test_what_comes_later_does_not_change_earlier_latents(autoencoder: AutoencoderMalt) -> None:
    frames, other = video(), video()
    other[:, 12:] = video(1)[:, 12:]
    before, after = (autoencoder.encode(x)[0] for x in (frames, other))
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3] - after[:, 3]).abs().max() > 1e-3


def test_what_comes_later_does_not_change_earlier_frames(autoencoder: AutoencoderMalt) -> None:
    latents, other = latents_of(), latents_of()
    other[:, 3:] = latents_of(1)[:, 3:]
    before, after = (autoencoder.decode(x)[0] for x in (latents, other))
    assert torch.equal(before[:, :12], after[:, :12])
    assert (before[:, 12] - after[:, 12]).abs().max() > 1e-3


def test_what_came_before_changes_later_latents_and_frames(autoencoder: AutoencoderMalt) -> None:
    frames, other = video(), video()
    other[:, :12] = video(1)[:, :12]
    before, after = (autoencoder.encode(x)[0] for x in (frames, other))
    assert (before[:, 3] - after[:, 3]).abs().max() > 1e-4
    latents, other = latents_of(), latents_of()
    other[:, :3] = latents_of(1)[:, :3]
    before, after = (autoencoder.decode(x)[0] for x in (latents, other))
    assert (before[:, 12] - after[:, 12]).abs().max() > 1e-4


def test_latents_are_bounded(autoencoder: AutoencoderMalt) -> None:
    latents, _ = autoencoder.encode(100 * video())
    assert 1.0 < latents.abs().max() <= autoencoder.latent_bound


@pytest.mark.parametrize("sides", [(8, 8), (16, 24)])
def test_frames_become_a_quarter_as_many_latents_of_an_eighth_of_their_size(
    autoencoder: AutoencoderMalt, sides: tuple[int, int]
) -> None:
    latents, _ = autoencoder.encode(video(frames=8, sides=sides))
    assert latents.shape == (2, 2, 4, sides[0] // 8, sides[1] // 8)
    assert autoencoder.decode(latents)[0].shape == (2, 8, 3, *sides)


@pytest.mark.parametrize(("time", "space"), [(4, 4), (1, 2), (2, 1)])
def test_unfolding_undoes_folding(time: int, space: int) -> None:
    folded = 3 * time * space**2
    fold, unfold = Fold(3, folded, time, space), Unfold(folded, 3, time, space)
    for mix in (fold.mix, unfold.mix):
        torch.nn.init.eye_(mix.weight)
    x = torch.randn(1, 3, 8, 8, 12)
    assert torch.equal(unfold.stream(fold.stream(x, None, []), None, []), x)


@pytest.mark.parametrize("frames", [1, 6])
def test_frames_that_make_no_whole_latent_frame_are_refused_in_a_sentence(
    autoencoder: AutoencoderMalt, frames: int
) -> None:
    with pytest.raises(ValueError, match=f"got {frames} frames; the autoencoder takes a multiple of 4"):
        autoencoder.encode(video(frames=frames))


@pytest.mark.parametrize("sides", [(12, 16), (16, 12)])
def test_sides_that_do_not_fit_are_refused_in_a_sentence(autoencoder: AutoencoderMalt, sides: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"got frames of {sides[1]}x{sides[0]}; give sides that are multiples of 8"):
        autoencoder.encode(video(frames=4, sides=sides))


def test_an_autoencoder_that_was_saved_is_the_one_that_is_loaded(tmp_path: Path) -> None:
    sizes = {"latent_channels": 2, "channels": (4, 6, 8), "latent_mean": (0.5, -0.5), "latent_std": (1.0, 2.0)}
    autoencoder = tiny.randomised(AutoencoderMalt(**sizes, latent_bound=2.5))
    autoencoder.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = AutoencoderMalt.from_pretrained(tmp_path)
    assert tuple(loaded.config.latent_mean) == (0.5, -0.5)
    assert tuple(loaded.config.latent_std) == (1.0, 2.0)
    latents, _ = loaded.encode(video(frames=4))
    assert torch.equal(latents, autoencoder.encode(video(frames=4))[0])
    assert torch.equal(loaded.decode(latents)[0], autoencoder.decode(latents)[0])


def test_a_pipeline_of_diffusers_takes_it_and_finds_how_much_it_compresses(
    autoencoder: AutoencoderMalt, tmp_path: Path
) -> None:
    pipeline = WanPipeline(
        tokenizer=None, text_encoder=None, vae=autoencoder, scheduler=FlowMatchEulerDiscreteScheduler()
    )
    assert (pipeline.vae_scale_factor_temporal, pipeline.vae_scale_factor_spatial) == (4, 8)
    autoencoder.save_pretrained(tmp_path)
    assert not any(key.startswith("scale") for key in json.loads((tmp_path / "config.json").read_text()))
    assert identify(AutoencoderMalt.from_pretrained(tmp_path)) == identify(autoencoder)
