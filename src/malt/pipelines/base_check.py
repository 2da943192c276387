"""Whether a folder holds a whole, safe pipeline of diffusers that can be gone on with, found out before anything is loaded."""

from collections.abc import Iterator
from pathlib import Path

from malt.codecs.registry import CODECS
from malt.errors import CheckpointError, UsageError
from malt.pipelines.bases.registry import PARTS, known_pipeline
from malt.pipelines.checkpoint_check import check_model, read_json

ANY_OF = f"a base with one of {', '.join(CODECS)}"
WITHOUT_WEIGHTS = ("tokenizer", "scheduler", "processor", "extractor", "guider")


def check_base_folder(folder: Path) -> None:
    """Refuse a folder from which no base can be loaded.

    Raises:
        UsageError: it holds a pipeline of no known family, or an autoencoder without a codec.
        CheckpointError: it holds none, or one that is incomplete, damaged or pickled.
    """
    if not (folder / "model_index.json").is_file():
        raise CheckpointError(
            f"{folder} is no pipeline of diffusers (it has no model_index.json); give the folder that has one"
        )
    index = read_json(folder / "model_index.json")
    known_pipeline(str(index.get("_class_name")))
    for name in used_components(index):
        if not (folder / name).is_dir():
            raise CheckpointError(f"the base {folder} lacks its {name}; copy it again, whole")
        if not any(part in name for part in WITHOUT_WEIGHTS):
            check_model(folder / name)
    kind = read_json(folder / "vae" / "config.json").get("_class_name")
    if kind not in CODECS:
        raise UsageError(f"the autoencoder of {folder} is {kind}, for which there is no codec; give {ANY_OF}")


def components(index: dict[str, object]) -> Iterator[str]:
    """The parts of a pipeline that its index names as there."""
    for name, value in index.items():
        if isinstance(value, list) and len(value) == 2 and value[0] is not None:
            yield name


def used_components(index: dict[str, object]) -> list[str]:
    """Those of them that make video here.

    Raises:
        UsageError: it is a pipeline of no known family.
    """
    unused = PARTS[known_pipeline(str(index.get("_class_name")))].unused
    return [name for name in components(index) if name not in unused]
