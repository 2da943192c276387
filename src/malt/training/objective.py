"""What a training step is made of: an `Objective`, a value; and the curriculum, stages of objectives from short to long."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is drawn at random in a training step. Probabilities are per video or per segment, never per batch.

    With `bptt_segments` and `denoise_segments` set, the peak memory of a step does not depend on `num_segments`: the segments
    before are walked without gradients, one at a time. The segments denoised are the last ones, so that gradients from them
    reach the writes that carry any; earlier ones are for other objectives of the stage, or for shorter stages, to learn.

    Rollout fine-tuning (self-forcing; ours): of a share `own_share` of the videos the walked segments, and so all contexts
    after the first, are the model's own. A segment made from nothing but noise would be another future than the true
    one, and the true next segment no answer to it. So the own one starts, as in SDEdit (arXiv:2108.01073), from the true
    segment at a noise level uniform in `own_noise`: below 1 it stays near the truth and carries the model's own
    mistakes. What is learned stays the same: the velocity of the true segment.

    `frame_stride`, `known_first`, `known_last` and `level_per_frame` train the ways to make a long video that malt is
    measured against.
    """

    num_segments: int = 1  # k: consecutive segments of one video
    batch_size: int = 32  # videos a step, of all processes together
    bptt_segments: int | None = None  # memory writes, the last ones, that gradients flow through; None for all
    denoise_segments: int | None = None  # the last so many are denoised, those before only walked; None for all
    draws: int = 1  # of noise for every denoised segment and for the memory before it: they share what one walk costs
    level_mean: float = 0.3  # of the logit of a segment's noise level
    context_noise: float = 0.3  # the context's noise level is uniform up to this
    remembered_noise: float = 0.2  # so is that of the segment that is remembered
    memory_noise: float = 0.3  # standard deviation of the noise on the memory, uniform up to this
    start_share: float = 0.3  # of videos whose first segment begins a film: it sees no context
    caption_dropout: float = 0.12
    memory_dropout: float = 0.1  # of a later segment's memory
    context_dropout: float = 0.03  # of a segment's context, where there is any
    memory_regularisation: float = 0.0  # weight of the memory regularisation loss; 0 for none
    normalize_memory: bool = True  # regularise L2-normalised tokens; False for the plain form
    frame_stride: int = 1  # latent frames from one to the next of those a segment is made of: above 1, key frames
    known_first: int = 0  # of a segment's latent frames, so many at its beginning are known, as the context is
    known_last: int = 0  # and so many at its end: what lies between is filled in
    level_per_frame: bool = False  # every frame of a segment has a noise level of its own (diffusion forcing)
    own_share: float = 0.0  # of videos that are walked over the model's own segments; 0 for none
    own_steps: int = 3  # Euler steps, each a forward pass without gradients, to make an own segment
    own_noise: tuple[float, float] = (0.5, 1.0)  # bounds of the noise level that an own segment starts from

    def __post_init__(self) -> None:
        for name in ("num_segments", "batch_size", "denoise_segments", "draws", "own_steps", "frame_stride"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} is {value}; give at least 1")
        if self.bptt_segments is not None and self.bptt_segments < 0:
            raise ValueError(f"bptt_segments is {self.bptt_segments}; give 0 or more, or None for all")
        for name in ("start_share", "caption_dropout", "memory_dropout", "context_dropout", "own_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a probability between 0 and 1")
        if not 0 <= self.own_noise[0] <= self.own_noise[1] <= 1:
            raise ValueError(f"own_noise is {self.own_noise}; give two noise levels between 0 and 1, the lower first")
        for name in ("known_first", "known_last"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more latent frames")
        if self.memory_regularisation and self.bptt_segments == 0:
            raise ValueError(
                "memory_regularisation needs gradients through memory writes; give bptt_segments 1 or more"
            )

    @property
    def first_denoised(self) -> int:
        """Index of the first segment that is denoised; all after it are, too."""
        return max(0, self.num_segments - (self.denoise_segments or self.num_segments))

    @property
    def num_denoised(self) -> int:
        """Segments that are denoised."""
        return self.num_segments - self.first_denoised

    @property
    def first_learned_write(self) -> int:
        """Index of the first segment through whose memory write gradients flow; the last segment's is never made."""
        return 0 if self.bptt_segments is None else max(0, self.num_segments - 1 - self.bptt_segments)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of the curriculum: up to step `until`, learn by these objectives in turn."""

    until: int
    objectives: tuple[Objective, ...]


CONSTANT_MEMORY = Objective(batch_size=8, bptt_segments=3, denoise_segments=4)
METHOD_FRAMES = (64, 128, 256, 512, 1024)


def frames_curriculum(
    frames: Sequence[int] = METHOD_FRAMES,
    *,
    frames_per_segment: int,
    steps: int | Sequence[int],
    walk: Objective = CONSTANT_MEMORY,
    beside: tuple[Objective, ...] = (),
    start: int = 0,
) -> tuple[Stage, ...]:
    """Stages of so many video frames each, short to long.

    Args:
        frames: video frames of each stage; a stage has as many segments as these need.
        frames_per_segment: video frames of a segment, latent frames times the codec's compression in time.
        steps: steps of each stage, or of all alike.
        walk: the objective of all stages but for its number of segments. The default's peak memory is that of 4 segments.
        beside: objectives that take turns with it in every stage, before it.
        start: the step that the first stage begins at.

    Raises:
        ValueError: when there are no frames to a segment, or not as many counts of steps as stages.
    """
    if frames_per_segment < 1:
        raise ValueError(f"frames_per_segment is {frames_per_segment}; give at least 1")
    lengths = [steps] * len(frames) if isinstance(steps, int) else list(steps)
    if len(lengths) != len(frames):
        raise ValueError(
            f"{len(frames)} stages and {len(lengths)} counts of steps; give one count, or one for each stage"
        )
    ends = [start + sum(lengths[: n + 1]) for n in range(len(frames))]
    walks = [replace(walk, num_segments=-(-count // frames_per_segment)) for count in frames]
    return tuple(Stage(until=end, objectives=(*beside, long)) for end, long in zip(ends, walks, strict=True))
