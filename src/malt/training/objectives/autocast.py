"""Forward passes of a training step through which no gradient flows."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def no_gradients() -> Iterator[None]:
    """As `torch.no_grad`, and afterwards autocast casts the weights anew.

    Autocast keeps the weights that it has cast until the end of the step. Cast without gradients and then used with them,
    they would cut the graph, and the weights would not learn, with no error.
    """
    with torch.no_grad():
        yield
    torch.clear_autocast_cache()
