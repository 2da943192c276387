"""Videos that begin as others do: a whole one and more, another future from a frame on, another prompt from the beginning.

All are exact: what two have in common is the same to the bit, and what comes is what the session would have made.
"""

import numpy as np

from malt.errors import UsageError
from malt.serving.job_store import Record
from malt.serving.jobs import VideoJobs
from malt.serving.recording import Parting
from malt.serving.refusals import MissingError, NotReadyError
from malt.serving.requests import GenerationRequest, frames_in
from malt.serving.schemas import ContinuedRequest, EditRequest, ExtendRequest, RemixRequest, VideoRequest
from malt.sessions.storage import INDEX, read_index, session_folder


def remixed(jobs: VideoJobs, source: Record, asked: RemixRequest) -> tuple[GenerationRequest, np.ndarray | None]:
    """What makes a video as another, of the same seed and beginning, with another prompt: a request and its first frames.

    Raises:
        UsageError: the prompt does not fit.
    """
    request = VideoRequest(**source.request | _length(source.num_frames) | {"prompt": asked.prompt})
    return jobs.validator.validate(request), jobs.store.frames(source)


def copy_source(
    jobs: VideoJobs, source: Record, asked: ExtendRequest | EditRequest
) -> tuple[Record, GenerationRequest, Parting]:
    """A copy of a video that is to go on, or to be another from a frame on, and how.

    Raises:
        NotReadyError: it is still being made, or there is nothing of it to go on from.
        UsageError: it cannot be gone on with so.
        FullError: there is no room on the disk.
    """
    check_source(jobs, source)
    if isinstance(asked, ExtendRequest):
        more = extra_frames(asked, source.frame_rate)
        num_frames, parting = source.num_frames + more, Parting(frame=source.num_frames, starts=source.num_frames)
    else:
        _check_frame(jobs, source, asked.frame)
        num_frames, parting = source.num_frames, Parting(frame=asked.frame)
    parting.prompt, parting.seed = asked.prompt or None, asked.seed
    told = {"prompt": asked.prompt or source.request["prompt"]} | ({} if asked.seed is None else {"seed": asked.seed})
    extras = dict.fromkeys(asked.model_extra or {})
    generation = jobs.validator.validate(VideoRequest(**source.request | _length(num_frames) | told | extras))
    jobs.check_room(generation.size)
    record = jobs.new_record(generation, source.id)
    jobs.store.copy(source, record)
    return record, generation, parting


def extra_frames(asked: ExtendRequest, frame_rate: float) -> int:
    """How many frames longer a video is to be.

    Raises:
        UsageError: it is not said, or twice.
    """
    if (asked.seconds is None) == (asked.num_frames is None):
        raise UsageError("say how much longer the video is to be, by seconds or num_frames")
    return asked.num_frames or frames_in(asked.seconds or 0, frame_rate)


def check_source(jobs: VideoJobs, source: Record) -> None:
    """Raise a `NotReadyError` for a video that is still being made, or has no session."""
    if jobs.status(source) in ("queued", "in_progress"):
        raise NotReadyError(f"the video is {jobs.status(source)}; wait until it is completed, or cancel it")
    if not (session_folder(jobs.video(source)) / INDEX).is_file():
        raise NotReadyError("nothing of the video is there to go on from")


def source_of(jobs: VideoJobs, asked: ContinuedRequest) -> Record:
    """The video that a request speaks of.

    Raises:
        MissingError: there is none.
        UsageError: it speaks of none.
    """
    if asked.video is None:
        raise UsageError('say which video, as in {"video": {"id": "video_..."}}')
    try:
        return jobs.get(asked.video.id)
    except LookupError as error:
        raise MissingError("there is no such video") from error


def _length(num_frames: int) -> dict[str, object]:
    return {"num_frames": num_frames, "seconds": None}


def _check_frame(jobs: VideoJobs, source: Record, frame: int) -> None:
    origin = read_index(session_folder(jobs.video(source)))["origin"]
    first, last = (origin["start"] if origin else 0), source.frames_made
    if not first <= frame <= last:
        raise UsageError(f"the ways cannot part at frame {frame}; give one from {first} to {last}")
