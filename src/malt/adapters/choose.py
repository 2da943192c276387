"""Which family a pretrained transformer belongs to, by the name of its class."""

from torch import nn

from malt.adapters.family import Family
from malt.adapters.skyreels import SkyReelsV2
from malt.adapters.wan import Wan
from malt.errors import UsageError

FAMILIES: dict[str, type[Family]] = {
    "WanTransformer3DModel": Wan,
    "SkyReelsV2Transformer3DModel": SkyReelsV2,
}


def family_of(base: nn.Module) -> Family:
    """What to know of a base's kind.

    Raises:
        UsageError: for a base of no known family; the sentence lists them.
    """
    return FAMILIES[known_class(type(base).__name__)]()


def known_class(name: str) -> str:
    """The class name of a transformer that can be given a memory.

    Raises:
        UsageError: for any other; the sentence lists what can be.
    """
    name = name.removeprefix("FSDP")
    if name not in FAMILIES:
        raise UsageError(f"a {name} cannot be given a memory; the transformers that can are {', '.join(FAMILIES)}")
    return name
