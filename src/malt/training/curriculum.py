"""A curriculum brought to the videos that there are: no walk is longer than the longest of them."""

from dataclasses import replace

from malt.errors import UsageError
from malt.training.objective import Stage, with_segments
from malt.training.objectives.objective import Objective
from malt.training.source import Tell


def fit_to_videos(
    curriculum: tuple[Stage, ...], longest: int | None, segment_frames: int, context_frames: int, tell: Tell
) -> tuple[Stage, ...]:
    """The same stages, with as many segments as fit into the longest video where a walk is longer than that; it is told.

    longest: latent frames of the longest video; None where no video is too short.

    Raises:
        UsageError: the longest video is shorter than one segment and its context.
    """
    if longest is None:
        return curriculum
    shortened = set[int]()

    def fit(objective: Objective) -> Objective:
        most = (longest // objective.baseline.frame_stride - context_frames) // segment_frames
        if most < 1:
            raise UsageError(
                f"the longest video has {longest} latent frames and {context_frames + segment_frames} are needed to learn "
                "from; give longer videos"
            )
        if objective.unroll.num_segments <= most:
            return objective
        shortened.add(objective.unroll.num_segments)
        return with_segments(objective, most)

    fitted = tuple(replace(stage, objectives=tuple(map(fit, stage.objectives))) for stage in curriculum)
    if shortened:
        walks = ", ".join(map(str, sorted(shortened)))
        tell(
            f"the longest video has {longest} latent frames, so walks of {walks} segments are cut to what fits into it; give "
            "longer videos to learn from longer walks"
        )
    return fitted
