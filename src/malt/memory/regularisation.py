"""The memory regularisation loss, for diversity: tokens that repeat one another are dear, tokens that vary are cheap.

With M the memory tokens (b, m, d): redundancy = mean((M M^T)^2), diversity = mean(std(M, axis=d)),
loss = redundancy - 0.1 * diversity. In this plain form the first term mostly shrinks the tokens; the normalised form takes
L2-normalised tokens and leaves out the diagonal, which is then 1 whatever the tokens are. (The normalised form is ours.)
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from malt.memory.state import Memory

DIVERSITY_WEIGHT = 0.1


def regularisation(
    tokens: Float[Tensor, "b m d"], valid: Bool[Tensor, "b m"] | None = None, normalize: bool = True
) -> Float[Tensor, ""]:
    """redundancy - 0.1 diversity of one layer's memory, in float32; the standard deviation is the unbiased one.

    Places that are not `valid` count for nothing. Averaged within each video first, then over the videos; 0 for a video
    of which nothing is remembered.
    """
    valid = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if valid is None else valid
    with torch.autocast(tokens.device.type, enabled=False):
        tokens = F.normalize(tokens.float(), dim=-1) if normalize else tokens.float()
        pairs = valid[:, :, None] & valid[:, None, :]
        if normalize:
            pairs = pairs & ~torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)
        redundancy = _mean_where(pairs, (tokens @ tokens.mT).square())
        diversity = _mean_where(valid, tokens.std(dim=-1))
    return (redundancy - DIVERSITY_WEIGHT * diversity).mean()


def memory_regularisation(memory: Memory, normalize: bool = True) -> Float[Tensor, ""]:
    """The regularisation of every layer's memory, summed; layers without places add nothing."""
    parts = [regularisation(state.tokens, state.valid, normalize) for state in memory if state.tokens.shape[1]]
    return torch.stack(parts).sum() if parts else memory[0].tokens.new_zeros(()).float()


def _mean_where(counts: Bool[Tensor, "b *n"], values: Float[Tensor, "b *n"]) -> Float[Tensor, " b"]:
    """The mean of each video's values that count; 0 where none does."""
    chosen = torch.where(counts, values, 0.0)
    return chosen.flatten(1).sum(dim=1) / counts.flatten(1).sum(dim=1).clamp(min=1)
