"""A turn of several jobs: their next segments go through the model in one pass, as far as these are of one shape."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

from malt.serving.engine.job import Job
from malt.serving.engine.participant import Participant
from malt.sessions.joint_advance import NextSegment, advance_together


def step_together(jobs: Sequence[Participant], between: Callable[[], None]) -> list[bool]:
    """A segment of each; whether each had one.

    Args:
        jobs: one, or several that can join.
        between: called between denoising steps; what it raises gives all of them up.
    """
    if len(jobs) == 1:
        return [jobs[0].step(between)]
    upcoming = [(job, job.upcoming()) for job in jobs if isinstance(job, Job)]
    groups = defaultdict[Hashable, list[tuple[Job, NextSegment]]](list)
    for job, segment in upcoming:
        if segment is not None:
            groups[segment.shape].append((job, segment))
    for group in groups.values():
        made = advance_together([segment for _, segment in group], between=between)
        for (job, segment), (finished, after) in zip(group, made, strict=True):
            job.accept(segment, finished, after)
    return [segment is not None for _, segment in upcoming]
