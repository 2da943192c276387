"""Reads from pictures alone what one does: turn left, turn right, walk ahead or stand, by how the halves of a picture move.

The reader is a ridge regression taught on true videos. It sees how well bands of rows match the next frame's, moved sideways
and made larger; no single picture tells it anything.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

DONE = ("left", "right", "ahead", "stand")
READ_FRAMES = 5  # that are read together
SHIFTS = tuple(range(-8, 9))  # pixels of a picture 64 wide
ZOOMS = (0.9, 0.94, 0.97, 1.0, 1.03, 1.06, 1.1)
CLEAR = 0.3  # a turn or a step below it is neither done nor not


def what_is_done(actions: Float[Tensor, "n t 2"]) -> Int[Tensor, " n"]:
    """An index of `DONE` for every stretch, of which all frames but the first must agree; -1 where they do not."""
    turn, walk = actions[:, 1:, 0], actions[:, 1:, 1]
    still, calm = walk.abs() < 1e-3, turn.abs() < 1e-3
    kinds = [(turn > CLEAR) & still, (turn < -CLEAR) & still, (walk > CLEAR) & calm, still & calm]
    agreed = torch.stack([kind.all(dim=1) for kind in kinds], dim=1)
    return torch.where(agreed.any(dim=1), agreed.long().argmax(dim=1), -1)


def movement(videos: Float[Tensor, "n t 3 h w"]) -> Float[Tensor, "n d"]:
    """How well each half of a picture matches the next one moved sideways, and the whole matches it made larger."""
    grey = F.interpolate(videos.mean(dim=2), size=(64, 64), mode="bilinear", antialias=True)
    before, after = grey[:, :-1].flatten(0, 1), grey[:, 1:].flatten(0, 1)
    reach = max(SHIFTS)
    sideways = [
        _alike(part, after[:, :, 8 + offset + shift : 8 + offset + shift + part.shape[2]])
        for offset, part in ((0, before[:, :, 8:32]), (24, before[:, :, 32:56]))
        for shift in range(-reach, reach + 1)
    ]
    larger = [_alike(_zoomed(before, zoom), after) for zoom in ZOOMS]
    still = (after - before).abs().mean(dim=(1, 2))
    found = torch.stack([*sideways, *larger, still, still.clamp(max=0.02)], dim=1)
    return torch.stack([part.mean(dim=0) for part in found.chunk(len(videos))])


@dataclass(frozen=True)
class MotionReader:
    """What is done in stretches of `READ_FRAMES` frames."""

    weights: Float[Tensor, "with_one k"]
    mean: Float[Tensor, " d"]

    @classmethod
    def fit(cls, features: Float[Tensor, "n d"], done: Int[Tensor, " n"], penalty: float = 1e-3) -> "MotionReader":
        """The reader whose squared error on these features (of `movement`) is least."""
        mean = features.mean(dim=0)
        inputs = F.pad(features - mean, (0, 1), value=1.0).double()
        wanted = F.one_hot(done, len(DONE)).double()
        counts = wanted.sum(dim=0).clamp(min=1)
        weight = (wanted / counts).sum(dim=1, keepdim=True)  # every kind counts alike
        gram = inputs.T @ (weight * inputs) + penalty * torch.eye(inputs.shape[1], dtype=torch.float64)
        return cls(torch.linalg.solve(gram, inputs.T @ (weight * wanted)).float(), mean)

    def __call__(self, features: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """An index of `DONE` for each."""
        return (F.pad(features - self.mean, (0, 1), value=1.0) @ self.weights).argmax(dim=1)


def stretches(
    frames: Float[Tensor, "b t 3 h w"], actions: Float[Tensor, "b t 2"]
) -> tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]:
    """Features of all stretches of videos in which one thing is done, and what it is."""
    cut = slice(frames.shape[1] // READ_FRAMES * READ_FRAMES)
    parts, acts = (each[:, cut].unflatten(1, (-1, READ_FRAMES)).flatten(0, 1) for each in (frames, actions))
    done = what_is_done(acts)
    return movement(parts[done >= 0]), done[done >= 0]


def _alike(one: Float[Tensor, "n h w"], other: Float[Tensor, "n h w"]) -> Float[Tensor, " n"]:
    """Correlation of two pictures; 0 where one is even."""
    one, other = (x.flatten(1) - x.flatten(1).mean(dim=1, keepdim=True) for x in (one, other))
    return F.cosine_similarity(one, other, dim=1, eps=1e-4)


def _zoomed(pictures: Float[Tensor, "n h w"], zoom: float) -> Float[Tensor, "n h w"]:
    """The pictures made larger about their middle."""
    turned = torch.tensor([[1 / zoom, 0, 0], [0, 1 / zoom, 0]]).expand(len(pictures), 2, 3)
    grid = F.affine_grid(turned, [len(pictures), 1, *pictures.shape[1:]], align_corners=False)
    return F.grid_sample(pictures[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
