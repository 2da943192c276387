"""How well the autoencoder of `drive` reconstructs real video, beside a pretrained frame autoencoder.

    python benchmarks/reconstruction.py [--data ../shared/data] [--out docs/results/reconstruction.json]

`--data` holds donkeycar/valid (videos never trained on) and taesd3 (an `AutoencoderTiny`).
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from results import say, timed, write

from malt.codecs.base import Codec
from malt.codecs.registry import codec_of
from malt.data.decoded_frames import decode_videos
from malt.data.video_folder import find_videos
from malt.pipelines.autoencoder_loading import load_autoencoder
from malt.pipelines.packaged import packaged_models
from malt.training.monitors.reconstruction import reconstruction


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--frames", type=int, default=32, help="first frames of each video")
    parser.add_argument("--out", type=Path, default=Path("docs/results/reconstruction.json"))
    options = parser.parse_args()
    found = decode_videos(find_videos(options.data / "donkeycar" / "valid"), (64, 96), fps=20.0)
    clips = np.stack([video[: options.frames] for video in found.values() if len(video) >= options.frames])
    videos = torch.from_numpy(clips).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    ours = codec_of(load_autoencoder(packaged_models()["drive"]))
    theirs = codec_of(AutoencoderTiny.from_pretrained(options.data / "taesd3").eval())
    figures: dict = {"videos": len(videos), "frames": options.frames, "size": [64, 96]}
    with timed(figures, "seconds"):
        for name, codec in (("drive", ours), ("taesd3", theirs)):
            figures[name] = say(name, _measured(codec, videos))
    write(options.out, figures)


@torch.no_grad()
def _measured(codec: Codec, videos: torch.Tensor) -> dict[str, float]:
    figures = reconstruction(codec, videos.split(1))
    return figures | {"numbers_a_pixel": codec.latent_channels / codec.time_compression / codec.space_compression**2}


if __name__ == "__main__":
    main()
