"""The spatial windows to which attention may be confined."""

from einops import rearrange
from jaxtyping import Shaped
from torch import Tensor

from malt.memory.protocol import Layout
from malt.models.positions import Rotation


class Windows:
    """Cuts tokens (b, s rows columns, d) into spatial windows that run through all frames, and pastes them back."""

    def __init__(self, layout: Layout, window: tuple[int, int] | None) -> None:
        rows, columns = window or (layout.rows, layout.columns)
        rows, columns = min(rows, layout.rows), min(columns, layout.columns)
        if layout.rows % rows or layout.columns % columns:
            raise ValueError(f"{layout.rows}x{layout.columns} tokens cannot be cut into windows of {rows}x{columns}")
        self.count = (layout.rows // rows) * (layout.columns // columns)
        self.sizes = {"r": layout.rows // rows, "c": layout.columns // columns, "p": rows, "q": columns}

    def cut(self, tokens: Shaped[Tensor, "b n d"]) -> Shaped[Tensor, "bw m d"]:
        """One batch entry a window."""
        return tokens if self.count == 1 else rearrange(tokens, "b (s r p c q) d -> (b r c) (s p q) d", **self.sizes)

    def paste(self, tokens: Shaped[Tensor, "bw m d"]) -> Shaped[Tensor, "b n d"]:
        """The inverse of `cut`."""
        return tokens if self.count == 1 else rearrange(tokens, "(b r c) (s p q) d -> b (s r p c q) d", **self.sizes)

    def copy(self, tokens: Shaped[Tensor, "b m d"]) -> Shaped[Tensor, "bw m d"]:
        """The same tokens for every window."""
        return tokens.repeat_interleave(self.count, dim=0)

    def rope(self, tables: Rotation) -> Rotation:
        """Positions of the tokens of each window; attention sees only differences, so those of the first do for all."""
        cut: Rotation = self.cut(tables.flatten(1)[None])[0].unflatten(1, (-1, 2))
        return cut
