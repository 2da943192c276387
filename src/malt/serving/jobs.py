"""Video jobs: they take turns, are saved after every segment, and go on after a restart."""

import logging
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from malt.errors import MaltError, UsageError
from malt.rollouts.base import Segment
from malt.serving.characters import Characters
from malt.serving.engine.job import Job, JobState
from malt.serving.engine.work_queue import BusyError
from malt.serving.engine.worker import Worker
from malt.serving.job_store import CHARACTER, JobStore, Record
from malt.serving.limits import MEBIBYTE
from malt.serving.metrics import Metrics
from malt.serving.moments import KeptMoments, MemoryChange, change_memory, kept_moments
from malt.serving.recording import PARTED, Parting, Recording, continued
from malt.serving.refusals import FullError
from malt.serving.requests import GenerationRequest, RequestValidator
from malt.serving.schemas import VideoRequest
from malt.sessions.session import Session
from malt.sessions.size import session_size

STATUS = {
    JobState.DONE: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.STOPPED: "queued",
}
Frames = np.ndarray | None
log = logging.getLogger(__name__)


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
        self.validator, self.store = validator, store
        self.characters = Characters(store.folder / "characters", validator.limits.characters)
        self._worker, self._metrics = worker, metrics
        self._scale, self._notes = scale, notes
        self._records: dict[str, Record] = {}
        self._jobs: dict[str, Job] = {}
        self._recordings: dict[str, Recording] = {}
        self._lock = threading.RLock()
        metrics.gauge("malt_videos_stored", "Videos that are kept.", lambda: len(self._records))
        metrics.gauge("malt_disk_bytes", "What they take of the disk.", self.num_bytes)
        metrics.gauge("malt_records_damaged", "Records that could not be read.", lambda: store.num_damaged)

    def recover(self) -> None:
        """Find the videos that are on disk and go on with those that were not finished."""
        for record in self.store.records():
            self._records[record.id] = record
            if not record.is_over:
                try:
                    self._go_on(record)
                except (MaltError, ValidationError) as error:  # not on disk: the next start may have what it needs
                    record.status, record.error = "failed", str(error).split("\n")[0]
        self.sweep()

    def check_room(self, size: tuple[int, int] | None = None) -> None:
        """Find out whether another video of frames of a (height, width) would be taken.

        Raises:
            BusyError: it would not: too many wait, or are kept.
            FullError: there is no room for it on the disk.
        """
        self._worker.check_room()
        limits, needs = self.validator.limits, session_size(self.validator.pipe, *size).most if size else 0
        if len(self._records) >= limits.stored:
            raise BusyError(f"{limits.stored} videos are kept here, as many as there may be; delete some")
        if self.num_bytes() + needs > limits.disk_bytes:
            most = limits.disk_bytes // MEBIBYTE
            raise FullError(f"the videos that are kept here take all of the {most} MiB that they may; delete some")

    def create(
        self, generation: GenerationRequest, first: Frames = None, parent: str | None = None, character: Frames = None
    ) -> Record:
        """Take a video on. On the computing thread.

        Raises:
            BusyError: there is no room.
            FullError: nor on the disk.
            UsageError: the model cannot make it.
        """
        self.check_room(generation.size)
        session = self.validator.begin(generation)
        record = self.new_record(generation, parent)
        try:
            self.store.put_frames(record, first)
            self.store.put_frames(record, character, CHARACTER)
            self.store.put(record)
            self._start(record, generation, self._begun(record, generation, session))
        except MaltError:
            self.store.remove(record)
            raise
        self._records[record.id] = record
        return record

    def part(self, record: Record, generation: GenerationRequest, parting: Parting) -> Record:
        """Take a video on whose record was drawn, and whose file and session are copies of another's. On the computing thread.

        Raises:
            BusyError: there is no room.
            MaltError: the copy is damaged.
        """
        record.parting = parting.model_dump()
        try:
            recording = continued(self.validator, generation, self.store.video(record), self._scale)
            if recording is None:
                raise MaltError("the video that it goes on from is damaged; take another")
            recording.parting = parting
            self.store.put(record)
            self._start(record, generation, recording)
        except MaltError:
            self.store.remove(record)
            raise
        self._records[record.id] = record
        return record

    def new_record(self, generation: GenerationRequest, parent: str | None = None) -> Record:
        """A record of its own for a request."""
        return Record(
            request=generation.kept,
            model=self.validator.name,
            size=generation.size_text,
            num_frames=generation.num_frames,
            frame_rate=generation.frame_rate,
            remarks=list(generation.remarks),
            parent=parent,
        )

    def all(self) -> list[Record]:
        """All jobs, latest first."""
        return sorted(self._records.values(), key=lambda record: record.created_at, reverse=True)

    def get(self, name: str) -> Record:
        """The job of this id; LookupError if there is none."""
        return self._records[name]

    def num_bytes(self) -> int:
        """How much of the disk all videos take."""
        return sum(self.store.num_bytes(record) for record in list(self._records.values()))

    def sweep(self) -> None:
        """Delete the videos that have been kept for long enough."""
        oldest = time.time() - self.validator.limits.keep_seconds
        for record in list(self._records.values()):
            if record.is_over and (record.completed_at or record.created_at) < oldest:
                self.remove(record)

    def status(self, record: Record) -> str:
        """Where a job stands."""
        job = self._jobs.get(record.id)
        return "in_progress" if job is not None and job.state == JobState.RUNNING else record.status

    def is_going(self, record: Record) -> bool:
        """Whether a job waits or is being made."""
        return record.id in self._jobs

    def video(self, record: Record) -> Path:
        """Where the video of a job is."""
        return self.store.video(record)

    def cancel(self, record: Record) -> Job | None:
        """End a job, if it is under way; what it has made is kept."""
        with self._lock:
            job = self._jobs.get(record.id)
        if job is not None:
            self._worker.cancel(job)
        return job

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
            self.store.forget(record)
            job = self._jobs.get(record.id)
        if job is None:
            self.store.remove(record)
        else:
            self._worker.cancel(job)

    def _recording(self, record: Record) -> Recording:
        recording = self._recordings.get(record.id)
        if recording is None:
            raise UsageError(f"the video is {self.status(record)}; only one that is being made has a memory to change")
        return recording

    def _go_on(self, record: Record) -> None:
        """Take an unfinished job up where its session was saved, or from the beginning."""
        if record.attempts >= self.validator.limits.attempts:
            error = f"the server ended {record.attempts} times while it was made, before another segment was there"
            self._settle(record, "failed", error)
            return
        generation = self.validator.validate(VideoRequest(**record.request))
        recording = continued(self.validator, generation, self.store.video(record), self._scale)
        parting = Parting(**record.parting) if record.parting else None
        if recording is None:
            if parting and parting.frame:
                raise MaltError("what it goes on from is damaged; take it on again")
            recording = self._begun(record, generation, self.validator.begin(generation))
        elif parting and recording.session.state.notes.get(PARTED) != record.id:
            recording.parting = parting
        record.frames_made, record.end_in_file = recording.sink.num_frames, recording.sink.end_in_file
        record.attempts += 1
        self.store.put(record)
        self._metrics.restarted()
        self._start(record, generation, recording, keep=True)

    def _begun(self, record: Record, generation: GenerationRequest, session: Session) -> Recording:
        """The recording of a video of which there is nothing yet."""
        recording = Recording(self.validator, generation, session, self.store.video(record), self._scale)
        recording.first, recording.character = self.store.frames(record), self.store.frames(record, CHARACTER)
        session.note(
            **self._notes,
            planned=record.num_frames,
            frame_rate=str(recording.sink.frame_rate),
            scale=self._scale,
            shown=0,
            seed=generation.seed,
            actions=None,
            driver=generation.request.driver,
        )
        return recording

    def _start(
        self, record: Record, generation: GenerationRequest, recording: Recording, *, keep: bool = False
    ) -> None:
        recording.session.max_kept_bytes = self.validator.limits.kept_bytes
        with self._lock:
            self._recordings[record.id] = recording
            self._jobs[record.id] = self._worker.start(
                recording.session,
                generation.num_frames,
                partial(self._write, record, recording),
                given=recording.given(),
                driver=recording.drive if generation.request.driver else None,
                on_end=partial(self._end, record, recording),
                keep=keep,
            )

    def _write(self, record: Record, recording: Recording, segment: Segment) -> None:
        recording.write(segment)
        record.frames_made, record.end_in_file = recording.sink.num_frames, recording.sink.end_in_file
        self._metrics.segment(segment)
        if record.attempts and record.id in self._records:
            record.attempts = 0
            self.store.put(record)

    def _end(self, record: Record, recording: Recording, job: Job) -> None:
        recording.sink.close()
        self._metrics.over("video", job)
        with self._lock:
            self._jobs.pop(record.id, None)
            self._recordings.pop(record.id, None)
            if record.id in self._records:
                record.attempts = 0
                self._settle(record, STATUS[job.state], job.error)
            else:
                self.store.remove(record)

    def _settle(self, record: Record, status: str, error: str) -> None:
        record.status, record.error = status, error
        record.completed_at = time.time() if status == "completed" else None
        self.store.put(record)
