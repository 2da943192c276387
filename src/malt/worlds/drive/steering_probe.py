"""Reads from pictures alone how hard a car turns: by how far what it sees moves sideways, from frame to frame.

The reader is a ridge regression taught on true driving. It sees no single picture, so that the bend of a road tells it
nothing: only how well each band of rows of a frame matches the next frame's moved left, less how well moved right.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

BANDS, REACH = 4, 8  # bands of rows, and the largest step sideways in pixels
READ_FRAMES, LAG = 9, 4  # frames that are read together, and how many frames a real car's turn comes after its steering
LEVELS = (0.299, 0.587, 0.114)  # of red, green and blue in grey


def sideways(videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b d"]:
    """How much better each band matches the next frame moved 1 ... REACH pixels left than right, on average over a video.

    A mirrored video gives exactly the negative.
    """
    grey = (videos * torch.tensor(LEVELS, device=videos.device)[:, None, None]).sum(dim=2)
    bands = torch.stack(grey.chunk(BANDS, dim=2), dim=2)  # (b, t, bands, rows, w)
    # The middle of the frame before, and as wide a cut of the frame after it at every step.
    before, after = bands[:, :-1, ..., REACH:-REACH], bands[:, 1:]
    width = before.shape[-1]
    matches = [_likeness(before, after[..., REACH + step : REACH + step + width]) for step in range(-REACH, REACH + 1)]
    match = torch.stack(matches, dim=-1).mean(dim=1)  # (b, bands, steps)
    return (match[..., :REACH].flip(-1) - match[..., REACH + 1 :]).flatten(1)


@dataclass(frozen=True)
class TurnReader:
    """Steering (-1 to 1) of videos of a few frames, each read as a whole."""

    weights: Float[Tensor, " d"]

    @classmethod
    def fit(cls, videos: Float[Tensor, "n d"], steering: Float[Tensor, " n"], penalty: float = 1e-3) -> "TurnReader":
        """The reader whose squared error on these features (of `sideways`) is least, with a penalty on large weights."""
        features, truth = videos.double(), steering.double()
        gram = features.T @ features / len(features) + penalty * torch.eye(features.shape[1], dtype=torch.float64)
        return cls(torch.linalg.solve(gram, features.T @ truth / len(features)).float())

    def __call__(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """What was steered, going by features of `sideways`."""
        return features @ self.weights


def steering_of(steering: Float[Tensor, " t"], start: int) -> Float[Tensor, ""]:
    """What moved the car in the READ_FRAMES frames from `start` on: the mean steering, LAG frames before.

    Raises:
        ValueError: there are no frames so early or so late.
    """
    span = steering[max(0, start - LAG) : start - LAG + READ_FRAMES - 1]
    if start < LAG or len(span) < READ_FRAMES - 1:
        raise ValueError(
            f"{len(steering)} frames of steering do not reach what moved frames {start} to {start + READ_FRAMES}"
        )
    return span.mean()


def explained(read: Float[Tensor, " n"], truth: Float[Tensor, " n"]) -> float:
    """R2: the share of the variance of the truth that is read; 0 for who always says the mean, and below for worse."""
    return float(1 - (read - truth).square().sum() / (truth - truth.mean()).square().sum())


def _likeness(one: Tensor, other: Tensor) -> Tensor:
    """Correlation of two pictures (..., rows, w), from -1 to 1; 0 where one is even."""
    one, other = (x.flatten(-2) - x.flatten(-2).mean(dim=-1, keepdim=True) for x in (one, other))
    return F.cosine_similarity(one, other, dim=-1, eps=1e-4)
