"""Where memory runs out while video is made, a sentence says what to lower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from malt.errors import MaltError

OF_THE_CPU = ("not enough memory", "can't allocate memory", "Cannot allocate memory")  # in torch's own words


@contextmanager
def said_in_a_sentence() -> Iterator[None]:
    """Around what may take more memory than there is.

    Raises:
        MaltError: it took more; what was made before is whole.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _sentence() from error
    except RuntimeError as error:
        if any(words in str(error) for words in OF_THE_CPU):
            raise _sentence() from error
        raise


def _sentence() -> MaltError:
    return MaltError(
        "there is not enough memory for the next segment; lower --size, make fewer videos at once, or offload a pretrained "
        "base with --offload model or --offload group; what was made is kept, and can be gone on with"
    )
