"""`malt push`: a model or an adapter onto the Hugging Face hub."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from malt.commands.option import Positional
from malt.commands.signals import interruptible
from malt.errors import UsageError
from malt.wording import counted

RESULTS = "pipeline", "adapter"  # what a finished run has in its folder


@dataclass(frozen=True, kw_only=True)
class PushCommand:
    """Upload a model or an adapter to the Hugging Face hub, with its card, in one commit.

    The token is that of `hf auth login`, or in the variable HF_TOKEN. A card that is there already stays.
    """

    folder: Annotated[Path, Positional("FOLDER")]
    """A folder with a model or an adapter, or that of a finished run."""
    repository: Annotated[str, Positional("REPO_ID")]
    """Where to, such as somebody/walks; made where it is not there yet."""
    private: bool = False
    """Let nobody else see a new repository. Otherwise it is as its owner's new ones are."""
    pull_request: bool = False
    """Open a pull request in place of a commit."""
    message: str | None = None
    """What the commit says."""
    dry_run: bool = False
    """Say what would be uploaded, and ask the hub nothing."""

    def run(self) -> None:
        """Check that it is whole, then say what there is or upload it."""
        from malt.hub.publishing import check_name, publish, published_files

        folder = self._what_is_pushed()
        check_name(self.repository)
        if "/" not in self.repository:
            raise UsageError(f"{self.repository} names no owner; give OWNER/NAME, such as somebody/{self.repository}")
        files = published_files(folder)
        if "README.md" not in files:
            print("malt: there is no README.md; write one, so that others know what this is", file=sys.stderr)
        elif "\nlicense:" not in files["README.md"].read_text(encoding="utf-8"):
            print(f"malt: {files['README.md']} names no licence; without one, others may not use it", file=sys.stderr)
        if self.dry_run:
            print(_listed(self.repository, files))
            return
        with interruptible():
            where = publish(
                folder,
                self.repository,
                private=self.private or None,
                commit_message=self.message,
                create_pr=self.pull_request,
            )
        print(where)

    def _what_is_pushed(self) -> Path:
        """The folder itself, or what its run made; whole.

        Raises:
            UsageError: there is neither, or the run is not finished.
            CheckpointError: it is not whole.
        """
        from malt.adapters.folder import check_files
        from malt.hub.publishing import holds_model
        from malt.pipelines.checkpoint_check import check_checkpoint

        if not self.folder.is_dir():
            raise UsageError(f"there is no folder {self.folder}; check the name")
        candidates = [self.folder, *(self.folder / name for name in RESULTS)]
        found = next((folder for folder in candidates if holds_model(folder)), None)
        if found is None and (self.folder / "experiment.json").is_file():
            raise UsageError(
                f"the run {self.folder} is not finished; write its newest model by malt export, and push that folder"
            )
        if found is None:
            raise UsageError(f"{self.folder} holds no model, no adapter and no run; give a folder that does")
        if (found / "model_index.json").is_file():
            check_checkpoint(found)
        else:
            for description in sorted(found.rglob("adapter.json")):
                check_files(description.parent)
        return found


def _listed(repository: str, files: dict[str, Path]) -> str:
    """The files and their sizes, and all of them together."""
    sizes = {name: path.stat().st_size for name, path in files.items()}
    width = max(map(len, sizes))
    lines = [f"  {name:<{width}}  {_size(size)}" for name, size in sizes.items()]
    return "\n".join(
        [f"{counted(len(files), 'file')}, {_size(sum(sizes.values()))}, would be in {repository}:", *lines]
    )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e5 else f"{num_bytes:,} bytes"
