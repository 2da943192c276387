"""Laws of rotary positions: lengths stay, and attention sees nothing but differences."""

import pytest
import torch
from einops import rearrange
from torch import Tensor

from malt.models.positions import Rotation, rotate, rotation, split_axes

CPU = torch.device("cpu")
HEAD_DIMS = [8, 10, 16, 32, 64]


def scores(query: Tensor, key: Tensor, here: Rotation, there: Rotation) -> Tensor:
    """Attention scores of one head between tokens at two sets of positions."""
    return torch.einsum("bnkd, bmkd -> bknm", rotate(query, here), rotate(key, there))


def tokens(count: int, head_dim: int, seed: int) -> Tensor:
    return torch.randn(1, count, 1, head_dim, generator=torch.Generator().manual_seed(seed))


def corner(tables: Rotation, frames: slice, rows: slice, columns: slice) -> Rotation:
    """The rotation of a part of a grid of 4 x 4 x 4 tokens."""
    return rearrange(tables, "(s h w) c p -> s h w c p", s=4, h=4)[frames, rows, columns].flatten(0, 2)


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_every_channel_turns_with_time_height_or_width_in_pairs(head_dim: int) -> None:
    axes = split_axes(head_dim)
    assert sum(axes) == head_dim
    assert all(channels > 0 and channels % 2 == 0 for channels in axes)


@pytest.mark.parametrize("head_dim", [-2, 0, 6, 9, 33])
def test_heads_that_cannot_turn_are_refused_in_a_sentence(head_dim: int) -> None:
    with pytest.raises(ValueError, match=f"a head of {head_dim} channels cannot turn"):
        split_axes(head_dim)


@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_a_turn_keeps_lengths(head_dim: int) -> None:
    x = tokens(24, head_dim, 0)
    turned = rotate(x, rotation((-1, 0), 3, 4, head_dim, CPU))
    assert not torch.allclose(turned, x)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_only_differences_in_time_count() -> None:
    query, key = tokens(8, 16, 0), tokens(8, 16, 1)
    early = scores(query, key, rotation((0, 1), 2, 2, 16, CPU), rotation((-2, -1), 2, 2, 16, CPU))
    late = scores(query, key, rotation((50, 51), 2, 2, 16, CPU), rotation((48, 49), 2, 2, 16, CPU))
    other = scores(query, key, rotation((0, 1), 2, 2, 16, CPU), rotation((-3, -2), 2, 2, 16, CPU))
    torch.testing.assert_close(early, late, rtol=0, atol=1e-4)
    assert (early - other).abs().max() > 0.1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_only_differences_count_in_time_height_and_width(axis: int) -> None:
    tables = rotation((0, 1, 2, 3), 4, 4, 16, CPU)
    query, key = tokens(8, 16, 0), tokens(8, 16, 1)
    near, far = slice(0, 2), slice(2, 4)
    here = corner(tables, near, near, near)
    there = corner(tables, *(far if n == axis else near for n in range(3)))
    torch.testing.assert_close(scores(query, key, here, here), scores(query, key, there, there), rtol=0, atol=1e-5)
    assert (scores(query, key, here, here) - scores(query, key, here, there)).abs().max() > 0.1


def test_the_order_of_positions_is_that_of_the_tokens() -> None:
    tables = rotation((0, 1, 2, 3), 4, 4, 16, CPU)
    time, height = (channels // 2 for channels in split_axes(16)[:2])
    grid = rearrange(tables, "(s h w) c p -> s h w c p", s=4, h=4)
    assert (grid[..., :time, :] == grid[:, :1, :1, :time]).all()
    assert (grid[..., time : time + height, :] == grid[:1, :, :1, time : time + height]).all()
    assert (grid[..., time + height :, :] == grid[:1, :1, :, time + height :]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_turn_is_a_turn_in_the_plane_of_two_channels_by_either_formula(dtype: torch.dtype) -> None:
    x, rope = tokens(8, 16, 0).to(dtype), rotation((1, 2), 2, 2, 16, CPU)
    (first, second), (cos, sin) = x.unflatten(-1, (-1, 2)).unbind(-1), rope[None, :, None].unbind(-1)
    expected = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1).flatten(-2)
    torch.testing.assert_close(rotate(x, rope), expected)


def test_a_table_first_asked_for_in_inference_serves_training() -> None:
    with torch.inference_mode():
        rotation((0, 1, 2, 5), 3, 2, 16, torch.device("cpu"))
    states = torch.randn(1, 24, 2, 16, requires_grad=True)
    rotate(states, rotation((0, 1, 2, 5), 3, 2, 16, torch.device("cpu"))).sum().backward()
    assert states.grad is not None
