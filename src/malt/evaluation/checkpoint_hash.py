"""Which model it is that was measured: a hash of everything in its folder."""

import hashlib
from pathlib import Path


def checkpoint_sha256(folder: Path) -> str:
    """A hash of the names and contents of all files of a checkpoint."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
