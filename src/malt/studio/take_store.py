"""The takes of a visit, of which one is worked on: kept on the disk, and taken up again by a later studio."""

import threading
from pathlib import Path

from malt.errors import MaltError, UsageError
from malt.serving.engine.worker import Worker
from malt.studio.beginning import hand_on
from malt.studio.models import Models
from malt.studio.policy import StudioPolicy
from malt.studio.take import Take
from malt.studio.visit_record import TakeRecord, VisitRecord, take_video, write_record

MOST_TAKES = 8


class TakeStore:
    """Takes by their numbers. current: the one that is worked on. policies: what they are steered with."""

    def __init__(self, folder: Path, kept_bytes: int) -> None:
        self.folder = folder
        self.takes: dict[int, Take] = {}
        self.policies: dict[int, StudioPolicy] = {}
        self.current: int | None = None
        self._kept_bytes, self._number = kept_bytes, 0
        self._lost: list[TakeRecord] = []  # what could not be read is left where it is
        self._writing = threading.Lock()

    @property
    def take(self) -> Take | None:
        """The take that is worked on."""
        return self.takes.get(self.current or 0)

    @property
    def policy(self) -> StudioPolicy | None:
        """What the take that is worked on is steered with."""
        return self.policies.get(self.current or 0)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not (self.takes or self._lost)

    def new_place(self) -> tuple[int, Path]:
        """The number of a take to come, and where its video will be.

        Raises:
            UsageError: there are too many.
        """
        if len(self.takes) >= MOST_TAKES:
            raise UsageError(f"there are {MOST_TAKES} takes, as many as there may be; delete one")
        self._number += 1
        path = take_video(self.folder, self._number)
        path.parent.mkdir(parents=True, exist_ok=True)
        return self._number, path

    def add(self, take: Take) -> None:
        """Take one in, and work on it."""
        take.session.max_kept_bytes = self._kept_bytes
        if policy := hand_on(take.session):
            self.policies[take.number] = policy
        self.takes[take.number] = take
        self.current = take.number

    def settle(self, number: int | None) -> None:
        """Work on a take that is there: this one, the one before, or the latest."""
        wanted = self.current if number is None else number
        self.current = wanted if wanted in self.takes else max(self.takes, default=None)

    def restore(self, record: VisitRecord, models: Models, worker: Worker) -> list[str]:
        """Take up what was kept, and say what could not be: a take that cannot be read costs itself alone."""
        self._number, problems = record.number, list[str]()
        for kept in record.takes:
            try:
                self.add(_restored(kept, take_video(self.folder, kept.number), models, worker))
            except MaltError as error:
                self._lost.append(kept)
                problems.append(f"take {kept.number} is left out: {error}")
        self.settle(record.current)
        return problems

    def keep(self, goal: int | None) -> None:
        """Write down what there is, and up to which frame the current take is being made."""
        if not self.folder.is_dir():
            return
        takes = [
            TakeRecord(number=take.number, model=take.model, text=take.text, parent=take.parent)
            for take in tuple(self.takes.values())
        ]
        with self._writing:
            write_record(
                self.folder,
                VisitRecord(takes=takes + self._lost, current=self.current, number=self._number, goal=goal),
            )


def _restored(kept: TakeRecord, path: Path, models: Models, worker: Worker) -> Take:
    model = models.get(kept.model)
    take = worker.do(lambda: Take.restore(kept.number, path, model.pipe, model=model.name)).result()
    take.text, take.parent = kept.text, kept.parent
    return take
