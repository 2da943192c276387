"""`malt generate`: a video of any length from a sentence, written as it is made."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from malt.commands.checks import check_above_zero, check_count, check_finite, check_seed
from malt.commands.interruption import interruptible
from malt.commands.model import bring_up
from malt.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from malt.generation.report import RunReport
    from malt.generation.rollout import Segment
    from malt.generation.sink import VideoSink
    from malt.pipelines.malt import MaltPipeline

DEFAULT_NUM_FRAMES = 256


@dataclass(frozen=True, kw_only=True)
class Command:
    """Write a video of any length from a sentence."""

    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """What the video shows, for example "a red circle and a blue square pass behind a wall"."""
    out: Path = Path("video.mp4")
    """Where to write the video; its ending says the format: .mp4, .webm or .gif."""
    frames: int | None = None
    """How many frames to make (256 if neither frames nor seconds are given)."""
    seconds: float | None = None
    """How long the video lasts, instead of the number of frames."""
    seed: int = 0
    """What chance starts from: the same seed makes the same video."""
    steps: int | None = None
    """Denoising steps a segment: more are slower and finer; the model's own number by default."""
    guidance_scale: float | None = None
    """How hard the sentence is obeyed; the model's own by default."""
    memory_guidance_scale: float | None = None
    """How hard the memory is obeyed; the model's own by default."""
    checkpoint: Path | None = None
    """Folder of the model (with model_index.json); the default model comes with the package."""
    image: Path | None = None
    """A picture that the video begins with."""
    video: Path | None = None
    """A video that the new one begins with and continues."""
    fps: float | None = None
    """Frames a second the file plays at; the model's own by default."""
    scale: int = 4
    """Every pixel is written this many times each way, as small videos are hard to see; 1 keeps the model's size."""
    overwrite: bool = False
    """Replace files that exist."""
    report: Path | None = None
    """Where to write figures of the run, as JSON."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, mps."""
    threads: int | None = None
    """How many processor threads to use."""

    def check(self) -> None:
        """Find out, before any work, whether what was asked for can be done.

        Raises:
            UsageError: it cannot.
        """
        self._check_numbers()
        self._check_inputs()
        self._check_outputs()

    def run(self) -> None:
        """Check, load the model, and write the video."""
        with interruptible():
            self.check()
            pipe = bring_up(self.checkpoint, device=self.device, threads=self.threads)
            _warn_of_unknown_words(pipe, self.prompt)
            self._generate(pipe)

    def _check_numbers(self) -> None:
        if not self.prompt.strip():
            raise UsageError('the prompt is empty; say what the video shows, as in malt generate "a red circle"')
        if self.frames is not None and self.seconds is not None:
            raise UsageError("both --frames and --seconds were given; give one of them")
        for option in ("frames", "steps", "scale", "threads"):
            check_count(f"--{option}", getattr(self, option))
        for option in ("seconds", "fps"):
            check_above_zero(f"--{option}", getattr(self, option))
        check_finite("--guidance-scale", self.guidance_scale)
        check_finite("--memory-guidance-scale", self.memory_guidance_scale)
        check_seed(self.seed)

    def _check_inputs(self) -> None:
        from malt.generation.source import read_image, read_video
        from malt.pipelines.checkpoint import check_checkpoint

        if self.image is not None and self.video is not None:
            raise UsageError("both --image and --video were given; give one of them")
        if self.checkpoint is not None:
            check_checkpoint(self.checkpoint)
        if self.image is not None:
            read_image(self.image)
        if self.video is not None:
            next(read_video(self.video))

    def _check_outputs(self) -> None:
        from malt.generation.output import check_output

        inputs = {path.resolve() for path in (self.image, self.video) if path is not None}
        for path in (self.out, self.report):
            if path is not None and path.resolve() in inputs:
                raise UsageError(f"{path} is read and cannot be written as well; choose another name")
        self._open_sink(self.fps or 1.0)
        if self.report is None:
            return
        check_output(self.report, overwrite=self.overwrite)
        if self.report.resolve() == self.out.resolve():
            raise UsageError(f"{self.out} cannot be both video and report; choose another name")

    def _generate(self, pipe: "MaltPipeline") -> None:
        from malt.commands.progress import frame_progress
        from malt.generation.report import RunReport

        sink = self._open_sink(self.fps or pipe.frame_rate)
        num_frames = self._num_frames(sink)
        segments = self._segments(pipe, num_frames)
        report = RunReport(prompt=self.prompt, seed=self.seed, checkpoint=str(self.checkpoint or "default"))
        try:
            with sink, frame_progress() as progress:
                task = progress.add_task("generating", total=num_frames)
                for segment in segments:
                    _write_segment(segment, sink, report)
                    progress.update(task, completed=sink.num_frames)
        finally:
            print(_outcome(sink, num_frames, report), file=sys.stderr)
            if self.report is not None:
                report.write(self.report)

    def _open_sink(self, frame_rate: float) -> "VideoSink":
        from malt.generation.sink import VideoSink

        return VideoSink(self.out, frame_rate=frame_rate, scale=self.scale, overwrite=self.overwrite)

    def _num_frames(self, sink: "VideoSink") -> int:
        if self.seconds is not None:
            return max(1, round(self.seconds * float(sink.frame_rate)))
        return self.frames or DEFAULT_NUM_FRAMES

    def _segments(self, pipe: "MaltPipeline", num_frames: int) -> "Iterator[Segment]":
        import torch

        return pipe.stream(
            self.prompt,
            num_frames=num_frames,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance_scale,
            memory_guidance_scale=self.memory_guidance_scale,
            generator=torch.Generator().manual_seed(self.seed),
            image=self._first_image(pipe),
            video=self._first_video(pipe, num_frames),
        )

    def _first_image(self, pipe: "MaltPipeline") -> "Tensor | None":
        from malt.generation.pixels import to_tensor
        from malt.generation.source import read_image

        if self.image is None:
            return None
        return to_tensor(read_image(self.image, pipe.frame_size)[None])[0]

    def _first_video(self, pipe: "MaltPipeline", num_frames: int) -> "Tensor | None":
        import numpy as np

        from malt.generation.pixels import to_tensor
        from malt.generation.source import read_video

        if self.video is None:
            return None
        frames = read_video(self.video, pipe.frame_size, fps=pipe.frame_rate, max_frames=num_frames)
        return to_tensor(np.stack(list(frames)))


def _warn_of_unknown_words(pipe: "MaltPipeline", prompt: str) -> None:
    unknown = pipe.unknown_words(prompt)
    if unknown:
        known = ", ".join(pipe.known_words)
        print(f"malt: the model does not know {', '.join(unknown)}; it knows: {known}", file=sys.stderr)


def _write_segment(segment: "Segment", sink: "VideoSink", report: "RunReport") -> None:
    from malt.generation.pixels import to_pixels

    sink.write(to_pixels(segment.frames[0]))
    report.add_segment(num_frames=segment.frames.shape[1], memory_bytes=segment.memory_bytes)


def _outcome(sink: "VideoSink", num_frames: int, report: "RunReport") -> str:
    if sink.num_frames == 0:
        return f"malt: ended before the first segment; nothing was written to {sink.path}"
    how_much = f"({sink.seconds:.1f} s)"
    if sink.num_frames < num_frames:
        return (
            f"malt: ended early; the first {sink.num_frames} of {num_frames} frames {how_much} are kept in {sink.path}"
        )
    rate = f"{report.frames_per_second:.1f} frames/s"
    return f"malt: wrote {num_frames} frames {how_much} to {sink.path} at {rate}"
