"""Does the default model obey its caption, remember what is hidden, and not wear out? Read by the oracle of `passage`.

    python benchmarks/quality.py [--checkpoint DIR] [--without DIR] [--parts caption begun recall wear] [--out FILE]

`--without` is the pipeline of the same network that was trained with memory `none` (see docs/log.md).
"""

import argparse
from pathlib import Path

import torch
from results import say, timed, write

from malt.evaluation.evaluated_model import Request, evaluated_model_of, make
from malt.evaluation.metrics.picture_signs import motion
from malt.evaluation.metrics.recall import Recall
from malt.evaluation.report.contact_sheet import contact_sheet
from malt.evaluation.result import summarise
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.worlds.passage.appearances import obeyed
from malt.worlds.passage.captions import Caption, describe
from malt.worlds.passage.drift_signs import track_motion, well_formed
from malt.worlds.passage.inventory import take_inventory
from malt.worlds.passage.oracle import read_shapes
from malt.worlds.passage.passage_world import Passage
from malt.worlds.passage.scenes import Scenes, render, sample_scenes

WORLD = Passage()
CAPTION_SEED, WEAR_SEED = 1_000_000, 3_000_000  # scenes never trained on
PARTS = ("caption", "begun", "recall", "wear")
SHOWN = 4  # long videos on a sheet
BEGUN = ("a red circle and a blue square pass behind a wall", "a red circle and a blue square pass behind a brick wall")


def captions_obeyed(pipe: MaltPipeline, count: int) -> dict:
    """Share of named kinds and colours that the oracle finds in the first 64 frames, generated and rendered."""
    scenes = sample_scenes(count, CAPTION_SEED)
    captions = [_telling(scenes, index) for index in range(count)]
    videos = make(evaluated_model_of(pipe), Request(captions=[caption.text for caption in captions]), 64)
    scores = [obeyed(read_shapes(video), caption) for video, caption in zip(videos, captions, strict=True)]
    truth = [obeyed(read_shapes(render(scenes[n : n + 1], 0, 64)[0]), caption) for n, caption in enumerate(captions)]
    return {"captions": count, "obeyed": _share(scores), "of_rendered_videos": _share(truth)}


def walls_begun(pipe: MaltPipeline, count: int, batch: int = 32) -> dict:
    """Of videos of a caption, how many begin with a wall, as all of the world's do; without one a video runs empty."""
    return {caption: {"videos": count, "with_a_wall": _walls(pipe, caption, count, batch)} for caption in BEGUN}


def _walls(pipe: MaltPipeline, caption: str, count: int, batch: int) -> int:
    seen = 0
    for first in range(0, count, batch):
        request = Request(captions=[caption] * min(batch, count - first), seed=first)
        seen += sum("wall" in take_inventory(video).scenery for video in make(evaluated_model_of(pipe), request, 33))
    return seen


def recall(pipe: MaltPipeline, count: int) -> dict:
    """Share of shapes, hidden when the true frames end, that come out the same, by use of the memory and time hidden."""
    found = summarise(
        [Recall(world=WORLD, per_bin=-(-count // len(WORLD.oracle.spans))).run(evaluated_model_of(pipe), seed=0)]
    )
    by_hiding = {
        curve["line"]: dict(
            zip((each.name for each in WORLD.oracle.spans), (point["mean"] for point in curve["points"]), strict=True)
        )
        for curve in found["curves"]
    }
    return {**found["figures"], "by_hidden_frames": by_hiding}


def wear(pipe: MaltPipeline, count: int, sheet: Path | None, late: int = 3000) -> dict:
    """Well-formed shapes and motion in frames `late` ... `late + 100` against those in frames 0 ... 100.

    The same of rendered videos of the scenes that the captions describe says how much of it is chance. `sheet` is written
    where it is given: both windows of the first videos.
    """
    scenes = sample_scenes(count, WEAR_SEED)
    captions = [describe(scenes, n, WEAR_SEED + n).text for n in range(count)]
    rollout = pipe.rollout(captions)
    windows: dict[str, list[torch.Tensor]] = {"first": [], "last": []}
    progress = rollout.begin(seed=0)
    for segment in rollout.stream(late + 100, progress):
        stop = segment.start + segment.frames.shape[1]
        if segment.start < 100:
            windows["first"].append(segment.frames[:, : 100 - segment.start].cpu())
        if stop > late:
            windows["last"].append(segment.frames[:, max(0, late - segment.start) :].cpu())
    made = {name: torch.cat(parts, dim=1) for name, parts in windows.items()}
    true = {name: render(scenes, start, 100) for name, start in (("first", 0), ("last", late))}
    if sheet is not None:
        for name, videos in made.items():
            contact_sheet(videos[:SHOWN], captions[:SHOWN], scale=1).save(sheet.with_stem(f"{sheet.stem}-{name}"))
    return {"videos": count, "frames": [late, late + 100], **_worn(made), "of_rendered_films": _worn(true)}


def _worn(windows: dict[str, torch.Tensor]) -> dict:
    """Well-formed shapes and motion of both windows of every video, and last over first."""
    figures: dict[str, dict[str, float]] = {}
    for name, videos in windows.items():
        readings, count = [read_shapes(video) for video in videos], len(videos)
        figures[name] = {
            "shapes_a_frame": sum(map(well_formed, readings)) / count,
            "motion": sum(map(motion, videos)) / count,
            "pixels_a_frame": sum(map(track_motion, readings)) / count,
        }
    kept = {key: figures["last"][key] / max(figures["first"][key], 1e-9) for key in figures["first"]}
    return {**figures, "last_over_first": kept}


def _telling(scenes: Scenes, index: int) -> Caption:
    """The first caption of a scene, by seed, that names something of a shape."""
    drawn = (describe(scenes, index, CAPTION_SEED + 1000 * index + n) for n in range(1000))
    return next(caption for caption in drawn if any(shape.kind or shape.colour for shape in caption.shapes))


def _share(scores: list[tuple[int, int]]) -> float:
    return sum(right for right, _ in scores) / sum(named for _, named in scores)


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--without", type=Path)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--wear", type=int, default=16, help="number of videos of 3,100 frames")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--sheet", type=Path, help="PNG for frames of the first long videos")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("docs/results/quality.json"))
    options = parser.parse_args()
    pipe = _load(options.checkpoint, options)
    figures: dict = {"steps": pipe.config["num_inference_steps"], "guidance": pipe.config["guidance_scale"]}
    with timed(figures, "seconds"):
        if "caption" in options.parts:
            figures["caption"] = say("caption", captions_obeyed(pipe, options.count))
        if "begun" in options.parts:
            figures["begun"] = say("begun", walls_begun(pipe, 2 * options.count))
        if "recall" in options.parts:
            figures["recall"] = {"memory": say("recall", recall(pipe, options.count)), "chance": WORLD.oracle.chance}
            if options.without:
                figures["recall"]["none"] = say("recall, none", recall(_load(options.without, options), options.count))
        if "wear" in options.parts:
            figures["wear"] = say("wear", wear(pipe, options.wear, options.sheet))
    write(options.out, figures)


def _load(path: Path | None, options: argparse.Namespace) -> MaltPipeline:
    pipe = load_pipeline(path)
    given = {"num_inference_steps": options.steps, "guidance_scale": options.guidance}
    pipe.register_to_config(**{name: value for name, value in given.items() if value is not None})
    return pipe.to(options.device)


if __name__ == "__main__":
    main()
