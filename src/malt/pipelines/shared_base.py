"""One base with and without memories: pipelines of different adapters that share the base's weights."""

import copy
from itertools import chain
from pathlib import Path

from malt.adapters.experts import NAMES
from malt.pipelines.adapted import AdaptedPipeline
from malt.pipelines.adapted_loading import describe


def with_memory(pipe: AdaptedPipeline, adapter: Path | str) -> AdaptedPipeline:
    """Another pipeline on the same base, with the memory of a folder; the one that was given stays as it is.

    The weights of the base are shared: the other's transformer has modules of its own, and the same parameters in them.

    Args:
        pipe: a base, with a memory or without.
        adapter: a folder that `malt.adapters.save_adapter` wrote.

    Raises:
        UsageError: the adapter was made for another base.
        CheckpointError: the folder holds no whole adapter.
    """
    described, base = describe(adapter), copy.copy(pipe.base)
    for name, expert in zip(NAMES, pipe.experts, strict=False):
        weights = chain(expert.parameters(), expert.buffers())
        setattr(base, name, copy.deepcopy(expert, {id(weight): weight for weight in weights}).detach())
    return AdaptedPipeline(base, adapter, described.settings, folder=pipe.folder)
