"""Videos to be looked at side by side: every model's of the same captions, and the world's own of each scene."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypedDict

from jaxtyping import Float
from torch import Tensor

from malt.evaluation.evaluated_model import EvaluatedModel, Request
from malt.evaluation.reference import actions_of, captions_of, seeds_of, true_videos
from malt.media.files import replacing
from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink
from malt.worlds.base import World

WORLD = "the world itself"
SEED, SCALE = 1000, 3  # no metric is run with so large a seed


class CaptionedFiles(TypedDict):
    """A caption, and the video files made of it, by who made them."""

    caption: str
    files: dict[str, str]


def show(
    world: World, models: Sequence[EvaluatedModel], folder: Path, num_videos: int, num_frames: int
) -> Iterator[str]:
    """Write what is not there yet into `folder`, and name each model whose videos are being made."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = captions_of(world, num_videos, SEED)
    for model in models:
        paths = [folder / file_name(model.name, n) for n in range(num_videos)]
        if not all(path.is_file() for path in paths):
            yield model.name
            actions = actions_of(world, seeds_of(num_videos, SEED), num_frames, model.action_names)
            start = model.begin(Request(captions=captions, seed=SEED, actions=actions))
            _write((segment.frames for segment in start.stream(num_frames)), paths, model.frame_rate)
    paths = [folder / file_name(WORLD, n) for n in range(num_videos)]
    if models and not all(path.is_file() for path in paths):
        yield WORLD
        videos = true_videos(world, seeds_of(num_videos, SEED), 0, num_frames, models[0].frame_size)
        _write([videos], paths, models[0].frame_rate)


def table(world: World, models: Sequence[EvaluatedModel], folder: Path, num_videos: int) -> list[CaptionedFiles]:
    """For the page: every caption with the files, relative to the page, of those whose videos are there."""
    names = [WORLD, *(model.name for model in models)]
    return [
        {
            "caption": caption,
            "files": {
                name: f"{folder.name}/{file_name(name, n)}" for name in names if (folder / file_name(name, n)).is_file()
            },
        }
        for n, caption in enumerate(captions_of(world, num_videos, SEED))
    ]


def file_name(model: str, index: int) -> str:
    """The name of a video's file."""
    return f"{model.replace(' ', '-')}-{index}.mp4"


def _write(parts: Iterable[Float[Tensor, "b t 3 h w"]], paths: list[Path], frame_rate: float) -> None:
    """Write a batch of videos as it is made; a file has its name only when it is whole."""
    with ExitStack() as stack:
        drafts = [stack.enter_context(replacing(path)) for path in paths]
        sinks = [VideoSink(draft, frame_rate=frame_rate, scale=SCALE, overwrite=True) for draft in drafts]
        for sink in sinks:
            stack.enter_context(sink)
        for videos in parts:
            for sink, video in zip(sinks, videos, strict=True):
                sink.write(to_pixels(video))
