"""The models that a studio offers, each loaded when it is first asked for, and what the page shows of one."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from malt.errors import UsageError
from malt.pipelines.model_place import ModelPlace
from malt.studio.examples import examples_for
from malt.studio.maze_walk import walks

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline


@dataclass(frozen=True)
class Model:
    """A model by its name, and where it was loaded from."""

    name: str
    place: ModelPlace
    pipe: "VideoPipeline"

    def describe(self) -> dict[str, object]:
        """What the page shows of it, as JSON."""
        pipe = self.pipe
        return {
            "name": self.name,
            "actions": pipe.action_names,
            "walks": walks(pipe.action_names),
            "words": pipe.known_words,
            "rate": pipe.frame_rate,
            "size": pipe.frame_size,
            "examples": examples_for(self.name, pipe),
        }


class Models:
    """Names and places of models, and those of them that are loaded; `load` turns a place into a pipeline."""

    def __init__(self, places: dict[str, ModelPlace], load: Callable[[ModelPlace], "VideoPipeline"]) -> None:
        self._places, self._load = dict(places), load
        self._loaded: dict[str, Model] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """What there is to choose from; the first is taken unless another is chosen."""
        return list(self._places)

    def get(self, name: str) -> Model:
        """The model of this name.

        Raises:
            UsageError: there is none.
            CheckpointError: it cannot be loaded.
        """
        if name not in self._places:
            raise UsageError(f"there is no model {name!r} here; choose one of {', '.join(self._places)}")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = Model(name, self._places[name], self._load(self._places[name]))
            return self._loaded[name]
