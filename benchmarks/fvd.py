"""FVD of two folders of videos, real and generated, by the protocol of StyleGAN-V and PVDM.

    python benchmarks/fvd.py REAL GENERATED --i3d i3d_torchscript.pt [--frames 128] [--clips 2048] [--size 128]

Of every video that is long enough, the first frames are taken, cut to a square at their middle and brought to one size.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from malt.data.video_folder import find_videos
from malt.evaluation.metrics.frechet_distance import frechet_of
from malt.evaluation.metrics.i3d import I3D, PROTOCOL_CLIPS, load_i3d
from malt.media.video_reader import read_video


def features_of(folder: Path, i3d: I3D, num_frames: int, num_clips: int, side: int) -> Tensor:
    """Features (n, d) of the first clip of the first `num_clips` videos that are long enough."""
    found = list[Tensor]()
    for video in find_videos(folder, log=lambda sentence: None):
        frames = next(read_video(video.path, (side, side), batch=num_frames)).pixels
        if len(frames) == num_frames:
            clip = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 127.5 - 1
            found.append(i3d(clip))
        if len(found) == num_clips:
            break
    if len(found) < 2:
        raise SystemExit(f"{folder} has {len(found)} videos of {num_frames} frames; give at least 2")
    return torch.cat(found)


def main() -> None:
    """Measure, and say of how many clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs=2, type=Path, help="real videos, generated videos")
    parser.add_argument("--i3d", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--clips", type=int, default=PROTOCOL_CLIPS)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    i3d = load_i3d(options.i3d)
    real, made = (features_of(f, i3d, options.frames, options.clips, options.size) for f in options.folders)
    print(
        f"FVD {frechet_of(real, made):.1f}: {len(real)} real and {len(made)} generated clips of {options.frames} frames"
    )


if __name__ == "__main__":
    main()
