"""Stream a video of any length into a file: segments come as soon as they are made, in constant memory.

python examples/stream.py "a red circle and a blue square pass behind a wall" --frames 512 --out walk.mp4
"""

import argparse
from pathlib import Path

import torch

from malt import VideoSink, load_pipeline, to_pixels

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("prompt", nargs="?", default="a red circle and a blue square pass behind a wall")
parser.add_argument("--model", default="default", help="a model that comes with the package, or a folder")
parser.add_argument("--frames", type=int, default=256)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--out", type=Path, default=Path("walk.mp4"))
options = parser.parse_args()

pipe = load_pipeline(options.model)
generator = torch.Generator().manual_seed(options.seed)
with VideoSink(options.out, frame_rate=pipe.frame_rate, scale=4, overwrite=True) as sink:
    for segment in pipe.stream(options.prompt, num_frames=options.frames, generator=generator):
        sink.write(to_pixels(segment.frames[0]))  # (t, 3, h, w) in [-1, 1] becomes bytes (t, h, w, 3)
        print(f"frame {segment.start}: the memory is {segment.memory_bytes / 1e6:.2f} MB")
