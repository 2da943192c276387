"""Where a pretrained pipeline of diffusers lies: a folder as it is given, or one that is fetched from the hub, never pickled."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from malt.errors import CheckpointError, UsageError

TEXT_LENGTH = "_max_sequence_length"  # as diffusers takes it for no part of the pipeline
IDENTIFIER = re.compile(r"[\w.-]+/[\w.-]+")
READ = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")  # kinds of files in a part's folder


def base_folder(base: str, parts: Sequence[str]) -> Path:
    """The folder of a pretrained pipeline, with these parts of it.

    Args:
        base: a folder with model_index.json, or an identifier of the Hugging Face hub; what is there already is not fetched.
        parts: names of its parts, such as `vae`, or of files, such as `vae/config.json`; a star stands for any end.

    Raises:
        UsageError: there is no such folder, and it is no identifier either.
        CheckpointError: it cannot be fetched.
    """
    folder = Path(base)
    if (folder / "model_index.json").is_file():
        return folder
    if folder.is_dir():
        raise UsageError(f"{base} holds no base; give a folder of diffusers with its model_index.json")
    if not IDENTIFIER.fullmatch(base):
        raise UsageError(
            f"there is no base {base}; give a folder of diffusers, or an identifier of the hub as in Wan-AI/NAME"
        )
    from malt.hub.fetching import fetch

    fetched = fetch(base, ["model_index.json", *(file for part in parts for file in _files_of(part))])
    if not (fetched / "model_index.json").is_file():
        raise CheckpointError(
            f"{base} is no pipeline of diffusers (it has no model_index.json); give one of its format"
        )
    return fetched


def _files_of(part: str) -> list[str]:
    return [part] if "/" in part else [f"{part}/{kind}" for kind in READ]


def read_settings(path: Path) -> dict[str, Any]:
    """What a JSON file of a base says.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is missing or damaged; copy the base again, whole") from error
    return found


def keep_text_length(pipe: Any, folder: Path) -> None:
    """Keep what the index of a pipeline says of how many tokens its base was told, which diffusers leaves out in loading.

    Raises:
        CheckpointError: that is no number of tokens.
    """
    told = read_settings(folder / "model_index.json").get(TEXT_LENGTH)
    if told is None:
        return
    if type(told) is not int or told < 1:
        raise CheckpointError(
            f"{TEXT_LENGTH} in {folder / 'model_index.json'} is {told}; give a number of tokens, or none"
        )
    pipe.register_to_config(**{TEXT_LENGTH: told})


def check_not_pickled(folder: Path) -> None:
    """Refuse a part whose weights are there, but not as safetensors.

    Raises:
        CheckpointError: for such a part.
    """
    if not any(folder.glob("*.safetensors")) and (pickled := sorted(folder.glob("*.bin"))):
        raise CheckpointError(
            f"{pickled[0]} is pickled, and loading it could run any code; give the base with safetensors instead"
        )
