"""A curriculum brought to the videos that there are: no unroll is longer than the longest of them."""

from dataclasses import replace

from malt.errors import UsageError
from malt.training.objectives.curriculum import Stage, with_segments
from malt.training.objectives.objective import Objective
from malt.training.sources.data_source import Log
from malt.wording import counted


def unrolled_frames(curriculum: tuple[Stage, ...], segment_frames: int, context_frames: int) -> int:
    """Latent frames of the longest unroll and the context before it."""
    objectives = [objective for stage in curriculum for objective in stage.objectives]
    return max((o.unroll.num_segments * segment_frames + context_frames) * o.baseline.frame_stride for o in objectives)


def shortest_video(curriculum: tuple[Stage, ...], segment_frames: int, context_frames: int) -> int:
    """Latent frames that a video must have for every objective to learn one segment from it."""
    strides = [objective.baseline.frame_stride for stage in curriculum for objective in stage.objectives]
    return max(strides) * (segment_frames + context_frames)


def check_length(longest: int, needed: int) -> None:
    """Refuse videos that are all shorter than one segment and its context, in latent frames.

    Raises:
        UsageError: they are.
    """
    if longest < needed:
        raise UsageError(
            f"the longest video has {longest} latent frames and {needed} are needed to learn from; give longer videos"
        )


def fit_to_videos(
    curriculum: tuple[Stage, ...], longest: int | None, segment_frames: int, context_frames: int, log: Log
) -> tuple[Stage, ...]:
    """The same stages, with as many segments as fit into the longest video where an unroll is longer than that; it is told.

    longest: latent frames of the longest video; None where no video is too short.

    Raises:
        UsageError: the longest video is shorter than one segment and its context.
    """
    if longest is None:
        return curriculum
    shortened = set[int]()

    def fit(objective: Objective) -> Objective:
        stride = objective.baseline.frame_stride
        check_length(longest, stride * (context_frames + segment_frames))
        most = (longest // stride - context_frames) // segment_frames
        if objective.unroll.num_segments <= most:
            return objective
        shortened.add(objective.unroll.num_segments)
        return with_segments(objective, most)

    fitted = tuple(replace(stage, objectives=tuple(map(fit, stage.objectives))) for stage in curriculum)
    if shortened:
        unrolls = ", ".join(map(str, sorted(shortened)))
        log(
            f"the longest video has {counted(longest, 'latent frame')}, so unrolls of {unrolls} segments are "
            "cut to what fits into it; give longer videos to learn from longer unrolls"
        )
    return fitted
