"""Steer a model that takes actions: a policy sees the last segment and says what is done in each of the next frames.

python examples/steer.py --frames 400 --out drive.mp4
"""

import argparse
import math
from pathlib import Path

import torch

from malt import Segment, Session, VideoSink, load_pipeline, to_pixels

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="drive", help="a model that takes actions")
parser.add_argument("--frames", type=int, default=200)
parser.add_argument("--out", type=Path, default=Path("drive.mp4"))
options = parser.parse_args()
pipe = load_pipeline(options.model)


def bends(segment: Segment | None, num_frames: int) -> torch.Tensor:
    """Wide bends at even speed; (1, num_frames, actions). A key or a network could decide here as well."""
    start = 0 if segment is None else segment.start + segment.frames.shape[1]
    seconds = torch.arange(start, start + num_frames) / pipe.frame_rate
    done = {"steering": 0.6 * torch.sin(2 * math.pi * seconds / 8), "throttle": torch.full_like(seconds, 0.3)}
    return torch.stack([done.get(name, torch.zeros_like(seconds)) for name in pipe.action_names], dim=1)[None]


session = Session.begin(pipe, seed=0)
with VideoSink(options.out, frame_rate=pipe.frame_rate, scale=4, overwrite=True) as sink:
    for segment in session.stream(options.frames, bends):
        sink.write(to_pixels(segment.frames[0]))
print(f"{options.out}: {session.num_frames} frames, steered by {', '.join(pipe.action_names)}")
