"""The curriculum: stages of objectives, from short videos to long ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from malt.training.objectives.objective import Objective, UnrollConfig


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of the curriculum: up to step `until`, learn by these objectives in turn."""

    until: int
    objectives: tuple[Objective, ...]


CONSTANT_MEMORY = Objective(batch_size=8, unroll=UnrollConfig(bptt_segments=3, denoise_segments=4))
METHOD_FRAMES = (64, 128, 256, 512, 1024)


def frames_curriculum(
    frames: Sequence[int] = METHOD_FRAMES,
    *,
    frames_per_segment: int,
    steps: int | Sequence[int],
    unrolled: Objective = CONSTANT_MEMORY,
    beside: tuple[Objective, ...] = (),
    start: int = 0,
) -> tuple[Stage, ...]:
    """Stages of so many video frames each, short to long.

    Args:
        frames: video frames of each stage; a stage has as many segments as these need.
        frames_per_segment: video frames of a segment, latent frames times the codec's compression in time.
        steps: steps of each stage, or of all alike.
        unrolled: the objective of all stages but for its number of segments. The default's peak memory is that of 4
            segments.
        beside: objectives that take turns with it in every stage, before it.
        start: the step that the first stage begins at.

    Raises:
        ValueError: when there are no frames to a segment, or not as many counts of steps as stages.
    """
    if frames_per_segment < 1:
        raise ValueError(f"frames_per_segment is {frames_per_segment}; give at least 1")
    lengths = [steps] * len(frames) if isinstance(steps, int) else list(steps)
    if len(lengths) != len(frames):
        raise ValueError(
            f"{len(frames)} stages and {len(lengths)} counts of steps; give one count, or one for each stage"
        )
    ends = [start + sum(lengths[: n + 1]) for n in range(len(frames))]
    longer = [with_segments(unrolled, -(-count // frames_per_segment)) for count in frames]
    return tuple(Stage(until=end, objectives=(*beside, long)) for end, long in zip(ends, longer, strict=True))


def with_segments(objective: Objective, num_segments: int) -> Objective:
    """The same objective over so many segments."""
    return replace(objective, unroll=replace(objective.unroll, num_segments=num_segments))
