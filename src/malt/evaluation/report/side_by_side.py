"""Videos to be looked at side by side: every model's of the same captions, and the world's own of each scene."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from malt.evaluation.reference import captions_of, seeds_of, true_videos
from malt.evaluation.video_model import Request, VideoModel
from malt.media.files import replacing
from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink
from malt.worlds.base import World

WORLD = "the world itself"
SEED, SCALE = 1000, 3  # no metric is run with so large a seed


def show(world: World, subjects: list[VideoModel], folder: Path, num_videos: int, num_frames: int) -> Iterator[str]:
    """Write what is not there yet into `folder`, and name each model whose videos are being made."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = captions_of(world, num_videos, SEED)
    for subject in subjects:
        paths = [folder / file_name(subject.name, n) for n in range(num_videos)]
        if not all(path.is_file() for path in paths):
            yield subject.name
            place = subject.begin(Request(captions=captions, seed=SEED))
            _write((segment.frames for segment in subject.stream(place, num_frames)), paths, subject.frame_rate)
    paths = [folder / file_name(WORLD, n) for n in range(num_videos)]
    if subjects and not all(path.is_file() for path in paths):
        yield WORLD
        films = true_videos(world, seeds_of(num_videos, SEED), 0, num_frames, subjects[0].frame_size)
        _write([films], paths, subjects[0].frame_rate)


def table(world: World, subjects: list[VideoModel], folder: Path, num_videos: int) -> list[dict[str, Any]]:
    """For the page: every caption with the files, relative to the page, of those whose videos are there."""
    names = [WORLD, *(subject.name for subject in subjects)]
    return [
        {
            "caption": caption,
            "files": {
                name: f"{folder.name}/{file_name(name, n)}" for name in names if (folder / file_name(name, n)).is_file()
            },
        }
        for n, caption in enumerate(captions_of(world, num_videos, SEED))
    ]


def file_name(subject: str, index: int) -> str:
    """The name of a video's file."""
    return f"{subject.replace(' ', '-')}-{index}.mp4"


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
