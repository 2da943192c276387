"""Puts the folder of a pipeline or an adapter on the Hugging Face hub, in one commit: whole, and without pickles."""

import json
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from malt.errors import MaltError, UsageError
from malt.hub.base_names import public_name
from malt.hub.model_card import FILE, HERE
from malt.hub.unreachable import UNREACHABLE, reason

# What says that a folder is a pipeline, an adapter, or one for a base of two transformers.
INDEXES = ("model_index.json", "adapter.json", "transformer/adapter.json")
WEIGHTS_AND_SETTINGS = {".jinja", ".json", ".md", ".model", ".py", ".safetensors", ".txt"}
SETTINGS = {*INDEXES, "config.json"}
PICTURES = {".gif", ".jpg", ".mp4", ".png", ".webm", ".webp"}  # for the card


def publish(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    commit_message: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload a folder; a repository that is not there yet is made, and a card that is there already stays.

    Args:
        folder: what `save_pretrained` or `save_adapter` wrote.
        repo_id: name of the repository, such as `somebody/walks`.
        private: whether others see it, where the repository is new; None for the owner's default.
        token: that of the hub; None for the one of `hf auth login`.
        commit_message: what the commit says.
        create_pr: whether to open a pull request in place of a commit.

    Returns:
        Where it can be seen.

    Raises:
        UsageError: the folder holds no pipeline and no adapter, or things that do not belong on the hub, or the name is none.
        MaltError: the hub could not be reached, or refused; what went wrong, and what to do.
    """
    check_name(repo_id)
    files = published_files(folder)
    api = HfApi(token=token)
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if api.file_exists(repo_id, FILE):
            files.pop(FILE, None)
        operations = [CommitOperationAdd(name, _content(path, repo_id)) for name, path in files.items()]
        commit = api.create_commit(
            repo_id, operations, commit_message=commit_message or f"Upload {folder.name}", create_pr=create_pr
        )
    except OfflineModeIsEnabled as error:
        raise MaltError(
            "the hub is switched off here (HF_HUB_OFFLINE); unset that, or upload the folder later"
        ) from error
    except HfHubHTTPError as error:
        raise MaltError(_refused(repo_id, error)) from error
    except UNREACHABLE as error:
        raise MaltError(f"the hub could not be reached ({reason(error)}); nothing was uploaded, try again") from error
    return str(commit.pr_url or commit.repo_url)


def check_name(repo_id: str) -> None:
    """Refuse what no repository can be called.

    Raises:
        UsageError: for such a name.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UsageError(
            f"the hub takes no repository called {repo_id!r}; give a name such as somebody/walks"
        ) from error


def holds_model(folder: Path) -> bool:
    """Whether a folder says that it is a pipeline or an adapter."""
    return any((folder / index).is_file() for index in INDEXES)


def published_files(folder: Path) -> dict[str, Path]:
    """What is to be uploaded, by its name there.

    Raises:
        UsageError: the folder is none of ours, or holds a file of a kind that a model does not need.
    """
    if not holds_model(folder):
        raise UsageError(f"{folder} holds no pipeline and no adapter; give a folder with {' or '.join(INDEXES[:2])}")
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: path for name, path in files.items() if not name.startswith(".")}
    odd = [name for name, path in files.items() if path.suffix not in WEIGHTS_AND_SETTINGS | PICTURES]
    if odd:
        raise UsageError(
            f"{folder} holds {odd[0]}, which is neither safetensors nor settings; move it out of the folder"
        )
    return files


def _content(path: Path, repo_id: str) -> bytes | Path:
    """A file as it is to be there: the card names the repository, and settings do not say where on this machine they lay."""
    if path.name == FILE:
        return path.read_text(encoding="utf-8").replace(HERE, repo_id).encode()
    if path.name not in SETTINGS:
        return path
    said = json.loads(path.read_text(encoding="utf-8"))
    said.pop("_name_or_path", None)
    if path.name == "adapter.json":
        said["base"]["name"] = public_name(said["base"]["name"])
    return (json.dumps(said, indent=2) + "\n").encode()


def _refused(repo_id: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status in (401, 403):
        return f"the hub lets nobody write to {repo_id} with this token; run `hf auth login` with one that may write"
    return f"the hub refused {repo_id} ({reason(error)}); nothing was uploaded"
