"""A memory for pretrained video transformers: a small file beside a frozen base."""

from malt.adapters.adapted_transformer import AdaptedTransformer3DModel
from malt.adapters.adapter import MemoryAdapter
from malt.adapters.attaching import add_memory, remove_memory
from malt.adapters.choose import family_of
from malt.adapters.family import Family
from malt.adapters.folder import read_adapter, save_adapter

__all__ = [
    "AdaptedTransformer3DModel",
    "Family",
    "MemoryAdapter",
    "add_memory",
    "family_of",
    "read_adapter",
    "remove_memory",
    "save_adapter",
]
