"""Laws of the codec seam, held by every codec, and of what each codec adds to its library's autoencoder."""

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, TypeVar, cast

import pytest
import torch
from accelerate import cpu_offload
from diffusers import (
    AutoencoderKL,
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLLTX2Video,
    AutoencoderKLLTXVideo,
    AutoencoderKLMochi,
    AutoencoderKLWan,
    AutoencoderTiny,
)
from torch import Tensor, nn

from malt.codecs.base import Codec, most_latents
from malt.codecs.cogvideox import CogVideoXCodec
from malt.codecs.mochi import MochiCodec
from malt.codecs.overlap import OverlapCodec
from malt.codecs.registry import codec_of
from malt.models.autoencoder import AutoencoderMalt

Autoencoder = TypeVar("Autoencoder", bound=nn.Module)


def malt() -> AutoencoderMalt:
    return AutoencoderMalt(
        latent_channels=4, channels=(4, 8, 8), latent_mean=(0.1, -0.2, 0.0, 0.3), latent_std=(0.5, 1.0, 2.0, 1.5)
    )


def image() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 8),
        norm_num_groups=2,
        latent_channels=4,
        scaling_factor=0.5,
        shift_factor=0.25,
    )


def tiny() -> AutoencoderTiny:
    channels, blocks = (4, 4), (1, 1)
    return AutoencoderTiny(
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        num_encoder_blocks=blocks,
        num_decoder_blocks=blocks,
        scaling_factor=2.0,
        shift_factor=-0.5,
    )


def wan(**settings: Any) -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        **{"latents_mean": [0.1, -0.2, 0.0, 0.3], "latents_std": [0.5, 1.0, 2.0, 1.5]} | settings,
    )


def wan_2_2() -> AutoencoderKLWan:
    return wan(is_residual=True, patch_size=2, in_channels=12, out_channels=12)


def cogvideox() -> AutoencoderKLCogVideoX:
    widths = {"block_out_channels": (4, 4, 4, 4), "latent_channels": 2, "layers_per_block": 1}
    return AutoencoderKLCogVideoX(**widths, norm_num_groups=2, scaling_factor=0.7)


def shallow_cogvideox() -> AutoencoderKLCogVideoX:
    widths = {"block_out_channels": (4, 4), "latent_channels": 2, "layers_per_block": 1}
    blocks = {"down_block_types": ("CogVideoXDownBlock3D",) * 2, "up_block_types": ("CogVideoXUpBlock3D",) * 2}
    return AutoencoderKLCogVideoX(**widths | blocks, norm_num_groups=2, temporal_compression_ratio=2)


def ltx(**settings: Any) -> AutoencoderKLLTXVideo:
    widths = {"block_out_channels": (4, 4), "decoder_block_out_channels": (4, 4), "latent_channels": 4}
    blocks = {"layers_per_block": (1, 1, 1), "decoder_layers_per_block": (1, 1, 1)}
    scaling = {"spatio_temporal_scaling": (True, False), "decoder_spatio_temporal_scaling": (True, False)}
    halves = {"downsample_type": ("conv",) * 2, "upsample_residual": (False,) * 2, "upsample_factor": (1, 1)}
    down = {"down_block_types": ("LTXVideoDownBlock3D",) * 2, "decoder_inject_noise": (False,) * 3}
    autoencoder = AutoencoderKLLTXVideo(**widths | blocks | scaling | halves | down | settings)
    autoencoder.latents_mean.copy_(torch.tensor([0.1, -0.2, 0.0, 0.3]))
    return autoencoder


def ltx_noisy() -> AutoencoderKLLTXVideo:
    return ltx(timestep_conditioning=True, decoder_inject_noise=(True, False, False))


def ltx_2() -> AutoencoderKLLTX2Video:
    widths = {"block_out_channels": (8, 8), "decoder_block_out_channels": (8,), "latent_channels": 4}
    blocks = {"layers_per_block": (1, 1, 1), "decoder_layers_per_block": (1, 1), "decoder_inject_noise": (False,) * 2}
    down = {"down_block_types": ("LTX2VideoDownBlock3D",) * 2, "downsample_type": ("spatiotemporal", "spatial")}
    up = {"upsample_type": ("spatiotemporal",), "upsample_residual": (True,), "upsample_factor": (2,)}
    scaling = {"spatio_temporal_scaling": (True, False), "decoder_spatio_temporal_scaling": (True,)}
    ratios = {"spatial_compression_ratio": 8, "temporal_compression_ratio": 2}
    return AutoencoderKLLTX2Video(**widths | blocks | down | up | scaling | ratios)


def hunyuan() -> AutoencoderKLHunyuanVideo:
    widths = {"block_out_channels": (4, 4, 4, 4), "latent_channels": 2, "layers_per_block": 1, "norm_num_groups": 2}
    return AutoencoderKLHunyuanVideo(**widths)


def hunyuan_15() -> AutoencoderKLHunyuanVideo15:
    return AutoencoderKLHunyuanVideo15(block_out_channels=(8,) * 5, latent_channels=2, layers_per_block=1)


def mochi() -> AutoencoderKLMochi:
    widths = {"encoder_block_out_channels": (32, 32), "decoder_block_out_channels": (32, 32), "latent_channels": 4}
    layers = {"layers_per_block": (1, 1, 1), "temporal_expansions": (3,), "spatial_expansions": (2,)}
    statistics = {"latents_mean": (0.1, -0.2, 0.0, 0.3), "latents_std": (0.5, 1.0, 2.0, 1.5)}
    return AutoencoderKLMochi(
        **widths | layers | statistics, add_attention_block=(False, True, True), scaling_factor=0.7
    )


EXACT = [malt, image, tiny, wan, wan_2_2, cogvideox]
AUTOENCODERS = [*EXACT, ltx, ltx_noisy, ltx_2, hunyuan, hunyuan_15, mochi]


@pytest.fixture(params=AUTOENCODERS, ids=lambda build: build.__name__)
def codec(request: pytest.FixtureRequest) -> Codec:
    return codec_of(randomised(request.param))


@pytest.fixture(params=EXACT, ids=lambda build: build.__name__)
def exact(request: pytest.FixtureRequest) -> Codec:
    return codec_of(randomised(request.param))


def pieces(codec: Codec) -> tuple[int, int, int]:
    """Latent frames of three segments."""
    return (2, 1, 3) if codec.latent_group == 1 else (3, 2, 4)


def randomised(build: Callable[[], Autoencoder]) -> Autoencoder:
    """Weights of which none is silent."""
    torch.manual_seed(0)
    autoencoder = build().eval()
    for parameter in autoencoder.parameters():
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.3)
    return autoencoder


def video_of(codec: Codec, num_latents: int = 0, seed: int = 1, batch: int = 1) -> Tensor:
    frames = codec.frames_of(num_latents or sum(pieces(codec)), first=True)
    return torch.rand(batch, frames, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def cut(codec: Codec, video: Tensor) -> list[Tensor]:
    """The video in segments of `pieces` latent frames."""
    ends = [0] + [codec.frames_of(end, first=True) for end in accumulate(pieces(codec))]
    return [video[:, start:end] for start, end in pairwise(ends)]


def streamed(convert: Callable[[Tensor, Any], tuple[Tensor, Any]], pieces: list[Tensor]) -> Tensor:
    cache, converted = None, []
    for piece in pieces:
        result, cache = convert(piece, cache)
        converted.append(result)
    return torch.cat(converted, dim=1)


def test_latents_are_as_many_and_as_large_as_the_codec_says(codec: Codec) -> None:
    video = video_of(codec, batch=2)
    latents, _ = codec.encode(video)
    side = 16 // codec.space_compression
    assert latents.shape == (2, sum(pieces(codec)), codec.latent_channels, side, side)
    assert codec.decode(latents)[0].shape == video.shape


def test_frames_of_speaks_of_the_frames_that_decode_returns(codec: Codec) -> None:
    cache = None
    for num_latents in pieces(codec):
        latents = torch.zeros(1, num_latents, codec.latent_channels, 4, 4)
        first = cache is None
        frames, cache = codec.decode(latents, cache)
        assert frames.shape[1] == codec.frames_of(num_latents, first=first)
        if codec.time_compression == 1:
            break
    assert codec.frames_of(4, first=False) == 4 * codec.time_compression
    assert codec.frames_of(0, first=True) == 0


def test_encoding_segment_after_segment_gives_what_encoding_the_whole_gives(exact: Codec) -> None:
    codec = exact
    video = video_of(codec)
    torch.testing.assert_close(streamed(codec.encode, cut(codec, video)), codec.encode(video)[0], rtol=0, atol=1e-5)


def test_decoding_segment_after_segment_gives_what_decoding_the_whole_gives(exact: Codec) -> None:
    codec = exact
    latents, _ = codec.encode(video_of(codec))
    torch.testing.assert_close(
        streamed(codec.decode, list(latents.split(pieces(codec), dim=1))), codec.decode(latents)[0], rtol=0, atol=1e-5
    )


def test_two_sessions_on_one_module_do_not_disturb_each_other(codec: Codec) -> None:
    videos = [video_of(codec, seed=1), video_of(codec, seed=2)]
    alone = [streamed(codec.encode, cut(codec, video)) for video in videos]
    seen_alone = [streamed(codec.decode, list(latents.split(pieces(codec), dim=1))) for latents in alone]
    caches: list[Any] = [None] * 4
    for n, (start, end) in enumerate(pairwise(accumulate(pieces(codec), initial=0))):
        for session, video in enumerate(videos):
            latents, caches[session] = codec.encode(cut(codec, video)[n], caches[session])
            frames, caches[2 + session] = codec.decode(latents, caches[2 + session])
            assert torch.equal(latents, alone[session][:, start:end])
            assert torch.equal(frames, cut(codec, seen_alone[session])[n])


def test_a_cache_handed_to_two_branches_stays_unharmed(codec: Codec) -> None:
    head, *_ = cut(codec, video_of(codec))
    latents, behind = codec.encode(head)
    _, shown = codec.decode(latents)
    tails = [video_of(codec, seed=seed)[:, -codec.frames_of(2, first=False) :] for seed in (3, 4)]
    once, other, again = (codec.encode(tail, behind)[0] for tail in (*tails, tails[0]))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    first, _, second = (codec.decode(latents, shown)[0] for latents in (once, other, again))
    assert torch.equal(first, second)


def test_encoding_knows_no_chance_and_no_gradient(codec: Codec) -> None:
    video = video_of(codec, num_latents=1)
    latents, _ = codec.encode(video)
    torch.manual_seed(1234)
    assert torch.equal(latents, codec.encode(video)[0])
    assert not latents.requires_grad
    assert not codec.decode(latents)[0].requires_grad


def test_sides_that_do_not_fit_are_refused_in_a_sentence(codec: Codec) -> None:
    with pytest.raises(
        ValueError, match=f"got frames of 16x17; give sides that are multiples of {codec.space_compression}"
    ):
        codec.encode(torch.zeros(1, codec.frames_of(1, first=True), 3, 17, 16))


@pytest.mark.parametrize("build", AUTOENCODERS)
def test_an_offloaded_autoencoder_is_brought_to_its_device(build: Callable[[], nn.Module]) -> None:
    codec, offloaded = codec_of(randomised(build)), randomised(build)
    cpu_offload(offloaded, execution_device=torch.device("cpu"), offload_buffers=True)
    assert next(offloaded.parameters()).device.type == "meta"
    video = video_of(codec, num_latents=2)
    latents, _ = codec_of(offloaded).encode(video)
    assert torch.equal(latents, codec.encode(video)[0])
    assert torch.equal(codec_of(offloaded).decode(latents)[0], codec.decode(latents)[0])


@pytest.mark.parametrize(
    "settings", [{}, {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12}]
)
def test_wan_gives_what_the_library_gives(settings: dict[str, Any]) -> None:
    module = randomised(lambda: wan(latents_mean=[0.0] * 4, latents_std=[1.0] * 4, **settings))
    codec = codec_of(module)
    video = video_of(codec, batch=2)
    latents, _ = codec.encode(video)
    frames, _ = codec.decode(latents)
    with torch.no_grad():
        whole = module.encode(video.transpose(1, 2)).latent_dist.mode()
        torch.testing.assert_close(latents.transpose(1, 2), whole, rtol=0, atol=1e-6)
        torch.testing.assert_close(
            frames.transpose(1, 2), module.decode(latents.transpose(1, 2)).sample, rtol=0, atol=1e-6
        )


def test_wan_is_streamed_bit_for_bit_whatever_the_segments() -> None:
    codec = codec_of(randomised(wan))
    video = video_of(codec)
    latents = codec.encode(video)[0]
    assert torch.equal(streamed(codec.encode, cut(codec, video)), latents)
    assert torch.equal(streamed(codec.decode, list(latents.split(pieces(codec), dim=1))), codec.decode(latents)[0])


def test_wan_keeps_nothing_of_a_session_in_the_module() -> None:
    module = randomised(wan)
    before = dict(vars(module))
    codec = codec_of(module)
    codec.decode(codec.encode(video_of(codec))[0])
    assert vars(module) == before


@pytest.mark.parametrize(
    ("num_frames", "first", "sentence"), [(4, True, "1 \\+ 4 k"), (5, False, "4 k"), (0, False, "4 k")]
)
def test_wan_refuses_frames_that_make_no_latent_frame(num_frames: int, first: bool, sentence: str) -> None:
    codec = codec_of(randomised(wan))
    cache = None if first else codec.encode(torch.zeros(1, 1, 3, 16, 16))[1]
    with pytest.raises(ValueError, match=f"got {num_frames} frames; .* {sentence} at a time"):
        codec.encode(torch.zeros(1, num_frames, 3, 16, 16), cache)


@pytest.mark.parametrize("num_latents", [1, 2, 4, 5, 7])
def test_cogvideox_gives_what_the_library_gives(num_latents: int) -> None:
    module = randomised(cogvideox)
    codec = codec_of(module)
    video = video_of(codec, num_latents, batch=2)
    latents, _ = codec.encode(video)
    frames, _ = codec.decode(latents)
    with torch.no_grad():
        whole = module.encode(video.transpose(1, 2)).latent_dist.mode()
        torch.testing.assert_close(latents.transpose(1, 2), whole * 0.7, rtol=0, atol=1e-6)
        torch.testing.assert_close(frames.transpose(1, 2), module.decode(whole).sample.clamp(-1, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("first", [1, 2, 3])
def test_cogvideox_goes_on_bit_for_bit_from_the_latents_alone(first: int) -> None:
    codec = codec_of(randomised(shallow_cogvideox))
    assert isinstance(codec, CogVideoXCodec)
    latents = torch.randn(1, codec.reach + 14 + first % 2, 2, 2, 2)
    kept = rested = None
    for index, piece in enumerate(latents.tensor_split([*range(first, latents.shape[1], 2)], dim=1)):
        frames, kept = codec.decode(piece, kept)
        again, rested = codec.decode(piece, rested if rested is None or index % 5 else rested.at_rest())
        assert torch.equal(frames, again)
    assert rested is not None
    assert rested.latents.shape[1] == codec.reach


def test_cogvideox_refuses_half_a_pair_in_a_sentence() -> None:
    codec = codec_of(randomised(cogvideox))
    latents, cache = codec.encode(torch.zeros(1, 1, 3, 16, 16))
    with pytest.raises(ValueError, match="got 4 frames; later ones are to be 8 k at a time"):
        codec.encode(torch.zeros(1, 4, 3, 16, 16), cache)
    with pytest.raises(ValueError, match="got 1 latent frames; .* let segments have an even number"):
        codec.decode(latents, codec.decode(latents)[1])


@pytest.mark.parametrize(
    ("frames", "first", "most"), [(1, True, 1), (10, True, 3), (13, True, 3), (16, True, 4), (15, False, 2)]
)
def test_frames_fill_as_many_latents_as_come_in_pairs(frames: int, first: bool, most: int) -> None:
    assert most_latents(codec_of(cogvideox()), frames, first) == most


@pytest.mark.parametrize(
    ("frames", "first", "most"), [(0, True, 0), (4, True, 1), (5, True, 2), (3, False, 0), (9, False, 2)]
)
def test_frames_fill_as_many_latents_as_a_causal_codec_makes_of_them(frames: int, first: bool, most: int) -> None:
    assert most_latents(codec_of(wan()), frames, first) == most


def test_mochi_gives_what_the_library_gives_and_leaves_its_autoencoder_what_it_was() -> None:
    module, codec = randomised(mochi), codec_of(randomised(mochi))
    video = video_of(codec, batch=2)
    latents, _ = codec.encode(video)
    frames, _ = codec.decode(latents)
    mean, std = (torch.tensor(x)[:, None, None, None] for x in (module.config.latents_mean, module.config.latents_std))
    with torch.no_grad():
        whole = module.encode(video.transpose(1, 2)).latent_dist.mode()
        torch.testing.assert_close(latents.transpose(1, 2), (whole - mean) / std * 0.7, rtol=0, atol=1e-5)
        decoded = module.decode(whole).sample
        torch.testing.assert_close(frames.transpose(1, 2), decoded.clamp(-1, 1), rtol=0, atol=1e-5)
        codec_of(module)
        torch.testing.assert_close(
            module.decode(whole).sample, decoded, rtol=0, atol=1e-5
        )  # where tensors lie rounds sums


def test_mochi_is_decoded_bit_for_bit_whatever_the_segments_and_from_the_latents_alone() -> None:
    codec = codec_of(randomised(mochi))
    assert isinstance(codec, MochiCodec)
    latents = torch.randn(1, codec.reach + 6, 4, 4, 4)
    whole, after = codec.decode(latents)
    kept = rested = None
    for index, piece in enumerate(latents.split((1, 3, *[1] * (codec.reach + 2)), dim=1)):
        frames, kept = codec.decode(piece, kept)
        again, rested = codec.decode(piece, rested if rested is None or index % 5 else rested.at_rest())
        assert torch.equal(frames, again) and torch.equal(frames, whole[:, : frames.shape[1]])
        whole = whole[:, frames.shape[1] :]
    assert rested is not None and rested.latents.shape[1] == codec.reach == after.latents.shape[1]


@pytest.mark.parametrize("build", [ltx, ltx_noisy, ltx_2, hunyuan, hunyuan_15])
def test_a_first_piece_is_what_the_library_makes_of_it_without_tiles(build: Callable[[], nn.Module]) -> None:
    module: Any = randomised(build)
    codec = codec_of(module)
    video = video_of(codec, num_latents=3)
    latents, _ = codec.encode(video)
    module.use_framewise_encoding = module.use_framewise_decoding = False
    with torch.no_grad():
        own = module.encode(video.transpose(1, 2)).latent_dist.mode()
        level = (torch.zeros(1),) if build is ltx_noisy else ()
        torch.manual_seed(0)
        frames = module.decode(own, *level).sample.clamp(-1, 1)
    standard = cast(OverlapCodec, codec).standard
    torch.testing.assert_close(standard.undo(latents), own.transpose(1, 2), rtol=0, atol=1e-5)
    torch.testing.assert_close(codec.decode(latents)[0].transpose(1, 2), frames, rtol=0, atol=1e-4)


@pytest.mark.parametrize("build", [ltx, ltx_2, hunyuan_15])
def test_more_overlap_brings_a_stream_closer_to_the_whole(build: Callable[[], nn.Module]) -> None:
    codec = codec_of(randomised(build))
    assert isinstance(codec, OverlapCodec)
    latents = torch.randn(1, 12, codec.latent_channels, 2, 2, generator=torch.Generator().manual_seed(1))
    whole, differences = codec.decode(latents)[0], []
    for codec.overlap in (1, 6):
        pieces = list(latents.split(2, dim=1))
        differences.append(float((streamed(codec.decode, pieces) - whole).abs().mean()))
    assert differences[1] < differences[0]


@pytest.mark.parametrize("build", [ltx, ltx_2])
def test_an_encoder_that_looks_back_so_far_is_streamed_exactly(build: Callable[[], nn.Module]) -> None:
    codec = codec_of(randomised(build))
    assert isinstance(codec, OverlapCodec)
    codec.overlap = 14
    video = video_of(codec, num_latents=24)
    cuts = [codec.frames_of(end, first=True) for end in range(2, 24, 2)]
    parts = list(video.tensor_split(cuts, dim=1))
    torch.testing.assert_close(streamed(codec.encode, parts), codec.encode(video)[0], rtol=0, atol=1e-5)


def test_a_piece_goes_on_from_the_frame_that_was_shown() -> None:
    codec = codec_of(randomised(ltx))
    latents = torch.randn(1, 8, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    assert isinstance(codec, OverlapCodec)
    head, cache = codec.decode(latents[:, :4])
    moved = torch.full_like(cache[1], 0.25) + cache[1]
    plain, led = codec.decode(latents[:, 4:], cache)[0], codec.decode(latents[:, 4:], (cache[0], moved))[0]
    inside = (plain.abs() < 0.7) & (led.abs() < 1)
    assert float((led - plain)[:, 0][inside[:, 0]].mean()) == pytest.approx(0.25, abs=1e-4)
    assert torch.equal(led[:, 2:], plain[:, 2:])
    assert torch.equal(cache[1], head[:, -1:])


def test_image_latents_are_standardised_as_the_pipelines_of_the_library_do_it() -> None:
    module = randomised(image)
    video = torch.rand(1, 2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        mode = module.encode(video[0]).latent_dist.mode()
    torch.testing.assert_close(codec_of(module).encode(video)[0][0], (mode - 0.25) * 0.5)


def test_a_config_with_statistics_of_every_channel_goes_by_them() -> None:
    module = randomised(image)
    module.register_to_config(latents_mean=[1.0, 2.0, 3.0, 4.0], latents_std=[1.0, 2.0, 4.0, 8.0])
    zeros = torch.zeros(1, 1, 4, 8, 8)
    plain = codec_of(randomised(image))
    mean, std = (torch.tensor(values)[:, None, None] for values in ((1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 4.0, 8.0)))
    video = video_of(plain, num_latents=1)
    own = plain.encode(video)[0] / 0.5 + 0.25
    torch.testing.assert_close(codec_of(module).encode(video)[0], (own - mean) * 0.5 / std)
    assert codec_of(module).decode(zeros)[0].shape == (1, 1, 3, 16, 16)


def test_the_tiny_autoencoder_is_standardised_by_its_config() -> None:
    module = randomised(tiny)
    video = torch.rand(1, 2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        own = module.encode(video[0]).latents
    torch.testing.assert_close(codec_of(module).encode(video)[0][0], (own + 0.5) * 2)


def test_a_module_that_is_no_autoencoder_is_refused_in_a_sentence() -> None:
    with pytest.raises(
        TypeError, match="there is no codec for Linear; there are codecs for AutoencoderMalt, .*KLCogVideoX"
    ):
        codec_of(nn.Linear(2, 2))
