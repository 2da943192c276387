"""The session that `malt generate` keeps beside a video: found, loaded with the model that made it, and gone on with."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict, cast

from malt.commands.checks import check_count
from malt.commands.model_options import ModelOptions, check_lora, find_model, find_place, load_model
from malt.commands.remarks import say_remarks
from malt.errors import MaltError, UsageError
from malt.pipelines.model_place import ModelPlace

if TYPE_CHECKING:
    from malt.media.video_writer import VideoSink
    from malt.pipelines.video_pipeline import VideoPipeline
    from malt.sessions.session import Session
    from malt.sessions.storage import SessionIndex


class VideoNotes(TypedDict):
    """What malt generate notes with a session: how the file is written, how long it is planned and is, what drives the model."""

    frame_rate: str
    scale: int
    planned: int | None
    shown: int
    seed: int
    checkpoint: str | None
    actions: str | None
    driver: str | None
    lora: NotRequired[str | None]
    base: NotRequired[str]
    adapter: NotRequired[str]
    precision: NotRequired[str]
    offload: NotRequired[str]
    compile: NotRequired[bool]
    earlier_seeds: NotRequired[list[int]]


def read_session_of(video: Path) -> "SessionIndex":
    """What the session beside a video says of itself, without loading it.

    Raises:
        UsageError: there is no session, or it is not one of malt generate.
        MaltError: it is damaged.
    """
    from malt.sessions.storage import read_index, session_folder

    index = read_index(session_folder(video))
    if not index["notes"].keys() >= VideoNotes.__required_keys__:
        raise UsageError(f"the session {session_folder(video)} was not kept by malt generate; go on with it in Python")
    try:
        Fraction(str(index["notes"]["frame_rate"]))
    except (ValueError, ZeroDivisionError) as error:
        raise MaltError(f"the session {session_folder(video)} is damaged (its frame rate is none)") from error
    return index


def notes_of(noted: "Session | SessionIndex") -> VideoNotes:
    """The notes of a session that malt generate kept."""
    return cast(VideoNotes, noted["notes"] if isinstance(noted, dict) else noted.state.notes)


@contextmanager
def claimed_session_of(video: Path, where: ModelOptions) -> "Iterator[Session]":
    """The session beside a video that is to be written on, which no other process may write meanwhile.

    Raises:
        UsageError: as `load_session_of`, or another process is writing it.
        MaltError: as `load_session_of`.
    """
    from malt.media.files import video_lock

    read_session_of(video)
    with video_lock(video):
        yield load_session_of(video, where)


def load_session_of(video: Path, where: ModelOptions, *, may_differ: bool = False) -> "Session":
    """The session beside a video, with the model that made it: the one it was made with, unless another place is said.

    Args:
        video: an .mp4, which has to be the one that the session wrote unless it `may_differ`.
        where: where the model is.
        may_differ: whether the video is about to be made again, whatever lies in its place.

    Raises:
        UsageError: there is no session, or its model is gone.
        MaltError: it is damaged, the model is another, or the video is another's.
    """
    check_count("--threads", where.threads)
    check_lora(where.lora)
    notes = notes_of(read_session_of(video))
    pipe = load_model(
        _place_of(notes, video, where),
        lora=where.lora or _noted_lora(notes.get("lora"), video),
        device=where.device,
        threads=where.threads,
        offload=notes.get("offload", "none") if where.offload == "none" else where.offload,
        precision=notes.get("precision", "auto") if where.precision == "auto" else where.precision,
    )
    return session_beside(video, pipe, may_differ=may_differ)


def session_beside(video: Path, pipe: "VideoPipeline", *, may_differ: bool = False) -> "Session":
    """The session beside a video, of a model that is loaded; see `load_session_of`.

    Raises:
        UsageError: there is no session.
        MaltError: it is damaged, the model is another, or the video is another's.
    """
    from malt.media.video_writer import end_in_video
    from malt.sessions.session import Session
    from malt.sessions.storage import session_folder
    from malt.sessions.video_binding import check_bound

    session = Session.load(session_folder(video), pipe)
    if video.is_file() and not may_differ:
        check_bound(video, notes_of(session), lambda frame: end_in_video(video, frame, **_written_as(video, session)))
    return session


def _place_of(notes: VideoNotes, video: Path, where: ModelOptions) -> ModelPlace:
    """The model that made a video: where it was, but for what is said now."""
    said, noted = find_place(where.model, where.checkpoint, where), ModelPlace.noted(dict(notes))
    if said.is_given and not said.is_based:
        return said
    place = ModelPlace(folder=noted.folder, base=said.base or noted.base, adapter=said.adapter or noted.adapter)
    if lost := place.lost():
        options = "--base or --adapter" if place.is_based else "--checkpoint"
        raise UsageError(f"the model in {lost} made {video} and is gone; say where it is, with {options}")
    if place.is_based:
        place.check_base()
    elif place.folder is not None:
        find_model(None, place.folder)
    return place


def _noted_lora(noted: str | None, video: Path) -> Path | None:
    if noted is None:
        return None
    if not Path(noted).exists():
        raise UsageError(f"the LoRA {noted} made {video} and is gone; say where it is, with --lora")
    return Path(noted)


def change_prompt(session: "Session", prompt: str, end: int | None) -> None:
    """Let a prompt, or several in turn, take the place of what was to come until frame `end`; say what is remarked of them.

    Raises:
        UsageError: for empty prompts, or times beyond the end.
    """
    from malt.sessions.prompts import read_lines

    lines = read_lines(prompt)
    session.schedule_prompts(lines, num_frames=end, frame_rate=float(Fraction(notes_of(session)["frame_rate"])))
    say_remarks(session.pipe, lines)


def open_sink(video: Path, session: "Session") -> "VideoSink":
    """The video of a session, to go on where the session stands.

    Raises:
        MaltError: the video is not the one that the session wrote.
    """
    from malt.media.video_writer import VideoSink

    return VideoSink.go_on(video, session.num_frames, **_written_as(video, session))


def end_of_session(video: Path, session: "Session") -> int:
    """Where in its video a session stands, in bytes; the video is only read.

    Raises:
        MaltError: the video is not the one that the session wrote.
    """
    from malt.media.video_writer import end_in_video

    return end_in_video(video, session.num_frames, **_written_as(video, session))


class _WrittenAs(TypedDict):
    frame_rate: float
    scale: int
    size: tuple[int, int]


def _written_as(video: Path, session: "Session") -> _WrittenAs:
    notes, settings = notes_of(session), session.state.settings
    if not video.is_file():
        raise MaltError(f"there is a session, but no video {video}; put the video back in its place")
    size = settings["height"], settings["width"]
    return _WrittenAs(frame_rate=float(Fraction(notes["frame_rate"])), scale=notes["scale"], size=size)
