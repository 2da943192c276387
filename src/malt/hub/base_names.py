"""What strangers may know a pretrained base by: where it lies on somebody's machine says nothing to them."""

import re
from pathlib import Path

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
IN_CACHE = re.compile(r"models--([^/]+)--([^/]+)/snapshots/")  # as the hub's cache calls a repository


def public_name(base: str) -> str:
    """Its identifier on the hub, also from the hub's cache; of a folder its own name alone."""
    if cached := IN_CACHE.search(Path(base).as_posix() + "/"):
        return f"{cached[1]}/{cached[2]}"
    if is_on_hub(base):
        return base
    place = Path(base).resolve()
    return place.parent.name if place.name in ("transformer", "transformer_2") else place.name


def is_on_hub(base: str) -> bool:
    """Whether a base's name is one of the hub, and no folder here."""
    return REPOSITORY.fullmatch(base) is not None and not Path(base).exists()
