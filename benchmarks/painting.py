"""How many frames of mazes are painted in a second of one core's time: 64x64, as one walks through them.

taskset -c 0 python benchmarks/painting.py [--mazes 8] [--frames 64] [--rounds 9] [--out docs/results/painting.json]

Processor time of one thread, the best of all rounds: other work on the machine still takes away caches and memory.
"""

import argparse
import os
import time
from pathlib import Path
from statistics import median

import torch
from results import say, write

from malt.worlds.maze.maze_world import Maze

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--mazes", type=int, default=8)
parser.add_argument("--frames", type=int, default=64, help="of each maze")
parser.add_argument("--rounds", type=int, default=9)
parser.add_argument("--out", type=Path, default=Path("docs/results/painting.json"))
options = parser.parse_args()
torch.set_num_threads(1)
world, seeds = Maze(), list(range(options.mazes))
poses = torch.stack([world.path(seed, 0, options.frames)[1] for seed in seeds])
rates = []
for number in range(options.rounds + 1):
    began = time.thread_time()
    world.look(seeds, poses)
    rates.append(options.mazes * options.frames / (time.thread_time() - began))
    say(f"round {number}", {"frames_a_cpu_second": rates[-1]})
measured = {
    "mazes": options.mazes,
    "frames_of_each": options.frames,
    "size": list(world.frame_size),
    "load": os.getloadavg()[0],
    "frames_a_cpu_second_best": max(rates[1:]),
    "frames_a_cpu_second_median": median(rates[1:]),
}
write(options.out, measured)
