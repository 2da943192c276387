"""True driving videos with their actions (`donkeycar/valid` of the measuring data), cut into windows to be predicted."""

import csv
import os
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

import malt
from malt.errors import UsageError
from malt.media.pixels import to_tensor
from malt.media.video_reader import read_video
from malt.wording import counted

FOLDER = Path("donkeycar") / "valid"
ACTIONS = ("steering", "throttle")


@dataclass(frozen=True, kw_only=True)
class DrivingWindows:
    """Windows of driving: frames in [-1, 1], and what was done at every one of them (-1 ... 1)."""

    frames: Float[Tensor, "b t 3 h w"]
    actions: Float[Tensor, "b t a"]


def data_folder() -> Path | None:
    """The folder of measuring data: the variable MALT_DATA or `../shared/data` beside the repository; None if absent."""
    given = os.environ.get("MALT_DATA")
    path = Path(given) if given else Path(malt.__file__).parents[3] / "shared" / "data"
    return path if path.is_dir() else None


def driving_files() -> list[Path]:
    """The videos that are there, sorted; none where the measuring data are not."""
    folder = data_folder()
    return sorted((folder / FOLDER).glob("*.mp4")) if folder else []


def driving_windows(num: int, num_frames: int, size: tuple[int, int], seed: int, files: list[Path]) -> DrivingWindows:
    """Windows of `num_frames` frames, one from the beginning of each of at most `num` files drawn from those long enough.

    Raises:
        UsageError: no file is long enough.
    """
    draw = random.Random(seed)
    frames, actions = [], []
    for path in draw.sample(files, len(files)):
        done = read_actions(path.with_suffix(".actions.csv"))
        if len(done) < num_frames:
            continue
        frames.append(to_tensor(next(read_video(path, size, batch=num_frames)).pixels))
        actions.append(done[:num_frames])
        if len(frames) == num:
            break
    if not frames:
        raise UsageError(
            f"none of the {len(files)} true drives has {counted(num_frames, 'frame')}; ask for a shorter horizon"
        )
    return DrivingWindows(frames=torch.stack(frames), actions=torch.stack(actions))


def read_actions(path: Path) -> Float[Tensor, "t a"]:
    """Steering and throttle of every frame."""
    with path.open(newline="") as file:
        rows = [[float(row[name]) for name in ACTIONS] for row in csv.DictReader(file)]
    return torch.tensor(rows)
