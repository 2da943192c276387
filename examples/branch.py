"""Rewind a video and give it two other futures: one of another seed, one of another prompt; save a session for later.

python examples/branch.py --frames 96 --out futures
"""

import argparse
from pathlib import Path

import torch

from malt import Session, load_pipeline
from malt.evaluation.report.contact_sheet import contact_sheet

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="default", help="a model that comes with the package, or a folder")
parser.add_argument("--frames", type=int, default=96)
parser.add_argument("--out", type=Path, default=Path("futures"))
options = parser.parse_args()

pipe = load_pipeline(options.model)
session = Session.begin(pipe, "two shapes pass behind a wall", seed=17)
past = [segment.frames for segment in session.stream(options.frames // 2)]
branched_at = session.num_frames

other_seed = session.branch(seed=7)  # sessions share the model, and a session is a value: none disturbs another
other_prompt = session.branch()
other_prompt.prompt = "a red cross and a green circle pass behind a wall"
futures = {"as planned": session, "another seed": other_seed, "another prompt": other_prompt}

videos = [torch.cat([*past, *(each.frames for each in one.stream(options.frames))], 1) for one in futures.values()]
options.out.mkdir(parents=True, exist_ok=True)
contact_sheet(torch.cat(videos), list(futures)).save(options.out / "futures.png")

session.save(options.out / "session")  # Session.load(folder, pipe) goes on from here, bit for bit
again = session.rewind(branched_at)
print(f"{options.out}/futures.png: three futures from frame {branched_at}; the first is back at frame {again}")
