"""`state_space`: a recurrent state of constant size, written token by token by the gated delta rule (arXiv:2412.06464).

The state of a head is a matrix S from keys to values. A token with key k and value v writes

    S <- a (S - b k k^T S) + b k v^T

so that what was stored under its key is taken out by the share b before the new value goes in, and everything fades by a.
Reading is a product with a query, and its result is added to the hidden state. A key tells what a token is and where in the
frame, never when. Keys are shared by the heads (as in Mamba-2, arXiv:2405.21060); the rates a and b are each head's own.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from malt.memory.exact import without_autocast
from malt.memory.protocol import Conditions, Layout, SegmentRecord, nothing_written, unit_rms
from malt.memory.similar_tokens import ALIKE
from malt.memory.state import State

PLACE_FREQUENCIES = 4  # of rows and of columns


@dataclass(frozen=True, kw_only=True)
class StateSpaceConfig:
    """state_size: how many rows the state has, the length of a key. chunk: how many tokens are written in one step."""

    state_size: int = 64
    chunk: int = 64

    def __post_init__(self) -> None:
        """Refuse a state or a step of none."""
        if min(self.state_size, self.chunk) < 1:
            raise ValueError(
                f"a state of {self.state_size} rows, written {self.chunk} tokens at a time, cannot be; give at least 1"
            )


class StateSpaceMemory(nn.Module):
    """The matrices of all heads as `state_size` tokens, a row of every head each; an untrained one adds nothing."""

    def __init__(self, width: int, num_heads: int, config: StateSpaceConfig = StateSpaceConfig()) -> None:
        super().__init__()
        self.width, self.num_heads, self.state_size, self.chunk = width, num_heads, config.state_size, config.chunk
        self.embed_place = nn.Linear(4 * PLACE_FREQUENCIES, width, bias=False)
        self.to_q = nn.Linear(width, config.state_size, bias=False)
        self.to_k = nn.Linear(width, config.state_size, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_rates = nn.Linear(width, 2 * num_heads)
        self.to_gate = nn.Linear(width, width)
        self.to_out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.to_out.weight)
        with torch.no_grad():  # at first half of what is stored is replaced, and a segment fades by a fiftieth
            self.to_rates.bias.copy_(torch.tensor([0.0, -4.0]).repeat_interleave(num_heads))

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """`state_size` unwritten rows."""
        return nothing_written(self.state_size, self.width, batch, like)

    def read(self, hidden: Tensor, state: State, conditions: Conditions) -> Tensor:
        """hidden + what the state holds under each token's query, gated; exactly hidden while nothing is written."""
        if not state.tokens.shape[1]:
            return hidden
        source = self._placed(hidden, conditions.layout)
        query = F.normalize(self.to_q(source), dim=-1)
        stored = state.tokens.to(hidden.dtype) * state.valid[..., None]
        said: Tensor = self.to_out((query @ stored) * F.silu(self.to_gate(source)))
        return hidden + said * state.valid.any(dim=1)[:, None, None]

    def write(self, record: SegmentRecord, state: State) -> State:
        """The state after all tokens of the segment, in their order."""
        if not state.tokens.shape[1]:
            return state  # it has no places, since nothing will be written
        source = self._placed(record.tokens, record.conditions.layout)
        replaced, fading = self.to_rates(source).float().chunk(2, dim=-1)
        per_token = -F.softplus(fading) / source.shape[1]  # a segment fades alike, however many tokens it has
        parts = (self.to_k(source), self.to_v(source), replaced.sigmoid(), per_token)
        with without_autocast(source.device.type):
            matrix = state.tokens.float() * state.valid[..., None]
            for keys, values, share, log_decay in zip(
                *(x.float().split(self.chunk, dim=1) for x in parts), strict=True
            ):
                matrix = self._advance(matrix, F.normalize(keys, dim=-1), values, share, log_decay)
        return State(matrix.to(source.dtype), torch.ones_like(state.valid))

    def forget(self, state: State, gone: State, layout: Layout) -> State:
        """Without the rows that resemble the same rows of another state: they hold what was stored under the same keys."""
        if not state.tokens.shape[1]:
            return state
        alike = F.cosine_similarity(state.tokens.float(), gone.tokens.float(), dim=-1)
        return State(state.tokens, state.valid & ~(gone.valid & (alike >= ALIKE)))

    def _advance(
        self,
        matrix: Float[Tensor, "b m d"],
        keys: Float[Tensor, "b n m"],
        values: Float[Tensor, "b n d"],
        share: Float[Tensor, "b n k"],
        log_decay: Float[Tensor, "b n k"],
    ) -> Float[Tensor, "b m d"]:
        """The rule for several tokens at once, exactly: what each puts in solves a triangular system (arXiv:2406.06484)."""
        share, since = (rearrange(x, "b n k -> b k n 1") for x in (share, log_decay.cumsum(dim=1)))
        state, values = (rearrange(x, "b n (k c) -> b k n c", k=self.num_heads) for x in (matrix, values))
        keys = keys[:, None]
        later = torch.ones(since.shape[2], since.shape[2], dtype=torch.bool, device=keys.device).tril(-1)
        # From when one token is written to when a later one is.
        faded = (since - since.mT).masked_fill(~later, -torch.inf).exp()
        system = torch.eye(len(later), device=keys.device) + share * faded * (keys @ keys.mT)
        missing = share * (values - since.exp() * (keys @ state))
        put = torch.linalg.solve_triangular(system, missing, upper=False, unitriangular=True)
        last = since[:, :, -1:]
        state = last.exp() * state + keys.mT @ ((last - since).exp() * put)
        advanced: Tensor = rearrange(state, "b k m c -> b m (k c)")
        return advanced

    def _placed(self, hidden: Float[Tensor, "b n d"], layout: Layout) -> Float[Tensor, "b n d"]:
        """Tokens at unit size, with where they are in the frame."""
        rates = 100.0 ** -(torch.arange(PLACE_FREQUENCIES, device=hidden.device) / PLACE_FREQUENCIES)
        rows, columns = (torch.arange(n, device=hidden.device)[:, None] * rates for n in (layout.rows, layout.columns))
        angles = torch.cat(torch.broadcast_tensors(rows[:, None], columns[None]), dim=-1).flatten(0, 1)
        places = self.embed_place(torch.cat([angles.cos(), angles.sin()], dim=-1).to(hidden.dtype))
        frames = unit_rms(hidden).unflatten(1, (-1, layout.tokens_per_frame))
        placed: Tensor = (frames + places).flatten(1, 2)
        return placed
