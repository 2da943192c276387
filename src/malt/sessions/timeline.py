"""What holds from which frame on, as a value: the prompts of a video, or its seeds."""

from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Timeline(Generic[Value]):
    """Changes (first frame, value), in order, the first of them at frame 0."""

    changes: tuple[tuple[int, Value], ...]

    def __post_init__(self) -> None:
        """Refuse changes that are none, out of order, or leave the beginning open."""
        frames = [frame for frame, _ in self.changes]
        if not frames or frames[0] != 0 or sorted(set(frames)) != frames:
            raise ValueError(f"changes at the frames {frames}; let them rise and begin with 0")

    @classmethod
    def always(cls, value: Value) -> "Timeline[Value]":
        """One value from beginning to end."""
        return cls(((0, value),))

    def at(self, frame: int) -> Value:
        """What holds in a frame."""
        return next(value for start, value in reversed(self.changes) if start <= frame)

    def then(self, frame: int, value: Value) -> "Timeline[Value]":
        """The same until `frame`; from there on `value`, whatever was to come."""
        before = tuple(change for change in self.changes if change[0] < frame)
        return Timeline(before if before and before[-1][1] == value else (*before, (frame, value)))
