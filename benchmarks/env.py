"""Sessions of an environment in one batch against one after the other, and what forks and states cost.

taskset -c 1 python benchmarks/env.py [--model drive] [--sessions 16] [--precision float32] [--out docs/results/env.json]

Ratios are taken in turn within one run: of process CPU time, on which what else the machine does weighs little, and by the
clock, which is what counts with several threads on idle cores.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from results import say, write

import malt
from malt.env.environment import Environment


def seconds(env: Environment, actions: np.ndarray) -> np.ndarray:
    """Of the processor, and by the clock."""
    began = np.array([time.process_time(), time.perf_counter()])
    env.step(actions)
    return np.array([time.process_time(), time.perf_counter()]) - began


def milliseconds(work: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return 1000 * median(taken)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="drive")
parser.add_argument("--sessions", type=int, default=16)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
parser.add_argument("--out", type=Path, default=Path("docs/results/env.json"))
options = parser.parse_args()
torch.set_num_threads(options.threads)
pipe = malt.load_pipeline(options.model).to(getattr(torch, options.precision))
batch = malt.make(pipe, options.sessions)
actions = np.zeros((options.sessions, len(batch.action_names)))
batch.reset(0)
alone = [batch.fork(number, 1) for number in range(options.sessions)]
ratios, rates = [], []
for number in range(options.rounds):
    in_turn = np.sum([seconds(one, actions[:1]) for one in alone], axis=0)
    together = seconds(batch, actions)
    ratios.append(in_turn / together)
    rates.append(options.sessions * batch.frame_shape[0] / together)
    say(f"round {number}", {"seconds_in_turn": in_turn.tolist(), "seconds_together": together.tolist()})
over, rate = np.median(ratios, axis=0).tolist(), np.median(rates, axis=0).tolist()
measured = {
    "model": options.model,
    "sessions": options.sessions,
    "threads": options.threads,
    "precision": options.precision,
    "load": os.getloadavg()[0],
    "batch_over_turns": over[0],
    "batch_over_turns_by_the_clock": over[1],
    "frames_a_cpu_second_in_a_batch": rate[0],
    "frames_a_second_in_a_batch": rate[1],
    "fork_16_milliseconds": milliseconds(lambda: batch.fork(0, 16), 200),
    "state_milliseconds": milliseconds(lambda: batch.state(0), 20),
    "state_bytes": len(batch.state(0)),
    "session_bytes": batch.memory_spec().session_bytes,
}
write(options.out, measured)
