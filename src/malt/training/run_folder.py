"""The folder of a run: whose it is, what was begun in it, and which of its states are whole."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from malt.errors import UsageError
from malt.media.files import locked, write_whole
from malt.training.config import Experiment
from malt.training.options import differences, from_json
from malt.training.renamed import RECIPES, with_current_names

EXPERIMENT, LOCK, WORDS = "experiment.json", "lock", "words.json"
# What a run that goes on may do otherwise than it began: it changes no weight beyond rounding.
HARMLESS = (
    "--monitors.",
    "--checkpoint.",
    "--sampling.",
    "--compile",
    "--cuda-graphs",
    "--precision",
    "--parallel.num-replicas",
    "--parallel.activation-checkpointing",
)


class Begun(NamedTuple):
    """What a run was begun with."""

    recipe: str  # "" where it is not known
    experiment: Experiment


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Have a run's folder for oneself; the kernel gives it back when the process ends, however it ends.

    Raises:
        UsageError: another process trains in it, or there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be made ({error.strerror}); name another") from error
    with locked(folder / LOCK, f"another process is training in {folder}; wait for it or name another folder"):
        yield


def write_experiment(folder: Path, experiment: Experiment, recipe: str = "") -> None:
    """Write the resolved configuration beside the run."""
    write_whole(folder / EXPERIMENT, json.dumps({"recipe": recipe, **asdict(experiment)}, indent=2))


def read_experiment(folder: Path) -> Begun:
    """What the run in `folder` was begun with.

    Raises:
        UsageError: there is no run, or what it was begun with is damaged.
    """
    try:
        saved = json.loads((folder / EXPERIMENT).read_text())
        recipe = str(saved.pop("recipe", ""))
        saved = with_current_names(saved)
    except FileNotFoundError as error:
        raise UsageError(f"{folder} holds no run to resume; leave --resume out to begin one") from error
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{folder / EXPERIMENT} is damaged; copy it again from where the run was begun") from error
    return Begun(RECIPES.get(recipe, recipe), from_json(Experiment, saved))


def check_unchanged(folder: Path, begun: Experiment, asked: Experiment) -> None:
    """Refuse to go on with a run otherwise than it was begun, but in what changes no weight.

    Raises:
        UsageError: for the first option that differs.
    """
    for name in differences(begun, asked):
        if not name.startswith(HARMLESS):
            raise UsageError(
                f"the run in {folder} was begun with another {name}; leave it out to go on, or name another folder"
            )


def read_words(folder: Path) -> tuple[str, ...] | None:
    """The vocabulary of the run's captions, None before there is one.

    Raises:
        UsageError: it is damaged.
    """
    path = folder / WORDS
    try:
        return tuple(map(str, json.loads(path.read_text()))) if path.exists() else None
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path} is damaged; copy it again from where the run was begun") from error


def write_words(folder: Path, words: tuple[str, ...]) -> None:
    """Keep the vocabulary: its order decides which word is which."""
    write_whole(folder / WORDS, json.dumps(words))
