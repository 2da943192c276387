"""Laws of encoding videos by a codec whose latents come in pairs: the first piece is odd, and nothing is lost in between."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor

import tiny
from malt.codecs.cogvideox import CogVideoXCodec
from malt.data.codec_fingerprint import identify
from malt.data.encoding import EncodingConfig, encode_videos
from malt.data.shard_dataset import ShardDataset
from malt.data.shard_writer import shard_writer
from malt.data.video_folder import find_videos
from malt.media.video_reader import read_video
from tiny_videos import write_video

SIZE = (16, 16)


@pytest.fixture(scope="module")
def codec() -> CogVideoXCodec:
    widths = {"block_out_channels": (4, 4), "latent_channels": 2, "layers_per_block": 1, "norm_num_groups": 2}
    blocks = {"down_block_types": ("CogVideoXDownBlock3D",) * 2, "up_block_types": ("CogVideoXUpBlock3D",) * 2}
    autoencoder = AutoencoderKLCogVideoX(**widths | blocks, temporal_compression_ratio=2)
    return CogVideoXCodec(tiny.randomised(autoencoder.eval()))


def encode(codec: CogVideoXCodec, videos: Path, out: Path, stop_after: int | None = None, stretch: int = 4) -> None:
    encoding = EncodingConfig(codec=identify(codec.autoencoder), size=SIZE)
    with shard_writer(out, 0) as writer:
        found = find_videos(videos)
        events = encode_videos(found, codec, encoding, writer, piece=3, stretch=stretch, precision="float32")
        list(islice(events, stop_after))
        if stop_after is None:
            writer.close()


def latents(out: Path) -> list[Tensor]:
    return [torch.cat(video.stretches) for video in ShardDataset.open(out).videos]


@pytest.mark.parametrize(("num_frames", "num_latents"), [(21, 11), (23, 11), (4, 2), (1, 1)])
def test_a_video_is_encoded_in_pieces_as_it_is_whole(
    codec: CogVideoXCodec, tmp_path: Path, num_frames: int, num_latents: int
) -> None:
    video = write_video(tmp_path / "videos/a.mp4", num_frames)
    encode(codec, tmp_path / "videos", tmp_path / "out")
    pixels = next(iter(read_video(video, SIZE, batch=num_frames))).pixels
    frames = torch.from_numpy(pixels).permute(0, 3, 1, 2)[None].float() / 127.5 - 1
    whole = codec.encode(frames[:, : codec.frames_of(num_latents, first=True)])[0][0]
    torch.testing.assert_close(latents(tmp_path / "out")[0].float(), whole, rtol=0, atol=2e-3)


@pytest.mark.parametrize("stretch", [3, 4])
def test_a_run_that_was_killed_goes_on_to_the_same_latents(codec: CogVideoXCodec, tmp_path: Path, stretch: int) -> None:
    write_video(tmp_path / "videos/a.mp4", 33)
    encode(codec, tmp_path / "videos", tmp_path / "whole", stretch=stretch)
    encode(codec, tmp_path / "videos", tmp_path / "killed", stop_after=3, stretch=stretch)
    encode(codec, tmp_path / "videos", tmp_path / "killed", stretch=stretch)
    assert torch.equal(*(latents(tmp_path / name)[0] for name in ("whole", "killed")))
