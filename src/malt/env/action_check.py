"""Actions as they come from outside, checked: numbers from -1 to 1, one for each name, for a step or each of its frames."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from malt.errors import UsageError


def check_actions(
    actions: object, num_sessions: int, num_frames: int, names: Sequence[str]
) -> Float[Tensor, "n t a"] | None:
    """What is done in each frame of a step of so many sessions; None where nobody acts.

    Args:
        actions: (n, a), held for the whole step, or (n, t, a); arrays, tensors or lists.
        num_sessions: n.
        num_frames: t.
        names: of the actions.

    Raises:
        UsageError: they are of another type, shape or range, missing, or not wanted.
    """
    if not names:
        if actions is not None and np.size(_array(actions, names)):
            raise UsageError("nobody acts here; step without actions")
        return None
    wanted = f"give {len(names)} numbers from -1 to 1 ({', '.join(names)}) for each of {num_sessions} sessions"
    wanted += f", or for each of {num_frames} frames of each" if num_frames > 1 else ""
    if actions is None:
        raise UsageError(f"a step needs actions; {wanted}")
    values = _array(actions, names)
    if values.dtype.kind not in "fiu":
        raise UsageError(f"the actions are of type {values.dtype}; {wanted}")
    held, whole = (num_sessions, len(names)), (num_sessions, num_frames, len(names))
    if values.shape not in (held, whole):
        raise UsageError(f"got actions of shape {values.shape}; {wanted}")
    numbers = torch.from_numpy(np.array(values, dtype=np.float32))
    if not bool(((numbers >= -1) & (numbers <= 1)).all()):
        raise UsageError(f"there are actions outside -1 to 1, or no numbers; {wanted}")
    return numbers if values.ndim == 3 else numbers[:, None].expand(-1, num_frames, -1)


def _array(actions: object, names: Sequence[str]) -> np.ndarray:
    try:
        return actions.detach().cpu().float().numpy() if isinstance(actions, Tensor) else np.asarray(actions)
    except (TypeError, ValueError) as error:  # lists of unequal length
        raise UsageError(
            f"the actions form no array; give lists of equal length, {len(names)} numbers in each"
        ) from error
