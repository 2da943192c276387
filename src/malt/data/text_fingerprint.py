"""Which text encoders made these captions: a hash of a base's files that is found without loading any of them."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from malt.errors import CheckpointError

NOT_ITS_OWN = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "_diffusers_version")
SAMPLED = 64  # bytes of each weight
LARGE = 2**20  # bytes; of a larger file that is no weights, so many count


class TextIdentity(NamedTuple):
    """Two bases of the same digest give the same states for a caption; `base` is what one of them was called."""

    base: str
    digest: str

    def __str__(self) -> str:
        return f"{self.base} ({self.digest[:12]})"


def identify_text(folder: Path, base: str | None = None) -> TextIdentity:
    """The identity of the text encoders and tokenizers in a pipeline's folder: their settings, and a sample of each weight.

    Raises:
        CheckpointError: there are none, or a file of theirs is damaged.
    """
    parts = sorted(
        path for path in folder.iterdir() if path.name.startswith(("text_encoder", "tokenizer", "connectors"))
    )
    if not parts:
        raise CheckpointError(f"{folder} lacks its text encoder; copy the base again, whole")
    digest = hashlib.sha256()
    if told := _length(folder / "model_index.json"):
        digest.update(told.encode())
    for path in (file for part in parts for file in sorted(part.iterdir()) if file.is_file()):
        if path.suffix == ".safetensors":
            _count_weights(path, digest)
        elif path.name == "config.json":
            digest.update(f"{path.parent.name} {_own_settings(path)}".encode())
        elif path.parent.name.startswith("tokenizer"):
            with path.open("rb") as file:
                digest.update(f"{path.parent.name}/{path.name} ".encode() + file.read(LARGE))
    return TextIdentity(base or str(folder), digest.hexdigest())


def _length(index: Path) -> str:
    """How many tokens a pipeline's index says that its base was told; empty where it does not say."""
    told = _settings(index).get("_max_sequence_length") if index.is_file() else None
    return "" if told is None else f"max_sequence_length {told}"


def _own_settings(path: Path) -> str:
    return json.dumps(
        {name: value for name, value in _settings(path).items() if name not in NOT_ITS_OWN}, sort_keys=True
    )


def _settings(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged; copy the base again, whole") from error


def _count_weights(path: Path, digest: "hashlib._Hash") -> None:
    """Take in every weight's name, shape and first bytes, whichever of a model's files it lies in."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            for name, entry in sorted(header.items()):
                if name != "__metadata__":
                    begin, end = entry["data_offsets"]
                    file.seek(8 + length + begin)
                    digest.update(f"{path.parent.name} {name} {entry['shape']}".encode())
                    digest.update(file.read(min(SAMPLED, end - begin)))
        with safe_open(path, framework="pt"):
            pass  # a file that was cut short is refused here
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged; copy the base again, whole") from error
