"""What a visitor may undo, and do again."""

from collections.abc import Callable
from typing import Protocol

from malt.studio.take import Future, Take

MOST_STEPS = 16


class Step(Protocol):
    """Something that was done. `label` names it."""

    label: str

    def swap(self) -> None:
        """Undo it; or, where it is undone, do it again. On the computing thread."""
        ...

    def discard(self) -> None:
        """Let go of what would be needed for that."""
        ...


class FutureStep:
    """A take that was rewound, or whose memory was changed: it had another future."""

    def __init__(self, label: str, take: Take, future: Future) -> None:
        self.label, self._take, self._future = label, take, future

    def swap(self) -> None:
        """Let it have the other one."""
        self._future = self._take.swap(self._future)

    def discard(self) -> None:
        """Delete the other one."""
        self._future.tail.unlink(missing_ok=True)


class DropStep:
    """A take that was put away; `put` puts it away or brings it back."""

    def __init__(self, take: Take, takes: dict[int, Take], moved: Callable[[int | None], None]) -> None:
        self.label, self._take, self._takes, self._moved = f"delete take {take.number}", take, takes, moved

    def swap(self) -> None:
        """Bring it back, or put it away again."""
        number = self._take.number
        if self._takes.pop(number, None) is None:
            self._takes[number] = self._take
            self._moved(number)
        else:
            self._moved(None)

    def discard(self) -> None:
        """Delete it for good, if it is put away."""
        if self._takes.get(self._take.number) is not self._take:
            self._take.remove()


class History:
    """Steps in their order: those done, and those undone, which are gone with the next that is done."""

    def __init__(self) -> None:
        self._done: list[Step] = []
        self._undone: list[Step] = []

    @property
    def labels(self) -> tuple[str, str]:
        """What would be undone, and what done again; "" for nothing."""
        done, undone = tuple(self._done[-1:]), tuple(self._undone[-1:])
        return done[0].label if done else "", undone[0].label if undone else ""

    def add(self, step: Step) -> None:
        """Something was done."""
        for each in [*self._undone, *self._done[: -MOST_STEPS + 1]]:
            each.discard()
        self._done, self._undone = [*self._done[-MOST_STEPS + 1 :], step], []

    def undo(self) -> bool:
        """Undo the last step; whether there was one."""
        return self._move(self._done, self._undone)

    def redo(self) -> bool:
        """Do again what was undone last; whether there was something."""
        return self._move(self._undone, self._done)

    def clear(self) -> None:
        """Let go of all."""
        for each in [*self._undone, *self._done]:
            each.discard()
        self._done, self._undone = [], []

    def _move(self, source: list[Step], target: list[Step]) -> bool:
        if not source:
            return False
        source[-1].swap()
        target.append(source.pop())
        return True
