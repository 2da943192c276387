"""Fetches the folder of a pipeline or an adapter from the Hugging Face hub: settings and safetensors, no code, no pickles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from malt.errors import CheckpointError
from malt.hub.unreachable import UNREACHABLE, reason

WANTED = ["*.jinja", "*.json", "*.md", "*.model", "*.safetensors", "*.txt"]
PASSED_ON = {"cache_dir", "force_download", "local_files_only", "revision", "token"}


def fetch(name: str, wanted: Sequence[str] = WANTED, **hub: Any) -> Path:
    """The folder of a repository in the user's cache, fetched where it is not there yet or has changed.

    Args:
        name: of the repository, such as `somebody/walks`.
        wanted: patterns of the files to fetch.
        hub: `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`, as in `snapshot_download`.

    Raises:
        CheckpointError: there is no such repository, or it can neither be reached nor is in the cache.
    """
    try:
        return Path(snapshot_download(name, allow_patterns=[*wanted], **hub))
    except HFValidationError as error:
        raise CheckpointError(f"there is no folder {name}, and the hub has no such names; check the name") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise CheckpointError(
            f"there is no folder {name}, and the hub has no such repository that you may see; "
            "check the name, or run `hf auth login`"
        ) from error
    except UNREACHABLE as error:
        raise CheckpointError(
            f"there is no folder {name}, and the hub could not be reached ({reason(error)}); "
            "fetch it where there is a network, or give a folder"
        ) from error
