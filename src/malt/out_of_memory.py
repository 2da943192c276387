"""Where memory runs out, a sentence says what to lower, and what is kept."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from malt.errors import MaltError

OF_THE_CPU = ("not enough memory", "can't allocate memory", "Cannot allocate memory")  # in torch's own words

SEGMENT = (
    "the next segment; lower --size, make fewer videos at once, or offload a pretrained base with --offload model or "
    "--offload group; what was made is kept, and can be gone on with"
)
TRAINING_STEP = (
    "a training step; begin again with --parallel.activation-checkpointing true, a smaller --frame-size, smaller batches or "
    "more GPUs that share them; --plan says what a step takes, and states that were saved are kept"
)
ENCODING = "these videos; lower --height and --width; what was encoded is kept, and the same command goes on behind it"


@contextmanager
def enough_memory_for(what: str) -> Iterator[None]:
    """Around what may take more memory than there is.

    Args:
        what: there is not enough memory for, and what to do then.

    Raises:
        MaltError: it took more; what was made before is whole.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise MaltError(f"there is not enough memory for {what}") from error
    except RuntimeError as error:
        if any(words in str(error) for words in OF_THE_CPU):
            raise MaltError(f"there is not enough memory for {what}") from error
        raise
