"""The models that come with the package."""

from importlib.resources import files
from pathlib import Path

from malt.errors import CheckpointError


def default_checkpoint() -> Path:
    """Give the folder of the default model inside the package.

    Raises:
        CheckpointError: this installation has none.
    """
    path = Path(str(files("malt") / "assets" / "default"))
    if not (path / "model_index.json").is_file():
        raise CheckpointError("no default model comes with this installation; pass --checkpoint or train one")
    return path


def packaged_models() -> dict[str, Path]:
    """The models that come with the package, by name."""
    assets = Path(str(files("malt") / "assets"))
    return {path.parent.name: path.parent for path in sorted(assets.glob("*/model_index.json"))}
