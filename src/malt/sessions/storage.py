"""A session on disk: a folder with `session.json` and a file for each snapshot, written so that a kill harms nothing.

A snapshot's file is written once and never changed; `session.json`, which names those that count, is replaced by a
rename after them, and files that no longer count go last.
"""

import json
import logging
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from safetensors import SafetensorError
from torch import Tensor

import malt
from malt.errors import MaltError, UnheededPromptError, UsageError
from malt.media.files import write_whole
from malt.rollouts.base import RolloutState
from malt.sessions.fingerprint import ModelIdentity, identify
from malt.sessions.kept_memories import Edit, Moment
from malt.sessions.packing import digest, pack, unpack
from malt.sessions.pipeline import BaseRollout, KeptSettings, SessionPipeline
from malt.sessions.serialization import put_together, take_apart
from malt.sessions.session_state import SessionState, build
from malt.sessions.snapshots import Snapshot
from malt.sessions.timeline import Timeline

FORMAT = 2
INDEX = "session.json"
DAMAGES = (AttributeError, IndexError, KeyError, OSError, RecursionError, SafetensorError, TypeError, ValueError)
OWN = re.compile(r"(\d{8,}|actions)-[0-9a-f]+\.safetensors|\..+\.part(\..+)?")  # files that may be deleted
log = logging.getLogger(__name__)


class DamagedSessionError(MaltError):
    """A session is not as it was written."""


class SnapshotEntry(TypedDict):
    """Where a snapshot lies, and which frame and segment come after it."""

    file: str
    start: int
    index: int


class MomentEntry(SnapshotEntry):
    """Where a moment lies that is kept, and what it is called."""

    name: str


class SessionIndex(TypedDict):
    """What `session.json` says of a session; tensors lie in the files that it names."""

    model: dict[str, str]
    rollout: str
    settings: KeptSettings
    prompts: list[tuple[int, str]]
    seeds: list[tuple[int, int]]
    num_frames: int
    snapshots: list[SnapshotEntry]
    origin: SnapshotEntry | None
    actions: str | None
    notes: dict[str, object]
    kept: NotRequired[list[MomentEntry]]  # earlier versions of malt kept none
    edits: NotRequired[list[dict[str, Any]]]


def session_folder(video: Path) -> Path:
    """Where the session of a video is kept: beside it, walk.mp4 and walk.session."""
    return video.with_suffix(".session")


def save_session(folder: Path, state: SessionState) -> None:
    """Write a session, whole or not at all.

    Raises:
        MaltError: it cannot be written, as on a full disk; what was there is kept.
    """
    try:
        folder.mkdir(exist_ok=True)
        snapshots = [*state.snapshots, *(moment.snapshot for moment in state.kept)]
        snapshots += [state.origin] if state.origin else []
        files = {_file_name(snapshot): snapshot for snapshot in snapshots}
        for name, snapshot in files.items():
            if not (folder / name).is_file():
                write_whole(folder / name, _snapshot_bytes(snapshot))
        actions = [] if state.actions is None else [f"actions-{state.now.name}.safetensors"]
        if state.actions is not None:
            write_whole(folder / actions[0], pack({"actions": state.actions}, "actions"))
        write_whole(folder / INDEX, _index_bytes(state))
        for file in folder.iterdir():
            if OWN.fullmatch(file.name) and file.name not in (*files, *actions):
                file.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise MaltError(f"could not save the session {folder} ({reason}); make room or choose another place") from error


def load_session(folder: Path, pipe: SessionPipeline) -> SessionState:
    """Read a session that `pipe` made; of damaged snapshots a warning is logged, and it stands at the last that is whole.

    Raises:
        UsageError: there is none.
        MaltError: it is damaged, of another version of malt, or was made by another model.
    """
    index = read_index(folder)
    try:
        made_by, here = ModelIdentity(**index["model"]), identify(pipe)
        if made_by.sha256 != here.sha256:
            wanted = "give it the first"
            if made_by.name == here.name:
                wanted = "give it the weights that made it, a packaged model's being in the malt of that day"
            raise MaltError(f"the session {folder} was made by the model {made_by}, not by {here}; {wanted}")
        rollout, index["settings"] = _rollout_of(pipe, index["prompts"][0][1], index["settings"])
        return _state_of(index, folder, like=build(index["rollout"], rollout).begin(0))
    except DAMAGES as error:
        raise _damaged(folder, error) from error


def _rollout_of(pipe: SessionPipeline, prompt: str, settings: KeptSettings) -> tuple[BaseRollout, KeptSettings]:
    """How a session goes on: without a negative prompt that earlier versions kept though the base did not heed it."""
    try:
        return pipe.rollout(prompt, **settings), settings
    except UnheededPromptError:
        heeded = settings.copy()
        heeded.pop("negative_prompt", None)
        return pipe.rollout(prompt, **heeded), heeded


def read_index(folder: Path) -> SessionIndex:
    """What `session.json` says, without any tensors: model, settings, prompts, seeds, snapshots, notes.

    Raises:
        UsageError: there is no session.
        MaltError: it is damaged, or of another version of malt.
    """
    if not (folder / INDEX).is_file():
        raise UsageError(
            f"there is no session {folder}; only an .mp4 that malt generate wrote with its session has one"
        )
    try:
        stored = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        content: SessionIndex = stored["session"]
        if stored["format"] != FORMAT:
            raise MaltError(f"the session {folder} is of another version of malt ({stored['malt']}); use that")
        if stored["sha256"] != digest(content):
            raise ValueError(f"{INDEX} is not as it was written")
    except DAMAGES as error:
        raise _damaged(folder, error) from error
    return content


def forget_session(folder: Path) -> None:
    """Let a session no longer count, before its video is written anew; harmless where there is none."""
    (folder / INDEX).unlink(missing_ok=True)


def _index_bytes(state: SessionState) -> bytes:
    content = {
        "model": asdict(state.model),
        "rollout": state.rollout,
        "settings": state.settings,
        "prompts": state.prompts.changes,
        "seeds": state.seeds.changes,
        "num_frames": state.now.start,
        "snapshots": [_entry(snapshot) for snapshot in state.snapshots],
        "origin": state.origin and _entry(state.origin),
        "actions": None if state.actions is None else f"actions-{state.now.name}.safetensors",
        "notes": state.notes,
        "kept": [{**_entry(moment.snapshot), "name": moment.name} for moment in state.kept],
        "edits": [asdict(edit) for edit in state.edits],
    }
    content = json.loads(json.dumps(content))  # what is hashed is what will be read
    stored = {"format": FORMAT, "malt": malt.__version__, "sha256": digest(content), "session": content}
    return (json.dumps(stored, indent=1) + "\n").encode()


def _entry(snapshot: Snapshot) -> SnapshotEntry:
    return {"file": _file_name(snapshot), "start": snapshot.start, "index": snapshot.progress.index}


def _file_name(snapshot: Snapshot) -> str:
    return f"{snapshot.start:08d}-{snapshot.name}.safetensors"


def _state_of(index: SessionIndex, folder: Path, like: RolloutState) -> SessionState:
    whole = [snapshot for entry in index["snapshots"] if (snapshot := _whole_snapshot(folder, entry, like))]
    if not whole:
        raise ValueError("no snapshot of it is whole")
    moments = [(each["name"], _whole_snapshot(folder, each, like)) for each in index.get("kept", [])]
    origin, actions = index["origin"], index["actions"]
    state = SessionState(
        model=ModelIdentity(**index["model"]),
        rollout=index["rollout"],
        settings=index["settings"],
        prompts=Timeline(tuple((frame, text) for frame, text in index["prompts"])),
        seeds=Timeline(tuple((frame, seed) for frame, seed in index["seeds"])),
        snapshots=tuple(whole),
        origin=None if origin is None else _whole_snapshot(folder, origin, like) or whole[0],
        actions=None if actions is None else _read(folder / Path(actions).name)[0]["actions"],
        notes=index["notes"],
        kept=tuple(Moment(name, snapshot) for name, snapshot in moments if snapshot),
        edits=tuple(Edit(**each) for each in index.get("edits", [])),
    )
    return state if whole[-1].start == index["num_frames"] else state.rewound(whole[-1])


def _whole_snapshot(folder: Path, entry: SnapshotEntry, like: RolloutState) -> Snapshot | None:
    """A snapshot; None, and a warning, where it is damaged."""
    try:
        return _read_snapshot(folder, entry["file"], like)
    except DAMAGES as error:
        reason = str(error).split("\n")[0]
        log.warning("the snapshot of %s at frame %s is damaged (%s) and left out", folder.name, entry["start"], reason)
        return None


def _snapshot_bytes(snapshot: Snapshot) -> bytes:
    tensors: list[Tensor] = []
    described = {"told": snapshot.prompt, "progress": take_apart(snapshot.at_rest().progress, tensors)}
    return pack({str(n): tensor for n, tensor in enumerate(tensors)}, json.dumps(described))


def _read_snapshot(folder: Path, name: str, like: RolloutState) -> Snapshot:
    tensors, text = _read(folder / Path(name).name)
    described = json.loads(text)
    in_order = [tensors[str(n)] for n in range(len(tensors))]
    progress = cast(RolloutState, put_together(described["progress"], in_order, like))
    return Snapshot(progress, described["told"], Path(name).stem.split("-")[1])


def _read(file: Path) -> tuple[dict[str, Tensor], str]:
    return unpack(file.read_bytes(), file.name)


def _damaged(folder: Path, error: Exception) -> MaltError:
    reason = str(error).split("\n")[0]
    return DamagedSessionError(
        f"the session {folder} is damaged ({reason}); the video is whole, but cannot be gone on with"
    )
