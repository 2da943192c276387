"""All that the page shows of a visit, as JSON."""

from malt.sessions.run_report import resident_bytes
from malt.studio.beginning import maze_of
from malt.studio.take import Take
from malt.studio.visitor import Visitor

Scene = dict[str, object]


def scene_of(visitor: Visitor) -> Scene:
    """The takes, what is being made, and what may be undone."""
    job, store = visitor.job, visitor.store
    undo, redo = visitor.history.labels
    return {
        "takes": [take_scene(take) for take in tuple(store.takes.values())],
        "current": store.current,
        "state": job.state,
        "goal": job.goal if job.is_going else None,
        "rate": job.rate,
        "resident": resident_bytes(),
        "acts": store.policy is not None,
        "followed": job.followed,
        "undo": undo,
        "redo": redo,
        "problem": visitor.problem or job.problem,
    }


def take_scene(take: Take) -> Scene:
    """A take: how far it is, where it can be cut, and what it shows when."""
    kept = take.kept
    return {
        "number": take.number,
        "made": kept.segment_end.frame,
        "rate": take.frame_rate,
        "revision": take.revision,
        "untouched": take.untouched,
        "memory": take.memory_bytes,
        "model": take.model,
        "rollout": kept.state.rollout,
        "seed": kept.state.notes.get("seed"),
        "parent": take.parent,
        "borders": take.borders(),
        "moments": [[moment.name, moment.frame] for moment in kept.state.kept],
        "prompts": [list(change) for change in take.session.prompts.changes],
        "text": take.text,
        "maze": maze_of(take.session),
    }
