"""The models that a studio offers, each loaded when it is first asked for."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from malt.errors import UsageError

if TYPE_CHECKING:
    from malt.pipelines.malt import MaltPipeline


@dataclass(frozen=True)
class Model:
    """A model by its name; `folder` is where it was loaded from, None for the default."""

    name: str
    folder: Path | None
    pipe: "MaltPipeline"


class Models:
    """Names and folders of models, and those of them that are loaded; `load` turns a folder into a pipeline."""

    def __init__(self, folders: dict[str, Path | None], load: Callable[[Path | None], "MaltPipeline"]) -> None:
        self._folders, self._load = dict(folders), load
        self._loaded: dict[str, Model] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """What there is to choose from; the first is taken unless another is chosen."""
        return list(self._folders)

    def get(self, name: str) -> Model:
        """The model of this name.

        Raises:
            UsageError: there is none.
            CheckpointError: it cannot be loaded.
        """
        if name not in self._folders:
            raise UsageError(f"there is no model {name!r} here; choose one of {', '.join(self._folders)}")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = Model(name, self._folders[name], self._load(self._folders[name]))
            return self._loaded[name]
