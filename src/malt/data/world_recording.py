"""Writes a world's videos as files to learn from: NAME.mp4, and beside it what was said, done and where the camera stood.

What is said is in NAME.txt, what was done in NAME.actions.csv and the poses in NAME.poses.csv, a row a frame, each where the
world has any. `malt encode` and `malt train --data` read such a folder.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from malt.errors import UsageError
from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink
from malt.worlds.base import RenderedClip, World

STRETCH = 256  # frames that are rendered at a time


def record_world(world: World, seeds: Sequence[int], num_frames: int, folder: Path) -> Iterator[Path]:
    """Record the first frames of the videos of these seeds, and name every one as soon as it is whole.

    A video comes last of what belongs to it, so one that is there is kept: after a stop, the same call goes on.

    Raises:
        UsageError: the folder holds videos that were recorded otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_same(folder / "recording.json", world, num_frames)
    for seed in seeds:
        path = folder / f"{world.name}-{seed:06d}.mp4"
        if not path.exists():
            _record(world, seed, num_frames, path)
            yield path


def _check_same(path: Path, world: World, num_frames: int) -> None:
    """Note how the folder's videos are recorded, or refuse to record others beside them."""
    told = {"world": world.name, "frames": num_frames, "policy": getattr(world, "policy", None)}
    if not path.exists():
        path.write_text(json.dumps(told) + "\n", encoding="utf-8")
    elif (there := json.loads(path.read_text(encoding="utf-8"))) != told:
        raise UsageError(f"{path.parent} holds videos that were recorded otherwise ({there}); name another folder")


def _record(world: World, seed: int, num_frames: int, path: Path) -> None:
    partial, tables = path.with_name(f".{path.name}"), dict[str, list[list[float]]]()
    with VideoSink(partial, frame_rate=world.frame_rate, overwrite=True) as sink:
        for start in range(0, num_frames, STRETCH):
            clip = world.render([seed], start, min(STRETCH, num_frames - start))
            sink.write(to_pixels(clip.frames[0]))
            for kind, values in _values(clip).items():
                tables.setdefault(kind, []).extend(values[0].tolist())
    names = {"actions": world.action_names, "poses": world.pose_names}
    for kind, rows in tables.items():
        _write_table(path.with_suffix(f".{kind}.csv"), names[kind], rows)
    (caption,) = world.captions([seed], [seed])
    if caption:
        path.with_suffix(".txt").write_text(f"{caption}\n", encoding="utf-8")
    partial.rename(path)


def _values(clip: RenderedClip) -> dict[str, Tensor]:
    """What is known of the frames, by its name in files."""
    return {kind: values for kind, values in (("actions", clip.actions), ("poses", clip.poses)) if values is not None}


def _write_table(path: Path, names: Sequence[str], rows: list[list[float]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, *rows])
