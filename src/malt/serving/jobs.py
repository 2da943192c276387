"""Video jobs: they run one after another's turn, are saved after every segment, and go on after a restart."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from malt.errors import MaltError, UsageError
from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink
from malt.rollouts.base import Segment
from malt.serving.engine.worker import Job, JobState, Worker
from malt.serving.job_store import JobStore, Record
from malt.serving.metrics import Metrics
from malt.serving.moments import KeptMoments, MemoryChange, change_memory, kept_moments
from malt.serving.requests import GenerationRequest, RequestValidator
from malt.serving.schemas import VideoRequest
from malt.sessions.session import Session
from malt.sessions.storage import INDEX, session_folder

STATUS = {
    JobState.DONE: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.STOPPED: "queued",
}


class Recording:
    """A session whose segments go to a file, and itself beside it."""

    def __init__(
        self, validator: RequestValidator, session: Session, sink: VideoSink, first: np.ndarray | None
    ) -> None:
        self._validator, self.session, self.sink, self._first = validator, session, sink, first
        self._is_begun = first is None

    def given(self) -> Iterator[Segment]:
        """The segments that the first frames become; the session is saved behind the last of them, not before."""
        if self._first is not None:
            yield from self._validator.absorb(self.session, self._first)
            self._first, self._is_begun = None, True
            self.save()

    def write(self, segment: Segment) -> None:
        """Add a segment to the file."""
        self.sink.write(to_pixels(segment.frames[0]))
        self.save()

    def save(self) -> None:
        """Save the session where it stands; behind a segment that was cut, the one before it stays."""
        if self._is_begun and self.session.num_frames == self.sink.num_frames:
            self.sink.sync()
            self.session.save(session_folder(self.sink.path))


class VideoJobs:
    """All video jobs of a server."""

    def __init__(
        self,
        worker: Worker,
        validator: RequestValidator,
        store: JobStore,
        metrics: Metrics,
        *,
        scale: int,
        notes: dict[str, object],
    ) -> None:
        self._worker, self._validator, self._store, self._metrics = worker, validator, store, metrics
        self._scale, self._notes = scale, notes
        self._records: dict[str, Record] = {}
        self._jobs: dict[str, Job] = {}
        self._recordings: dict[str, Recording] = {}
        self._lock = threading.RLock()

    def recover(self) -> None:
        """Find the videos that are on disk and go on with those that were not finished."""
        for record in self._store.records():
            self._records[record.id] = record
            if not record.is_over:
                try:
                    self._go_on(record)
                except MaltError as error:  # not on disk: the next start may have the model that it needs
                    record.status, record.error = "failed", str(error)

    def create(self, generation: GenerationRequest, first: np.ndarray | None = None) -> Record:
        """Take a video on. On the computing thread.

        Raises:
            BusyError: there is no room.
            UsageError: the model cannot make it, or too many are stored.
        """
        limit = self._validator.limits.stored
        if len(self._records) >= limit:
            raise UsageError(f"{limit} videos are kept here, as many as there may be; delete some")
        self._worker.check_room()
        session = self._validator.begin(generation)
        record = Record(
            request=generation.request.model_dump(),
            model=self._validator.name,
            size=generation.size_text,
            num_frames=generation.num_frames,
            frame_rate=self._validator.pipe.frame_rate,
        )
        try:
            if first is not None:
                self._store.put_first(record, first)
            self._store.put(record)
            self._start(record, generation, self._record(record, session, self._store.first(record)))
        except MaltError:
            self._store.remove(record)
            raise
        self._records[record.id] = record
        return record

    def all(self) -> list[Record]:
        """All jobs, latest first."""
        return sorted(self._records.values(), key=lambda record: record.created_at, reverse=True)

    def get(self, name: str) -> Record:
        """The job of this id; LookupError if there is none."""
        return self._records[name]

    def status(self, record: Record) -> str:
        """Where a job stands."""
        job = self._jobs.get(record.id)
        return "in_progress" if job is not None and job.state == JobState.RUNNING else record.status

    def video(self, record: Record) -> Path:
        """Where the video of a job is."""
        return self._store.video(record)

    def cancel(self, record: Record) -> None:
        """End a job, if it is under way; what it has made is kept."""
        with self._lock:
            job = self._jobs.get(record.id)
        if job is not None:
            self._worker.cancel(job)

    def moments(self, record: Record) -> KeptMoments:
        """What the session of a job that is under way keeps by name.

        Raises:
            UsageError: it is not under way.
        """
        return kept_moments(self._recording(record).session)

    def change_memory(self, record: Record, asked: MemoryChange) -> KeptMoments:
        """Keep, recall or forget a moment of a job that is under way, and save that. On the computing thread.

        Raises:
            UsageError: it is not under way, there is no such name, or it cannot be kept.
        """
        recording = self._recording(record)
        kept = change_memory(recording.session, asked)
        recording.save()
        return kept

    def remove(self, record: Record) -> None:
        """End a job and delete all that belongs to it; what is being written goes as soon as it is."""
        with self._lock:
            if self._records.pop(record.id, None) is None:
                return
            self._store.forget(record)
            job = self._jobs.get(record.id)
        if job is None:
            self._store.remove(record)
        else:
            self._worker.cancel(job)

    def _recording(self, record: Record) -> Recording:
        recording = self._recordings.get(record.id)
        if recording is None:
            raise UsageError(f"the video is {self.status(record)}; only one that is being made has a memory to change")
        return recording

    def _go_on(self, record: Record) -> None:
        """Take an unfinished job up where its session was saved, or from the beginning."""
        generation = self._validator.validate(VideoRequest(**record.request))
        video = self._store.video(record)
        folder = session_folder(video)
        if (folder / INDEX).is_file() and video.is_file():
            session = Session.load(folder, self._validator.pipe)
            rate, scale = record.frame_rate, cast(int, session.state.notes["scale"])
            sink = VideoSink.go_on(video, session.num_frames, frame_rate=rate, scale=scale, size=generation.size)
            record.frames_made, record.end_in_file = sink.num_frames, sink.end_in_file
            recording = Recording(self._validator, session, sink, None)
        else:
            recording = self._record(record, self._validator.begin(generation), self._store.first(record))
        self._start(record, generation, recording, keep=True)

    def _record(self, record: Record, session: Session, first: np.ndarray | None) -> Recording:
        sink = VideoSink(self._store.video(record), frame_rate=record.frame_rate, scale=self._scale, overwrite=True)
        session.note(
            **self._notes,
            planned=record.num_frames,
            frame_rate=str(sink.frame_rate),
            scale=self._scale,
            seed=record.request["seed"],
            actions=None,
            driver=record.request["driver"],
        )
        return Recording(self._validator, session, sink, first)

    def _start(
        self, record: Record, generation: GenerationRequest, recording: Recording, *, keep: bool = False
    ) -> None:
        recording.session.max_kept_bytes = self._validator.limits.kept_bytes
        with self._lock:
            self._recordings[record.id] = recording
            self._jobs[record.id] = self._worker.start(
                recording.session,
                generation.num_frames,
                partial(self._write, record, recording),
                given=recording.given(),
                driver=self._validator.driver(generation, recording.session.num_frames),
                on_end=partial(self._end, record, recording),
                keep=keep,
            )

    def _write(self, record: Record, recording: Recording, segment: Segment) -> None:
        recording.write(segment)
        record.frames_made = recording.sink.num_frames
        record.end_in_file = recording.sink.end_in_file
        self._metrics.segment(segment)

    def _end(self, record: Record, recording: Recording, job: Job) -> None:
        recording.sink.close()
        self._metrics.over("video", job)
        with self._lock:
            self._jobs.pop(record.id, None)
            self._recordings.pop(record.id, None)
            if record.id in self._records:
                self._settle(record, STATUS[job.state], job.error)
            else:
                self._store.remove(record)

    def _settle(self, record: Record, status: str, error: str) -> None:
        record.status, record.error = status, error
        record.completed_at = time.time() if status == "completed" else None
        self._store.put(record)
