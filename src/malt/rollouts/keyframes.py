"""`keyframes`: sparse frames first, then those between them, with the frames on both sides known.

Source: Hierarchy-2 of Flexible Diffusion Modeling of Long Videos (arXiv:2205.11495), NUWA-XL (arXiv:2303.12346). Ours: a
stream. Key frames are made a few at a time, each few behind those before them, so that no length need be known; a segment
is what lies between two of them, and the later one. The network sees key frames as neighbours in time.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from malt.diffusion.partial import sample_part
from malt.errors import UsageError
from malt.rollouts.base import RolloutState
from malt.rollouts.context_frames import context_before, with_context
from malt.rollouts.memoryless import Memoryless
from malt.rollouts.noise import VideoGenerators


@dataclass(frozen=True, kw_only=True)
class KeyframesRollout(Memoryless):
    """Make every `every`-th latent frame, then those between; with more `levels`, key frames of key frames first.

    every: None for the latent frames of a segment. The sparsest key frames are `every` ** `levels` latent frames apart and
    come as many at once as a segment has latent frames. What will be done is not known when a key frame is made: it is told
    of no actions. The first segment has no frame before it: there the network sees noise, as before any video.
    """

    every: int | None = None
    levels: int = 1

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing between key frames."""
        if self.every is not None and self.every < 2:
            raise UsageError(f"asked for every {self.every}th latent frame as a key frame; give at least 2")
        if self.levels < 1:
            raise UsageError(f"asked for {self.levels} levels of key frames; give at least 1")

    @property
    def segment_frames(self) -> int:
        """Latent frames from after one key frame to the next."""
        return self.every or max(2, self.base.transformer.segment_frames)

    @property
    def num_context(self) -> int:
        """Latent frames known before those that are made, at every level."""
        return max(1, self.base.transformer.context_frames)

    @property
    def num_kept(self) -> int:
        """The context of the sparsest key frames, and all between them."""
        spacing: int = self.segment_frames**self.levels
        return (self.num_context - 1) * spacing + 1

    def make(self, state: RolloutState, actions: Tensor | None) -> tuple[Tensor, RolloutState]:
        """Latents up to the next key frame, which is made first where there is none ahead."""
        return self._frames(state, self.levels, self.base.generators(state), actions)

    def _frames(
        self, state: RolloutState, level: int, generators: VideoGenerators, actions: Tensor | None = None
    ) -> tuple[Tensor, RolloutState]:
        """The next frames of a level, from the sparsest key frames, level 0, to the video itself, level `levels`."""
        if level == 0:
            return self._denoise(state, level, generators, self.base.transformer.segment_frames, None), state
        if len(state.ahead) < level or not state.ahead[level - 1].shape[1]:
            keys, state = self._frames(state, level - 1, generators)
        else:
            keys = state.ahead[level - 1]
        key, later = keys[:, :1], keys[:, 1:]
        between = self._denoise(state, level, generators, self.segment_frames - 1, key, actions)
        ahead = (*state.ahead[: level - 1], later, *state.ahead[level:])
        return torch.cat([between, key], dim=1), replace(state, ahead=ahead)

    def _denoise(
        self,
        state: RolloutState,
        level: int,
        generators: VideoGenerators,
        count: int,
        key: Tensor | None,
        actions: Tensor | None = None,
    ) -> Tensor:
        """`count` frames of a level behind those before them and, where there is one, before a key frame."""
        base, past = self.base, self._past(state.tail, level)
        context = base.num_context(past, self.num_context)
        noise = generators.draw(context + count + 1)
        before = context_before(past, noise[:, :context], base.context_noise)
        after = None if key is None else context_before(key, noise[:, -1:], base.context_noise)
        velocity = self.velocity(self._actions(state, level, actions, count + (key is not None)), context)
        return sample_part(velocity, noise[:, context:-1], base.scheduler, base.num_steps, before, after)

    def _past(self, tail: Tensor | None, level: int) -> Tensor | None:
        """The finished frames that a level's next ones follow, as far apart as they are."""
        stride = self.segment_frames ** (self.levels - level)
        return None if tail is None else tail[:, (tail.shape[1] - 1) % stride :: stride]

    def _actions(self, state: RolloutState, level: int, actions: Tensor | None, count: int) -> Tensor | None:
        """What is done in the frames of the video, and nothing in those of the levels above it."""
        if actions is not None:
            return with_context(state.tail_actions, actions, self.num_context)
        width = self.base.transformer.action_dim
        nothing = (self.base.batch, self.num_context + count, width or 0)
        return None if width is None else torch.zeros(nothing, device=self.base.device)
