"""Plan by random shooting: fork 16 futures, look at each, take the best, go on; in a model, or in the world it learned.

python examples/plan_by_forking.py --model drive --goal motion --steps 12 --out plan.mp4
python examples/plan_by_forking.py --model maze --true-world --goal motion --steps 12 --out plan.mp4
"""

import argparse
from pathlib import Path

import numpy as np

import malt
from malt.media.video_writer import VideoSink

GOALS = {  # what the frames (n, t, H, W, 3) of a future are worth
    "motion": lambda frames: np.abs(np.diff(frames.astype(float), axis=1)).mean(axis=(1, 2, 3, 4)),
    "calm": lambda frames: -np.abs(np.diff(frames.astype(float), axis=1)).mean(axis=(1, 2, 3, 4)),
    "red": lambda frames: (frames[..., 0] - frames[..., 1:].mean(axis=-1)).clip(0).mean(axis=(1, 2, 3)),
}
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="drive", help="a model that takes actions, or a world")
parser.add_argument("--true-world", action="store_true")
parser.add_argument("--goal", choices=GOALS, default="motion")
parser.add_argument("--steps", type=int, default=12)
parser.add_argument("--futures", type=int, default=16)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("plan.mp4"))
options = parser.parse_args()

chance, worth = np.random.default_rng(options.seed), GOALS[options.goal]
env = malt.make(options.model, true_world=options.true_world)
env.reset(options.seed)
won, usual = [], []
with VideoSink(options.out, frame_rate=env.simulator.frame_rate, scale=4, overwrite=True) as sink:
    for _ in range(options.steps):
        plans = chance.uniform(-1, 1, (options.futures, len(env.action_names)))
        futures = env.fork(0, copies=options.futures)
        seen = futures.step(plans)  # all of them in one forward pass
        scores = worth(seen)
        best = int(scores.argmax())
        env.restore(futures.state(best))
        sink.write(seen[best])
        won.append(scores[best])
        usual.append(scores.mean())
print(f"{options.out}: {options.goal} {np.mean(won):.2f} a step as planned, {np.mean(usual):.2f} by chance")
