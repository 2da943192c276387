"""Records trajectories of Memory Maze (arXiv:2210.13383), in the published layout, with the published renderer.

    python -m venv mazes
    mazes/bin/pip install memory-maze==1.0.3 mujoco==3.17.0 dm-control==1.0.50 gym==0.26.2
    MUJOCO_GL=egl mazes/bin/python benchmarks/memory_maze_data.py OUT [--size 9] [--count 30] [--first 0] [--steps 1000]

It needs an environment of its own, for its packages agree with few others, and nothing of malt. MUJOCO_GL is egl (a GPU, or
Mesa on a processor) or osmesa (Debian's libosmesa6). A trajectory is one file, OUT/000000.npz, with the keys of the published
data set, so `memory_maze_prediction.py` reads both. Its number is the seed of its maze and of its walk. What is there is kept:
the same command goes on where it was stopped.

The walk is the published one: to a point drawn at random, by the shortest way, then to another, with noise in the actions.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from memory_maze import tasks
from memory_maze.oracle import breadth_first_search

FORWARD, LEFT, RIGHT, FORWARD_LEFT, FORWARD_RIGHT, NUM_ACTIONS = 1, 2, 3, 4, 5, 6
STRAIGHT, ASIDE = math.radians(15), math.radians(50)  # up to here walk straight on; up to here turn while walking
NOISE_PROB, NOISE_STEPS = 0.02, 5  # how often a burst of random actions begins, and how long it lasts
PATIENCE = 80  # steps after which another point is chosen, for who is stuck
SEEN = (
    "image",
    "maze_layout",
    "agent_pos",
    "agent_dir",
    "targets_pos",
    "targets_vec",
    "target_pos",
    "target_vec",
    "target_color",
)


class Wanderer:
    """Walks to points drawn at random, one after the other."""

    def __init__(self, draw: np.random.RandomState) -> None:
        self._draw = draw
        self._goal: tuple[int, int] | None = None
        self._steps = self._noisy = 0

    def __call__(self, seen: dict[str, np.ndarray]) -> int:
        """The number of the action to take."""
        if self._noisy == 0 and self._draw.rand() < NOISE_PROB:
            self._noisy = NOISE_STEPS
        if self._noisy:
            self._noisy -= 1
            return int(self._draw.randint(NUM_ACTIONS))
        x, y = seen["agent_pos"]
        return self._towards(self._next_cell(seen["maze_layout"], (int(x), int(y))), seen)

    def _next_cell(self, layout: np.ndarray, here: tuple[int, int]) -> tuple[int, int]:
        self._steps += 1
        path = breadth_first_search(layout, here, self._goal) if self._goal else None
        while not path or len(path) < 2 or self._steps > PATIENCE:
            free = np.argwhere(layout)
            goal_y, goal_x = free[self._draw.randint(len(free))]
            self._goal, self._steps = (int(goal_x), int(goal_y)), 0
            path = breadth_first_search(layout, here, self._goal)
        return path[1]

    def _towards(self, cell: tuple[int, int], seen: dict[str, np.ndarray]) -> int:
        """Walk or turn to the middle of a cell beside the one where the agent stands."""
        way = np.array(cell) + 0.5 - seen["agent_pos"]
        dx, dy = seen["agent_dir"]
        angle = math.atan2(dx * way[1] - dy * way[0], dx * way[0] + dy * way[1])  # to the left is positive
        if abs(angle) < STRAIGHT:
            return FORWARD
        if abs(angle) < ASIDE:
            return FORWARD_LEFT if angle > 0 else FORWARD_RIGHT
        return LEFT if angle > 0 else RIGHT


def record(size: int, number: int, steps: int) -> dict[str, np.ndarray]:
    """One trajectory: what was seen before the first step and after each, and the action and reward that came before."""
    env = getattr(tasks, f"memory_maze_{size}x{size}")(global_observables=True, seed=number)
    wander, seen, action, reward = Wanderer(np.random.RandomState(number)), env.reset().observation, None, 0.0
    rows: dict[str, list[np.generic | np.ndarray]] = {key: [] for key in (*SEEN, "action", "reward")}
    for _ in range(steps + 1):
        for key in SEEN:
            rows[key].append(np.array(seen[key]))
        rows["action"].append(np.arange(NUM_ACTIONS) == action)
        rows["reward"].append(np.float32(reward))
        action = wander(seen)
        step = env.step(action)
        seen, reward = step.observation, step.reward or 0.0
    env.close()
    return {key: np.stack(values) for key, values in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=9, choices=(9, 11, 13, 15))
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.first + options.count):
        path = options.out / f"{number:06d}.npz"
        if path.exists():
            continue
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **record(options.size, number, options.steps))
        part.rename(path)
        print(f"{path}: {options.steps} steps", flush=True)


if __name__ == "__main__":
    main()
