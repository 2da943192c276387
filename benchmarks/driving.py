"""What the model `drive` is worth on true driving that it never saw: loss, prediction, steering and wear.

    python benchmarks/driving.py [--checkpoint DIR] [--without DIR] [--data ../shared/data] [--parts loss,wear]
                                 [--out docs/results/drive.json] [--media docs/media]

`--without` is the pipeline of the same network that was trained with memory `none`, from the same start and for as many steps.
`--data` holds donkeycar/train, donkeycar/valid and the ImageNet features.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from results import say, timed, write
from torch import Tensor

from malt.data.decoded_frames import decode_videos
from malt.data.video_folder import find_videos
from malt.diffusion.flow import interpolate, velocity
from malt.evaluation.evaluated_model import EvaluatedModel, MemoryUse, Request, evaluated_model_of
from malt.evaluation.metrics.features import features_of_moments
from malt.evaluation.metrics.picture_signs import histogram_distance, motion, sharpness
from malt.evaluation.metrics.prediction import FROZEN, distances
from malt.evaluation.report.contact_sheet import contact_sheet
from malt.evaluation.result import MetricResult, summarise
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.pipelines.packaged import packaged_models
from malt.rollouts.context_frames import with_context
from malt.sessions.action_policies import build_policy
from malt.worlds.drive.recordings import ACTIONS, DrivingWindows, read_actions
from malt.worlds.drive.steering_probe import READ_FRAMES, TurnReader, explained, sideways, steering_of
from malt.worlds.registry import open_world

PARTS = ("prediction", "wear", "steering", "loss")
GIVEN = 64  # true frames before everything that is generated
HORIZONS = (16, 32, 64, 128, 256, 512)
LEVELS, SEGMENTS = (0.1, 0.3, 0.5, 0.7, 0.9), 16  # of noise, and how many segments the loss is told of
TURN, TURN_FRAMES = 0.8, 32  # the steering that is asked for, and for how many frames
STRETCH = 200  # frames whose wear is told of together
EVERY = 16  # frames from one that the reader of turns is taught by to the next


@dataclass(frozen=True)
class Drives:
    """True drives: bytes (t, h, w, 3), and what was done in every frame (t, a)."""

    frames: list[np.ndarray]
    actions: list[Tensor]

    @classmethod
    def of(cls, folder: Path, size: tuple[int, int]) -> "Drives":
        """All drives of a folder."""
        videos = find_videos(folder)
        actions = [read_actions(video.actions) for video in videos if video.actions]
        return cls([*decode_videos(videos, size, fps=20.0).values()], actions)

    def windows(self, num_frames: int, most: int, but: int = 0) -> DrivingWindows:
        """The beginnings of the longest drives that have so many frames, but for the first `but` of these."""
        order = sorted(range(len(self.frames)), key=lambda n: -len(self.frames[n]))[but:]
        long = [n for n in order if len(self.frames[n]) >= num_frames][:most]
        return DrivingWindows(
            frames=torch.stack([pixels(self.frames[n][:num_frames]) for n in long]),
            actions=torch.stack([self.actions[n][:num_frames] for n in long]),
        )


@dataclass(frozen=True)
class Way:
    """A model, and what becomes of its memory when the true frames end."""

    pipe: MaltPipeline
    memory: MemoryUse = "kept"

    @property
    def subject(self) -> EvaluatedModel:
        """What is asked for video."""
        return evaluated_model_of(self.pipe)

    def predict(self, windows: DrivingWindows) -> Tensor:
        """What follows the first GIVEN frames, with the windows' actions."""
        subject, num = self.subject, windows.actions.shape[1] - GIVEN
        first = windows.frames[:, :GIVEN]
        start = subject.begin(Request(captions=[""] * len(first), first=first, actions=windows.actions))
        return torch.cat([segment.frames.cpu() for segment in start.stream(num, self.memory)], dim=1)


def pixels(frames: np.ndarray) -> Tensor:
    """Bytes (t, h, w, 3) as (t, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def means(samples: dict[str, list[float]]) -> dict:
    """The mean of each, one number a video, with its 95 % interval."""
    keep = ("mean", "low", "high", "n")
    figures = summarise([MetricResult(samples=samples)])["figures"]
    return {name: {key: value for key, value in figure.items() if key in keep} for name, figure in figures.items()}


# Loss by segment ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def losses(way: Way, windows: DrivingWindows) -> Tensor:
    """Mean squared error of the velocity (video, segment) over LEVELS, behind true frames; the same noise for every way."""
    model, rollout = way.pipe.transformer, way.pipe.rollout([""] * len(windows.frames))
    pieces = list(rollout.encode(windows.frames, windows.actions, None))
    empty = rollout.begin(0).memory
    count, memory, before, found = model.context_frames, empty, None, []
    for index, (latents, actions, _) in enumerate(pieces):
        if before is not None:
            clean = torch.cat([before[0][:, -count:], latents], dim=1)
            acts = with_context(before[1], actions, count)
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(index))
            errors = []
            for level in LEVELS:
                levels = torch.full(clean.shape[:2], level).index_fill(1, torch.arange(count), 0.0)
                told = empty if way.memory == "emptied" else memory
                predicted = model(
                    interpolate(clean, noise, levels),
                    levels,
                    told,
                    **rollout.caption.arguments,
                    actions=acts,
                    num_context_frames=count,
                ).velocity
                errors.append((predicted.float() - velocity(clean, noise))[:, count:].square().flatten(1).mean(1))
            found.append(torch.stack(errors).mean(0))
        memory = model(
            latents, torch.zeros(latents.shape[:2]), memory, **rollout.caption.arguments, actions=actions
        ).memory
        before = latents, actions
    return torch.stack(found, dim=1)


def loss_figures(ways: dict[str, Way], drives: Drives) -> dict:
    """The loss of every way, of its first and last segments and over all; and what memory saves, drive by drive."""
    windows = drives.windows(16 * (SEGMENTS + 1), 16)
    found = {name: losses(way, windows) for name, way in ways.items()}
    figures: dict = {"drives": len(windows.frames), "noise_levels": LEVELS}
    figures["by_segment"] = {name: loss.mean(0).tolist() for name, loss in found.items()}
    figures["mean"] = means({name: loss.mean(1).tolist() for name, loss in found.items()})
    first = next(iter(found))
    figures["last_8_segments_less_than_of"] = means(
        {name: (loss - found[first])[:, -8:].mean(1).tolist() for name, loss in found.items() if name != first}
    )
    return figures


# Prediction -----------------------------------------------------------------------------------------------------------


def prediction(ways: dict[str, Way], drives: Drives, long: int, short: int, media: Path) -> dict:
    """PSNR, SSIM and feature distance around every horizon (the 16 frames up to it), of every way and of a still picture."""
    groups = [drives.windows(GIVEN + HORIZONS[-1], long)]
    if short:
        groups.append(drives.windows(GIVEN + HORIZONS[2], short, but=long))
    made = {name: [way.predict(windows) for windows in groups] for name, way in ways.items()}
    made[FROZEN] = [w.frames[:, GIVEN - 1 : GIVEN].expand(-1, w.frames.shape[1] - GIVEN, -1, -1, -1) for w in groups]
    found = {name: around_horizons(videos, groups) for name, videos in made.items()}
    figures: dict = {"given": GIVEN, "drives": [len(group.frames) for group in groups]}
    figures["values"] = {name: {key: means(by) for key, by in values.items()} for name, values in found.items()}
    first = next(iter(ways))
    figures[f"{first}, less the others"] = {
        name: {key: means(less(found[first][key], by)) for key, by in values.items()}
        for name, values in found.items()
        if name != first
    }
    rows = {"true": groups[0].frames[:, GIVEN:]} | {name: videos[0] for name, videos in made.items() if name != FROZEN}
    shown = torch.stack([videos[n] for n in range(2) for videos in rows.values()])
    save(
        contact_sheet(shown, [f"{name}, drive {n}" for n in range(2) for name in rows], columns=9, scale=1),
        media / "drive-prediction.png",
    )
    return figures


def around_horizons(videos: list[Tensor], groups: list[DrivingWindows]) -> dict[str, dict[str, list[float]]]:
    """Of every measure and horizon, a number a video that reaches it."""
    found: dict[str, dict[str, list[float]]] = {}
    features = features_of_moments(open_world())
    for made, windows in zip(videos, groups, strict=True):
        for name, (x, values) in distances(made, windows.frames[:, GIVEN:], features).items():
            for horizon in (h for h in HORIZONS if h <= made.shape[1]):
                near = [n for n, ahead in enumerate(x) if horizon - 16 < ahead <= horizon]
                of_measure = found.setdefault(name, {})
                of_measure.setdefault(str(horizon), []).extend(values[:, near].mean(1).tolist())
    return found


def less(one: dict[str, list[float]], other: dict[str, list[float]]) -> dict[str, list[float]]:
    """Differences, video by video."""
    return {key: [a - b for a, b in zip(one[key], other[key], strict=True)] for key in one}


# Steering -------------------------------------------------------------------------------------------------------------


def readings(drives: Drives, every: int) -> tuple[Tensor, Tensor]:
    """Features of windows of true frames, and what was steered in them."""
    features, truth = [], []
    for frames, actions in zip(drives.frames, drives.actions, strict=True):
        starts = range(READ_FRAMES, len(frames) - READ_FRAMES + 1, every)
        if not starts:
            continue
        windows = torch.stack([pixels(frames[start : start + READ_FRAMES]) for start in starts])
        features.append(torch.cat([sideways(part) for part in windows.split(64)]))
        truth.append(torch.stack([steering_of(actions[:, ACTIONS.index("steering")], start) for start in starts]))
    return torch.cat(features), torch.cat(truth)


def steering(way: Way, learned: Drives, drives: Drives, num: int, media: Path) -> dict:
    """What a reader taught on true frames reads from generated ones after the same frames, steered left, right and straight."""
    reader = TurnReader.fit(*readings(learned, EVERY))
    features, truth = readings(drives, EVERY // 2)
    figures: dict = {
        "taught_on_windows": sum(len(range(READ_FRAMES, len(f) - READ_FRAMES + 1, EVERY)) for f in learned.frames),
        "held_out_windows": len(truth),
        "held_out_r2": explained(reader(features), truth),
        "asked_for": TURN,
    }
    windows = drives.windows(GIVEN + TURN_FRAMES, num)
    made = {}
    for name, turn in (("left", -TURN), ("straight", 0.0), ("right", TURN)):
        actions = windows.actions.clone()
        actions[:, GIVEN:, ACTIONS.index("steering")] = turn
        made[name] = way.predict(DrivingWindows(frames=windows.frames, actions=actions))
    made["as it was truly steered"] = way.predict(windows)
    made["true frames"] = windows.frames[:, GIVEN:]
    read = {name: read_turn(reader, videos) for name, videos in made.items()}
    figures["read"] = means({name: values.tolist() for name, values in read.items()})
    effect = read["right"] - read["left"]
    figures["right_less_left"] = means({"read": effect.tolist()})["read"]
    figures["share_of_states_in_which_right_is_right_of_left"] = float((effect > 0).float().mean())
    figures["cohens_d"] = float(effect.mean() / effect.std())
    truly = torch.stack([steering_of(actions[GIVEN:, 0], READ_FRAMES) for actions in windows.actions])
    figures["true_steering_and_reading_of_generated"] = float(np.corrcoef(truly, read["as it was truly steered"])[0, 1])
    figures["true_steering_and_reading_of_true"] = float(np.corrcoef(truly, read["true frames"])[0, 1])
    shown = [made[name][n] for n in range(2) for name in ("left", "straight", "right")]
    words = [f"{name}, state {n}" for n in range(2) for name in ("left", "straight", "right")]
    save(contact_sheet(torch.stack(shown), words, columns=8, scale=1), media / "drive-steering.png")
    return figures


def read_turn(reader: TurnReader, videos: Tensor) -> Tensor:
    """The mean of what is read from the windows behind the first READ_FRAMES frames."""
    starts = range(READ_FRAMES, videos.shape[1] - READ_FRAMES + 1, READ_FRAMES - 1)
    return torch.stack([reader(sideways(videos[:, start : start + READ_FRAMES])) for start in starts]).mean(0)


# Wear -----------------------------------------------------------------------------------------------------------------


def wear(way: Way, drives: Drives, num: int, num_frames: int, media: Path) -> dict:
    """Sharpness, motion and colours of free drives by time, beside those of true drives."""
    windows = drives.windows(GIVEN, num)
    driver = build_policy("cruise", way.pipe.action_names, frame_rate=way.pipe.frame_rate, seed=0)
    course = driver(None, num_frames)[0]
    actions = torch.cat([windows.actions, course.expand(num, -1, -1)], dim=1)
    videos = way.predict(DrivingWindows(frames=windows.frames, actions=actions))
    truth = torch.cat([pixels(frames[::10]) for frames in drives.frames])
    runs = [pixels(frames[:STRETCH]) for frames in drives.frames if len(frames) >= STRETCH]
    figures: dict = {"videos": num, "frames": num_frames, "driver": "cruise", "stretch": STRETCH}
    figures["true"] = {
        "sharpness": float(np.mean([sharpness(run) for run in runs])),
        "motion": float(np.mean([motion(run) for run in runs])),
        "colours_away_from_all_true_frames": means({"x": [histogram_distance(run, truth) for run in runs]})["x"],
    }
    stretches = videos.split(STRETCH, dim=1)
    figures["sharpness"] = [[sharpness(video) for video in stretch] for stretch in stretches]
    figures["motion"] = [[motion(video) for video in stretch] for stretch in stretches]
    figures["colours_away_from_all_true_frames"] = [
        [histogram_distance(video, truth) for video in stretch] for stretch in stretches
    ]
    rows = videos[0, :: num_frames // 48][:48].unflatten(0, (6, 8))
    words = [f"from frame {row * 8 * (num_frames // 48)}" for row in range(6)]
    save(contact_sheet(rows, words, columns=8, scale=1), media / "drive-2000-frames.png")
    return figures


def save(sheet: object, path: Path) -> None:
    """Write a picture with few colours, so that it stays small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(128).save(path, optimize=True)
    print(f"written to {path}", flush=True)


def main() -> None:
    """Measure part after part; figures are written after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--without", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--long", type=int, default=7, help="drives that are predicted for 512 frames")
    parser.add_argument("--short", type=int, default=9, help="more drives that are predicted for 64 frames")
    parser.add_argument("--states", type=int, default=24, help="from which is steered")
    parser.add_argument("--videos", type=int, default=2, help="free drives")
    parser.add_argument("--frames", type=int, default=2000, help="of a free drive")
    parser.add_argument("--steps", type=int, help="of a segment, where not as many as the model says")
    parser.add_argument("--device", default="cpu", help="where drives are made; the loss is computed on the processor")
    parser.add_argument("--out", type=Path, default=Path("docs/results/drive.json"))
    parser.add_argument("--media", type=Path, default=Path("docs/media"))
    options = parser.parse_args()
    parts = options.parts.split(",")
    pipe = load_pipeline(options.checkpoint or packaged_models()["drive"]).to(options.device)
    if options.steps:
        pipe.register_to_config(num_inference_steps=options.steps)
    ways = {"with memory": Way(pipe), "memory emptied": Way(pipe, "emptied")}
    if options.without:
        ways["trained without"] = Way(load_pipeline(options.without))
    drives = Drives.of(options.data / "donkeycar" / "valid", pipe.frame_size)
    figures: dict = {"steps": pipe.config.num_inference_steps, "seconds": {}}
    memory = ways["with memory"]
    measures: dict[str, Callable[[], dict]] = {
        "loss": lambda: loss_figures(ways, drives),
        "prediction": lambda: prediction(ways, drives, options.long, options.short, options.media),
        "wear": lambda: wear(memory, drives, options.videos, options.frames, options.media),
        "steering": lambda: steering(
            memory,
            Drives.of(options.data / "donkeycar" / "train", pipe.frame_size),
            drives,
            options.states,
            options.media,
        ),
    }
    for part in parts:
        with timed(figures["seconds"], part):
            figures[part] = say(part, measures[part]())
        write(options.out, figures)


if __name__ == "__main__":
    main()
