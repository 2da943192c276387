"""Which base a folder holds: a hash of its files, of which the large ones are read once, then known by place, size and time."""

import hashlib
import json
import os
import re
from pathlib import Path

from malt.media.files import write_whole
from malt.pipelines.base_check import used_components
from malt.pipelines.checkpoint_check import read_json, weight_files

NAMED_BY_HASH = re.compile(r"[0-9a-f]{64}")  # as the hub's cache calls a large file


def folder_sha256(folder: Path) -> str:
    """The SHA-256 of a base: of its index, and of the settings and weights of its parts.

    Raises:
        CheckpointError: a file is missing.
    """
    known = _read_known()
    before, digest = dict(known), hashlib.sha256()
    for name in sorted(used_components(read_json(folder / "model_index.json"))):
        for file in sorted({*(folder / name).glob("*.json"), *weight_files(folder / name)}):
            digest.update(f"{name}/{file.name} {_file_sha256(file, known)}\n".encode())
    if known != before:
        _keep(known)
    return digest.hexdigest()


def _file_sha256(file: Path, known: dict[str, str]) -> str:
    place = file.resolve()
    if NAMED_BY_HASH.fullmatch(place.name):
        return place.name
    status = place.stat()
    key = f"{place} {status.st_size} {status.st_mtime_ns}"
    if key not in known:
        with place.open("rb") as opened:
            known[key] = hashlib.file_digest(opened, "sha256").hexdigest()
    return known[key]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "malt" / "base_files.json"


def _read_known() -> dict[str, str]:
    try:
        return {str(key): str(found) for key, found in json.loads(_cache().read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _keep(known: dict[str, str]) -> None:
    try:
        _cache().parent.mkdir(parents=True, exist_ok=True)
        write_whole(_cache(), json.dumps(known, indent=1))
    except OSError:
        return  # they are read again the next time
