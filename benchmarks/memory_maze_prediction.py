"""Memory Maze (arXiv:2210.13383) for malt: videos to learn from, and how close 400 frames come to the truth after 400 given.

    python benchmarks/memory_maze_prediction.py videos TRAJECTORIES VIDEOS
    malt train experiments/memory_maze.py:walks ...            as is said there
    python benchmarks/memory_maze_prediction.py measure HELD_OUT --checkpoint runs/memory-maze/pipeline [--count 8]
                                     [--given 400] [--horizon 400] [--note WORDS] [--poses] [--out docs/results/memory-maze.json]

TRAJECTORIES and HELD_OUT are folders of .npz files in the published layout, the published ones or those that
`memory_maze_data.py` records. The videos show a frame a step, 16 a second, with the actions `turn` (1 left, -1 right) and
`walk`, which follow from the commands alone; what is there is kept. True actions go with all frames, as in arXiv:2505.20171,
whose task this is. With --poses, `turn` and `walk` are what the body truly did, which the task does not tell: how much is lost
by not knowing where one is.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from results import say, timed, write
from torch import Tensor

from malt.evaluation.evaluated_model import EvaluatedModel, MemoryUse, Request, collect, evaluated_model_of
from malt.evaluation.metrics.features import ImageNetFrames, imagenet_network
from malt.evaluation.metrics.prediction import distances
from malt.evaluation.report.contact_sheet import contact_sheet
from malt.media.video_writer import VideoSink
from malt.pipelines.loading import load_pipeline

# Their actions are no-op, forward, left, right, forward left, forward right.
ACTIONS = ("turn", "walk")
TURN = np.array([0, 0, 1, -1, 1, -1], np.float32)
WALK = np.array([0, 1, 0, 0, 1, 1], np.float32)
# The body is a ball that rolls on: how much of a command is done at once and in each of the next steps, by least squares over
# 24 trajectories of 9x9.
TURN_DONE = np.array([0.805, 0.195], np.float32)
WALK_DONE = np.array([0.42, 0.38, 0.14, 0.06], np.float32)
TURN_OF_1, WALK_OF_1 = 0.316, 0.249  # radians and cells
FRAME_RATE = 16.0
PUBLISHED = {"state-space model": 30.8, "causal window": 26.4, "source": "arXiv:2505.20171, PSNR in dB, as published"}
BATCH = 4


def trajectories(folder: Path) -> list[Path]:
    """The files of a folder, sorted."""
    if found := sorted(folder.glob("*.npz")):
        return found
    raise SystemExit(f"{folder} holds no .npz files; record some with memory_maze_data.py")


def read(path: Path, by_poses: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (t, h, w, 3), and turn and walk (t, 2) just before each: what commands let the ball do, or what its poses tell."""
    with np.load(path) as file:
        done = _by_poses(file["agent_pos"], file["agent_dir"]) if by_poses else _by_commands(file["action"])
        return file["image"], done.astype(np.float32)


def _by_commands(told: np.ndarray) -> np.ndarray:
    turn, walk = np.convolve(told @ TURN, TURN_DONE), np.convolve(told @ WALK, WALK_DONE)
    return np.stack([turn[: len(told)], walk[: len(told)]], axis=1)


def _by_poses(places: np.ndarray, directions: np.ndarray) -> np.ndarray:
    heading = np.unwrap(np.arctan2(directions[:, 1], directions[:, 0]))
    between, steps = (heading[1:] + heading[:-1]) / 2, np.diff(places, axis=0)
    walk = steps[:, 0] * np.cos(between) + steps[:, 1] * np.sin(between)
    return np.pad(np.stack([np.diff(heading) / TURN_OF_1, walk / WALK_OF_1], axis=1), ((1, 0), (0, 0)))


# Videos ---------------------------------------------------------------------------------------------------------------


def write_videos(source: Path, out: Path) -> None:
    """A video and its actions of every trajectory that has none yet; the video comes last."""
    out.mkdir(parents=True, exist_ok=True)
    for path in trajectories(source):
        video = out / f"{path.stem}.mp4"
        if video.exists():
            continue
        pictures, actions = read(path)
        with video.with_suffix(".actions.csv").open("w", newline="") as file:
            csv.writer(file).writerows([ACTIONS, *actions.tolist()])
        part = out / f"{path.stem}.part.mp4"
        with VideoSink(part, frame_rate=FRAME_RATE, overwrite=True) as sink:
            sink.write(pictures)
        part.rename(video)
    print(f"{len(list(out.glob('*.mp4')))} videos are in {out}")


# Measure --------------------------------------------------------------------------------------------------------------


def predict(model: EvaluatedModel, frames: Tensor, actions: Tensor, given: int, memory: MemoryUse) -> Tensor:
    """What a model makes of the frames behind the given ones."""
    request = Request(captions=[""] * len(frames), first=frames[:, :given], actions=actions)
    return collect(model.begin(request).stream(frames.shape[1] - given, memory))


def by_horizon(made: Tensor, true: Tensor) -> dict:
    """Each measure over all frames and over eighths of them, mean over the videos."""
    network = imagenet_network()
    figures: dict = {}
    for measure, (_, values) in distances(made, true, network and ImageNetFrames(network)).items():
        parts = [round(part.mean().item(), 3) for part in values.chunk(8, dim=1)]
        per_video = [round(value, 3) for value in values.mean(1).tolist()]
        figures[measure] = {"mean": round(values.mean().item(), 3), "eighths": parts, "videos": per_video}
    return figures


@torch.no_grad()
def measure(options: argparse.Namespace) -> None:
    """Predict as it is, with an empty memory and with another's; beside the codec alone and the last given frame."""
    pipe = load_pipeline(options.checkpoint)
    if tuple(pipe.action_names) != ACTIONS:
        raise SystemExit(f"the model takes {', '.join(pipe.action_names) or 'no actions'}, not {' and '.join(ACTIONS)}")
    model, codec, length = evaluated_model_of(pipe), pipe.codec, options.given + options.horizon
    read_all = [read(path, options.poses) for path in trajectories(options.folder)[: options.count]]
    frames = torch.stack([torch.from_numpy(pictures[:length]) for pictures, _ in read_all]).movedim(-1, 2).float()
    frames, actions = frames / 127.5 - 1, torch.stack([torch.from_numpy(done[:length]) for _, done in read_all])
    true = frames[:, options.given :]
    made = {"last true frame kept": frames[:, options.given - 1 : options.given].expand_as(true)}
    whole = torch.cat([codec.decode(codec.encode(part)[0])[0] for part in frames.split(BATCH)]).clamp(-1, 1)
    made["autoencoder alone"] = whole[:, options.given : length]
    seconds: dict = {}
    ways: tuple[tuple[str, MemoryUse], ...] = (
        ("as it is", "kept"),
        ("memory emptied", "emptied"),
        ("another's", "swapped"),
    )
    for name, use in ways:
        with timed(seconds, name):
            parts = zip(frames.split(BATCH), actions.split(BATCH), strict=True)
            made[name] = torch.cat([predict(model, part, done, options.given, use) for part, done in parts])
    figures = {name: say(name, by_horizon(videos, true)) for name, videos in made.items()}
    budget = {"trajectories measured": len(frames), "seconds to predict": seconds, "note": options.note}
    setting = {"given": options.given, "horizon": options.horizon}
    write(options.out, {"setting": setting, "budget": budget, "published": PUBLISHED, "measured": figures})
    if options.sheet:
        rows = torch.cat([torch.stack([true[n], made["as it is"][n], made["memory emptied"][n]]) for n in range(2)])
        says = ["true", "as it is", "memory emptied"] * 2
        contact_sheet(rows, says, columns=14, scale=2).save(options.sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    videos = commands.add_parser("videos")
    videos.add_argument("source", type=Path)
    videos.add_argument("out", type=Path)
    measuring = commands.add_parser("measure")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("--checkpoint", type=Path, required=True)
    measuring.add_argument("--count", type=int, default=8)
    measuring.add_argument("--given", type=int, default=400)
    measuring.add_argument("--horizon", type=int, default=400)
    measuring.add_argument(
        "--poses", action="store_true", help="what the body truly did, and not what it was told to do"
    )
    measuring.add_argument("--note", default="", help="what the model was trained on and for how long")
    measuring.add_argument("--sheet", type=Path, help="a picture of true and made frames to write as well")
    measuring.add_argument("--out", type=Path, default=Path("docs/results/memory-maze.json"))
    options = parser.parse_args()
    if options.command == "videos":
        write_videos(options.source, options.out)
    else:
        measure(options)


if __name__ == "__main__":
    main()
