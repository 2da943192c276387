"""Rotary tables of remembered tokens, as a family lays out its own."""

from typing import Any

import torch
from torch import Tensor

from malt.adapters.family import Family, Tables
from malt.memory.protocol import ContextTokens, Layout


def tables_of(found: ContextTokens, layout: Layout, family: Family, base: Any, device: torch.device) -> Tables | None:
    """Tables of whole frames, whose times are counted from the segment's first that is no context; None for others."""
    if found.times is None:
        return None
    grids = [_grid_tables(grid, layout, family, base, device) for grid in found.grids(layout)]
    axis = _token_axis(grids[0][0])
    cos, sin = (torch.cat(list(tables), dim=axis) for tables in zip(*grids, strict=True))
    return cos, sin


def at_places(tables: Tables | None, index: Tensor) -> Tables | None:
    """Tables of some of the tokens."""
    if tables is None:
        return None
    cos, sin = (table.index_select(_token_axis(table), index) for table in tables)
    return cos, sin


def _grid_tables(grid: ContextTokens, layout: Layout, family: Family, base: Any, device: torch.device) -> Tables:
    assert grid.times is not None
    coarse, middle = layout.coarse(grid.side), (grid.side - 1) / 2
    rows, columns = (torch.arange(n, device=device) * grid.side + middle for n in (coarse.rows, coarse.columns))
    # Made on the device: while a CUDA graph is recorded, nothing can be copied there.
    times = torch.cat([torch.full((1,), float(time), device=device) for time in grid.times]) + layout.num_context
    return family.tables(base, layout, times, rows, columns)


def _token_axis(table: Tensor) -> int:
    """The one dimension that is neither 1 nor the last; where all are 1, the last but one."""
    return next((n for n, size in enumerate(table.shape[:-1]) if size != 1), table.ndim - 2)
