"""How many frames a second `malt encode` makes latents of at 128x128, against the codec's bare forward on as many frames.

    python benchmarks/encode.py [--codec DIR] [--threads 2] [--out docs/results/encode.json]

The command is measured as a whole, but for starting Python: it loads the codec, decodes, encodes and writes shards. Bare
and whole runs alternate within one process, and medians are compared.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch
from results import say, timed, write

from malt.cli import main as malt
from malt.codecs.base import Codec
from malt.codecs.registry import codec_of
from malt.pipelines.autoencoder_loading import load_autoencoder
from malt.precision import has_bfloat16

SIDE, RATE, PIECE = 128, 16, 64  # pixels, frames a second, frames that are encoded at once


def write_videos(folder: Path, count: int, num_frames: int) -> None:
    """Videos of a drifting pattern: every frame differs from the one before, as in real ones."""
    folder.mkdir()
    y, x = np.mgrid[:SIDE, :SIDE]
    for video in range(count):
        with av.open(str(folder / f"{video}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=RATE)
            stream.width = stream.height = SIDE
            stream.pix_fmt = "yuv420p"
            for n in range(num_frames):
                waves = [np.sin((x * (k + 1) + y * (video + 1) + 3 * n) / 17) for k in range(3)]
                picture = (np.stack(waves, axis=-1) * 100 + 128).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())


def encode(videos: Path, out: Path, options: argparse.Namespace) -> float:
    """Seconds of one `malt encode`."""
    settings = ["--height", str(SIDE), "--width", str(SIDE), "--fps", str(RATE), "--batch", str(PIECE)]
    settings += ["--threads", str(options.threads), "--device", "cpu"]
    settings += ["--codec", str(options.codec)] if options.codec else []
    seconds: dict[str, float] = {}
    with timed(seconds, "encode"):
        if malt(["encode", str(videos), "--out", str(out), *settings]):
            raise SystemExit("malt encode failed")
    return seconds["encode"]


def forward(codec: Codec, num_videos: int, num_frames: int) -> float:
    """Seconds of the codec alone, on frames that are ready."""
    frames, began = torch.rand(1, PIECE, 3, SIDE, SIDE) * 2 - 1, time.perf_counter()
    for _ in range(num_videos):
        cache = None
        for _ in range(num_frames // PIECE):
            with torch.autocast("cpu", enabled=has_bfloat16("cpu")):
                _, cache = codec.encode(frames, cache)
    return time.perf_counter() - began


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--frames", type=int, default=1024, help="of each video, a multiple of 64")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results/encode.json"))
    options = parser.parse_args()
    total, whole, bare = options.videos * options.frames, [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_videos(folder / "one", 1, PIECE)
        write_videos(folder / "videos", options.videos, options.frames)
        encode(folder / "one", folder / "warm", options)
        torch.set_num_threads(options.threads)
        codec = codec_of(load_autoencoder(options.codec))
        forward(codec, 1, PIECE)
        for run in range(options.runs):
            whole.append(total / encode(folder / "videos", folder / f"shards{run}", options))
            bare.append(total / forward(codec, options.videos, options.frames))
    figures = {
        "encode_frames_per_second": say("malt encode", {"runs": whole})["runs"],
        "forward_frames_per_second": say("bare forward", {"runs": bare})["runs"],
        "share": say("share", {"median": statistics.median(whole) / statistics.median(bare)})["median"],
        "side": SIDE,
        "frames": total,
        "threads": options.threads,
    }
    write(options.out, figures)


if __name__ == "__main__":
    main()
