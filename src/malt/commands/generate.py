"""`malt generate`: a video of any length from a sentence, written as it is made."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from malt.commands.checks import (
    check_above_zero,
    check_count,
    check_finite,
    check_one_of,
    check_rate,
    check_seed,
    read_size,
)
from malt.commands.compiling import check_compile, compile_ahead
from malt.commands.model_options import MakingOptions, check_lora, find_place, load_model
from malt.commands.option import Positional
from malt.commands.remarks import say_remarks, say_session_size
from malt.commands.signals import interruptible
from malt.errors import UsageError
from malt.media.files import video_lock
from malt.unicode import check_text
from malt.wording import counted

if TYPE_CHECKING:
    from malt.media.video_writer import VideoSink
    from malt.pipelines.model_place import ModelPlace
    from malt.pipelines.video_pipeline import VideoPipeline
    from malt.rollouts.base import Segment
    from malt.sessions.prompts import PromptLine
    from malt.sessions.session import Session

DEFAULT_NUM_FRAMES = 256


@dataclass(frozen=True, kw_only=True)
class GenerateCommand(MakingOptions):
    """Write a video of any length from a prompt."""

    prompt: Annotated[str, Positional("PROMPT")] = ""
    """What the video shows; or several prompts in turn, each for its time: "a red circle [4s] | two shapes [64f]"."""
    negative_prompt: str = ""
    """What the video is led away from, where the prompt is guided."""
    prompts: Path | None = None
    """A YAML file of prompts in turn: a list of `prompt:` with `seconds:` or `frames:`."""
    out: Path = Path("video.mp4")
    """File to write; its ending says the format: .mp4, .webm or .gif."""
    frames: int | None = None
    """How many frames to make; by default as many as the prompts or the actions last, else 256 behind --video."""
    seconds: float | None = None
    """How long the video lasts, in place of --frames."""
    forever: bool = False
    """Go on until Ctrl-C; everything made so far is kept."""
    no_session: bool = False
    """Keep no session beside an .mp4 (walk.session for walk.mp4); malt resume, rewind, branch and inspect need one."""
    seed: int = 0
    """Seed of the random numbers: the same seed makes the same video."""
    steps: int | None = None
    """Denoising steps of each segment, more being slower and finer; the model's own number by default."""
    guidance_scale: float | None = None
    """How closely the prompt is followed, 1 being without guidance; the model's own by default."""
    memory_guidance_scale: float | None = None
    """How closely the memory is followed, 1 being without guidance; the model's own by default."""
    rollout: str = "malt"
    """How segments follow one another: malt, full, sliding_window, keyframes or diffusion_forcing."""
    actions: Path | None = None
    """A CSV file of actions, for models that take them: a column for each action, a row for each frame."""
    policy: str | None = None
    """Who acts in place of a file: a car's cruise (a smooth random course) or weave (from side to side); a walker's explore,
    replay, loop, return or wander, as in the world of the model."""
    image: Path | None = None
    """An image that the video begins with."""
    video: Path | None = None
    """A video that this one begins with and continues."""
    size: str | None = None
    """Width and height of the video, as in 832x480; the model's own by default."""
    fps: float | None = None
    """Frames a second of the file; the model's own by default."""
    scale: int | None = None
    """Write each pixel this many times in both directions; by default what makes a small video visible."""
    overwrite: bool = False
    """Replace files that exist."""
    report: Path | None = None
    """Where to write the run's figures, as JSON."""

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
            with video_lock(self.out):
                names = ("lora", "device", "threads", "offload", "precision")
                self.write(load_model(self._place, **{name: getattr(self, name) for name in names}))

    def write(self, pipe: "VideoPipeline") -> None:
        """Write the video, which was checked and is nobody else's meanwhile, by the model once it is loaded.

        Raises:
            UsageError: the model cannot make it.
        """
        from malt.commands.given_frames import count_given
        from malt.media.frame_scale import choose_scale

        say_remarks(pipe, self._lines())
        scale = choose_scale(self._size or pipe.frame_size, self.scale)
        sink = self._open_sink(self.fps or pipe.frame_rate, scale)
        num_given = count_given(pipe, self.video) if self.video else 0
        self._write(self._begin(pipe, sink, num_given), sink, num_given)

    @property
    def _place(self) -> "ModelPlace":
        return find_place(self.model, self.checkpoint, self)

    @property
    def _size(self) -> tuple[int, int] | None:
        return read_size(self.size)

    @property
    def _folder(self) -> Path | None:
        """Where the session is kept; nowhere for files that cannot be gone on with."""
        from malt.sessions.storage import session_folder

        return session_folder(self.out) if not self.no_session and self.out.suffix.lower() == ".mp4" else None

    def _lines(self) -> "tuple[PromptLine, ...]":
        from malt.sessions.prompts import read_lines, read_prompts_file

        if self.prompts is not None:
            return read_prompts_file(self.prompts)
        return read_lines(self.prompt) if self.prompt.strip() else ()

    def _check_numbers(self) -> None:
        check_one_of(frames=self.frames, seconds=self.seconds, forever=self.forever)
        for option in ("frames", "steps", "scale", "threads"):
            check_count(f"--{option}", getattr(self, option))
        check_above_zero("--seconds", self.seconds)
        check_rate("--fps", self.fps)
        check_finite("--guidance-scale", self.guidance_scale)
        check_finite("--memory-guidance-scale", self.memory_guidance_scale)
        check_seed(self.seed)
        read_size(self.size)
        check_compile(self.compile, self.offload)

    def _check_inputs(self) -> None:
        from malt.media.images import read_image
        from malt.media.video_reader import read_video

        check_one_of(image=self.image, video=self.video)
        check_one_of(actions=self.actions, policy=self.policy)
        if self.prompts is not None and self.prompt.strip():
            raise UsageError("both a prompt and --prompts were given; give one of them")
        check_lora(self.lora)
        check_text(self.negative_prompt)
        if not self._lines() and not self._place.takes_actions:
            raise UsageError('the prompt is empty; say what the video shows, as in malt generate "a red circle"')
        if self.image is not None:
            read_image(self.image)
        if self.video is not None:
            next(read_video(self.video))

    def _check_outputs(self) -> None:
        from malt.media.output_path import check_output

        inputs = (self.image, self.video, self.prompts, self.actions)
        read = {path.resolve() for path in inputs if path is not None}
        for path in (self.out, self.report):
            if path is not None and path.resolve() in read:
                raise UsageError(f"{path} is read and cannot be written as well; choose another name")
        self._open_sink(self.fps or 1.0, self.scale or 1)
        if self._folder is not None and self._folder.exists() and not self.overwrite:
            raise UsageError(f"{self._folder} exists and is kept; choose another name or pass --overwrite")
        if self.report is None:
            return
        check_output(self.report, overwrite=self.overwrite)
        if self.report.resolve() == self.out.resolve():
            raise UsageError(f"{self.out} cannot be both video and report; choose another name")

    def _begin(self, pipe: "VideoPipeline", sink: "VideoSink", num_given: int) -> "Session":
        """A session in which nothing has been made, with what it takes to go on with it noted."""
        from malt.sessions.session import Session

        end = self._num_frames(float(sink.frame_rate), num_given)
        self._check_end(end, num_given)
        session = Session.begin(
            pipe,
            self._lines() or "",
            seed=self.seed,
            num_frames=end,
            frame_rate=float(sink.frame_rate),
            rollout=self.rollout,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance_scale,
            memory_guidance_scale=self.memory_guidance_scale,
            negative_prompt=self.negative_prompt or None,
            height=self._size and self._size[0],
            width=self._size and self._size[1],
        )
        say_session_size(session, self._folder)
        session.note(
            planned=end,
            frame_rate=str(sink.frame_rate),
            scale=sink.scale,
            seed=self.seed,
            **self._place.notes(),
            precision=pipe.precision if self.precision == "auto" else self.precision,
            offload=self.offload,
            compile=self.compile,
            lora=_whole(self.lora),
            actions=_whole(self.actions),
            driver=self.policy,
        )
        return session

    def _write(self, session: "Session", sink: "VideoSink", num_given: int) -> None:
        """Choose what drives the model, and write what is given and what is made."""
        from malt.commands.actions import choose_policy
        from malt.commands.generation_run import GenerationRun
        from malt.sessions.run_report import RunReport
        from malt.sessions.storage import forget_session

        end = self._num_frames(float(sink.frame_rate), num_given)
        given = self._first_segments(session, num_given)
        driver = choose_policy(
            session.pipe.action_names,
            policy=self.policy,
            actions=self.actions,
            seed=self.seed,
            frame_rate=float(sink.frame_rate),
            start=0,
            end=end,
        )
        if self._folder is not None:
            forget_session(self._folder)
        compile_ahead(session)
        report = RunReport(prompt=self.prompt, seed=self.seed, checkpoint=str(self._place.folder or self._place.name))
        GenerationRun(
            session=session,
            sink=sink,
            report=report,
            end=end,
            folder=self._folder,
            driver=driver,
            report_to=self.report,
        ).run(given)

    def _open_sink(self, frame_rate: float, scale: int) -> "VideoSink":
        from malt.media.video_writer import VideoSink

        return VideoSink(self.out, frame_rate=frame_rate, scale=scale, overwrite=self.overwrite)

    def _num_frames(self, frame_rate: float, num_given: int) -> int | None:
        from malt.commands.actions import count_actions
        from malt.sessions.prompts import total_frames

        if self.forever:
            return None
        if self.seconds is not None:
            return max(1, round(self.seconds * frame_rate))
        lines = self._lines()
        lasts = total_frames(lines, frame_rate) if lines else None
        acts = count_actions(self.actions) if self.actions else None
        return self.frames or lasts or acts or num_given + DEFAULT_NUM_FRAMES

    def _first_segments(self, session: "Session", num_given: int) -> "Iterator[Segment]":
        """The segments that a given image or video becomes."""
        from malt.commands.given_frames import given_image, given_video

        pipe, size = session.pipe, self._size or session.pipe.frame_size
        if self.image is not None:
            return session.prefill_pieces(given_image(pipe, self.image, size))
        return session.prefill_pieces(given_video(pipe, self.video, num_given, size)) if self.video else iter(())

    def _check_end(self, end: int | None, num_given: int) -> None:
        if self.video is not None and end is not None and end <= num_given:
            raise UsageError(
                f"{self.video} alone has {counted(num_given, 'frame')}, and the whole video is to have {end}; give "
                f"--frames above {num_given}, or neither --frames nor --seconds"
            )


def _whole(path: Path | None) -> str | None:
    """A path as a session notes it, to be found from any folder."""
    return None if path is None else str(path.resolve())
