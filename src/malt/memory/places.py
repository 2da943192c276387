"""`places`: frames kept with the poses they were seen from, and read by where one is now, however long ago that was (ours).

The pose is kept by dead reckoning from the actions and is part of the state. What is remembered of a view is what left the
layer; a view as good as one that is kept is not kept again, so the first impression stays. When all places are taken, one of
the two views most alike goes. Views are rounded coarsely, so that a session's state is short once it is deflated.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from malt.memory.novelty import pick
from malt.memory.poses import NUM_FEATURES, features, likeness, moved, origin, seen_from
from malt.memory.protocol import Conditions, ContextTokens, Layout, SegmentRecord, nothing_written, unit_rms
from malt.memory.state import State, places, side_by_side

TIME = -2  # latent frames from the segment: views are of no time
STEP = 0.5  # that views, which are at unit RMS, are rounded to: three bits a number


@dataclass(frozen=True, kw_only=True)
class PlacesConfig:
    """num_views: how many frames are kept. num_read: how many of them, the ones that matter most here, are attended to.

    reach: units of length between two places that show much the same. threshold: how alike two views are at least, of which
    only one is kept, as `likeness` counts it.
    """

    num_views: int = 64
    num_read: int = 8
    reach: float = 2.0
    threshold: float = -0.12

    def __post_init__(self) -> None:
        """Refuse a memory of nothing."""
        if not 1 <= self.num_read <= self.num_views:
            raise ValueError(
                f"num_read is {self.num_read} of num_views {self.num_views}; give 1 or more, and no more than there are"
            )
        if self.reach <= 0:
            raise ValueError(f"reach is {self.reach}; give a length above 0")


class _Parts(NamedTuple):
    """What a state holds: where one is, and of every view, from where it was seen and its tokens."""

    here: State  # (b, 1, d)
    poses: State  # (b, v, d)
    views: State  # (b, v x tokens per frame, d)


class PlacesMemory(nn.Module):
    """`num_views` frames, and the layer of weights that tells attention from where they were seen."""

    def __init__(self, width: int, num_heads: int, config: PlacesConfig = PlacesConfig()) -> None:
        super().__init__()
        self.width, self.config = width, config
        self.embed_pose = nn.Linear(NUM_FEATURES, width)
        nn.init.zeros_(self.embed_pose.weight)
        nn.init.zeros_(self.embed_pose.bias)

    def empty(self, batch: int, layout: Layout, like: Tensor) -> State:
        """A place for the pose of now, and for every view one for its pose and a frame's for what it showed."""
        return nothing_written(1 + self.config.num_views * (1 + layout.tokens_per_frame), self.width, batch, like)

    def context(self, state: State, conditions: Conditions) -> ContextTokens:
        """The views most like those that the segment's actions lead to, told from where they were seen."""
        layout, parts = conditions.layout, self._split(state)
        here = _read_poses(parts.here)
        ahead = torch.cat([here, moved(here, _motion(conditions)[:, layout.num_context :])], dim=1)
        stored, known = _read_poses(parts.poses), parts.poses.valid
        relevance = likeness(stored, ahead, self.config.reach).amax(dim=2).masked_fill(~known, -torch.inf)
        nearest = relevance.topk(self.config.num_read, dim=1).indices
        seen = features(seen_from(here, pick(stored, nearest)))
        told = self.embed_pose(seen.to(self.embed_pose.weight.dtype))
        frames = pick(parts.views.tokens.unflatten(1, (self.config.num_views, -1)).flatten(2), nearest)
        tokens = frames.unflatten(2, (-1, self.width)) + told[:, :, None].to(frames.dtype)
        shown = parts.views.valid.unflatten(1, (self.config.num_views, -1)) & known[..., None]
        valid = shown.gather(1, nearest[..., None].expand(-1, -1, shown.shape[2]))
        return ContextTokens(tokens.flatten(1, 2), valid.flatten(1), (TIME,) * self.config.num_read)

    def write(self, record: SegmentRecord, state: State) -> State:
        """The segment's frames that show what no kept view shows; and the pose at its end."""
        if not state.tokens.shape[1]:
            return state  # it has no places, since nothing will be written
        layout, own = record.conditions.layout, _rounded(unit_rms(record.tokens))
        parts = self._split(State(state.tokens.to(own.dtype), state.valid))
        reached = moved(_read_poses(parts.here), _motion(record.conditions)[:, layout.num_context :])
        poses = torch.cat([_read_poses(parts.poses), reached], dim=1)
        kept, known = self._keep(poses, parts.poses.valid)
        frames = torch.cat([parts.views.tokens, own], dim=1).unflatten(1, (poses.shape[1], -1))
        shown = torch.cat([parts.views.valid, torch.ones_like(own[..., 0], dtype=torch.bool)], dim=1)
        shown = shown.unflatten(1, (poses.shape[1], -1))
        views = pick(frames.flatten(2), kept).unflatten(2, (-1, self.width)).flatten(1, 2)
        valid = known[..., None] & shown.gather(1, kept[..., None].expand(-1, -1, shown.shape[2]))
        here = self._write_poses(reached[:, -1:], own)
        return side_by_side(
            State(here, torch.ones_like(here[..., 0], dtype=torch.bool)),
            State(self._write_poses(pick(poses, kept), own), known),
            State(views, valid.flatten(1)),
        )

    def poses(self, state: State) -> tuple[Float[Tensor, "b 4"], Float[Tensor, "v 4"]]:
        """Where one is, and from where the first video's views were seen."""
        parts = self._split(state)
        return _read_poses(parts.here)[:, 0], _read_poses(parts.poses)[0, parts.poses.valid[0]]

    @torch.no_grad()
    def _keep(self, poses: Float[Tensor, "b n 4"], known: Bool[Tensor, "b v"]) -> tuple[Int[Tensor, "b v"], Tensor]:
        """Which of the stored poses and the new ones behind them are kept in every place, and which places are taken."""
        count = known.shape[1]
        alike = likeness(poses, poses, self.config.reach)
        kept = torch.arange(count, device=known.device).expand_as(known)
        older = torch.ones(count, count, dtype=torch.bool, device=known.device).tril(-1)
        for new in range(count, poses.shape[1]):
            to_new = alike[:, new].gather(1, kept).masked_fill(~known, -torch.inf).amax(dim=1)
            among = pick(pick(alike, kept).mT, kept).masked_fill(
                ~(known[:, :, None] & known[:, None] & older), -torch.inf
            )
            most, pair = among.flatten(1).max(dim=1)
            is_full = known.all(dim=1)
            place = torch.where(is_full, pair // count, known.long().argmin(dim=1))
            counts = (to_new < self.config.threshold) & (~is_full | (to_new < most))
            taken = counts[:, None] & (torch.arange(count, device=known.device) == place[:, None])
            kept, known = torch.where(taken, new, kept), known | taken
        return kept, known

    def _split(self, state: State) -> _Parts:
        first, second = 1, 1 + self.config.num_views
        return _Parts(*(places(state, each) for each in (slice(first), slice(first, second), slice(second, None))))

    def _write_poses(self, pose: Float[Tensor, "b n 4"], like: Tensor) -> Float[Tensor, "b n d"]:
        """Every number of a pose in a quarter of the channels, so that noise on a memory hardly moves it."""
        return pose.repeat_interleave(self.width // 4, dim=-1).to(like.dtype)


def _rounded(tokens: Tensor) -> Tensor:
    """Multiples of `STEP`, through which gradients pass as if nothing were rounded."""
    return tokens + ((tokens / STEP).round() * STEP - tokens).detach()


def _read_poses(stored: State) -> Float[Tensor, "b n 4"]:
    """Poses as `_write_poses` wrote them, of headings of length 1; the origin where none was written."""
    pose = stored.tokens.float().unflatten(-1, (4, -1)).mean(dim=-1)
    heading = pose[..., 2:] / pose[..., 2:].norm(dim=-1, keepdim=True).clamp(min=1e-3)
    pose = torch.cat([pose[..., :2], heading], dim=-1)
    return torch.where(stored.valid[..., None], pose, origin(pose, *pose.shape[:2]))


def _motion(conditions: Conditions) -> Float[Tensor, "b s 4"]:
    """Where the frames are; who is not told of moving stands still."""
    if conditions.motion is not None:
        return conditions.motion
    return origin(conditions.caption.float(), len(conditions.caption), conditions.layout.frames)
