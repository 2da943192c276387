"""Features of a maze's videos: coarse pixels of short windows, since nothing learned is at hand."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

WINDOW, CELLS = 16, 6


class CoarsePixels:
    """The mean picture of every 16 frames in 6x6 cells."""

    name = "coarse pixels"

    def ends(self, num_frames: int) -> list[int]:
        """The end of every whole window."""
        return list(range(WINDOW, num_frames + 1, WINDOW))

    def __call__(self, videos: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n d"]:
        """One row a window."""
        whole = videos[:, : videos.shape[1] // WINDOW * WINDOW]
        windows = whole.unflatten(1, (-1, WINDOW)).mean(dim=2).flatten(0, 1)
        return F.adaptive_avg_pool2d(windows, CELLS).flatten(1)
