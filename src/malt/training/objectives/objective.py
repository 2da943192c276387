"""What a training step is made of, as values. Probabilities are per video or per segment, never per batch."""

from collections.abc import Iterable
from dataclasses import dataclass


def _check_counts(config: object, names: Iterable[str]) -> None:
    for name in names:
        if (value := getattr(config, name)) is not None and value < 1:
            raise ValueError(f"{name} is {value}; give at least 1")


def _check_probabilities(config: object, names: Iterable[str]) -> None:
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} is {getattr(config, name)}; give a probability between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class UnrollConfig:
    """Which consecutive segments of a video are learned from, and how far gradients flow (truncated BPTT).

    With `bptt_segments` and `denoise_segments` set, the peak memory of a step does not depend on `num_segments`: the
    segments before are unrolled without gradients, one at a time. The segments denoised are the last ones, so that
    gradients from them reach the writes that carry any; earlier ones are for other objectives of the stage to learn.
    """

    num_segments: int = 1  # k: consecutive segments of one video
    bptt_segments: int | None = None  # memory writes, the last ones, that gradients flow through; None for all
    denoise_segments: int | None = None  # the last so many are denoised, those before only unrolled; None for all
    far_segments: int = 0  # the first so many are from long before the others; only a memory's sink still knows them
    first_segment_prob: float = 0.3  # of a video that its first segment begins a film: it sees no context
    begins_alone: bool = (
        False  # a single segment, as long as one is, with nothing before it: how pretrained bases begin
    )
    memory_regularisation: float = 0.0  # weight of the memory regularisation loss; 0 for none
    normalize_memory: bool = True  # regularise L2-normalised tokens; False for the plain form

    def __post_init__(self) -> None:
        _check_counts(self, ("num_segments", "denoise_segments"))
        _check_probabilities(self, ("first_segment_prob",))
        if self.begins_alone and (self.num_segments, self.first_segment_prob) != (1, 1.0):
            raise ValueError(
                "what begins alone is a film's first segment; give num_segments 1 and first_segment_prob 1"
            )
        if not 0 <= self.far_segments <= self.first_denoised:
            raise ValueError(
                f"far_segments is {self.far_segments}; give 0 to {self.first_denoised}, those that are not denoised"
            )
        if self.bptt_segments is not None and self.bptt_segments < 0:
            raise ValueError(f"bptt_segments is {self.bptt_segments}; give 0 or more, or None for all")
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
class NoiseConfig:
    """How noisy segments, contexts and memories are."""

    num_noise_samples: int = (
        1  # of every denoised segment and of the memory before it: they share what one unroll costs
    )
    logit_mean: float = 0.3  # of a segment's noise level, which is logit-normal
    context_noise: float = 0.3  # the context's noise level is uniform up to this
    memory_write_noise: float = 0.2  # so is that of the segment that is written into the memory
    memory_noise: float = 0.3  # standard deviation of the noise on the memory, uniform up to this

    def __post_init__(self) -> None:
        _check_counts(self, ("num_noise_samples",))


@dataclass(frozen=True, kw_only=True)
class DropoutConfig:
    """How often the model must do without."""

    caption_dropout: float = 0.12
    memory_dropout: float = 0.1  # of a later segment's memory
    context_dropout: float = 0.03  # of a segment's context, where there is any

    def __post_init__(self) -> None:
        _check_probabilities(self, ("caption_dropout", "memory_dropout", "context_dropout"))


@dataclass(frozen=True, kw_only=True)
class SelfForcingConfig:
    """Rollout fine-tuning: some videos are unrolled over the model's own segments (self-forcing; the start is ours).

    All contexts after the first are then its own, too. A segment made from nothing but noise would be another future
    than the true one, and the true next segment no answer to it. So it starts, as in SDEdit (arXiv:2108.01073), from
    the true segment at a noise level uniform in `noise_range`: below 1 it stays near the truth and carries the model's
    own mistakes. What is learned stays the same: the velocity of the true segment.
    """

    prob: float = 0.0  # of a video; 0 for none
    num_steps: int = 3  # Euler steps, each a forward pass without gradients
    noise_range: tuple[float, float] = (0.5, 1.0)  # noise levels

    def __post_init__(self) -> None:
        _check_counts(self, ("num_steps",))
        _check_probabilities(self, ("prob",))
        if not 0 <= self.noise_range[0] <= self.noise_range[1] <= 1:
            raise ValueError(
                f"noise_range is {self.noise_range}; give two noise levels between 0 and 1, the lower first"
            )


@dataclass(frozen=True, kw_only=True)
class BaselineConfig:
    """What trains the other ways to make a long video, which malt is measured against."""

    frame_stride: int = 1  # latent frames from one to the next of those a segment is made of: above 1, key frames
    num_prefix_frames: int = 0  # of a segment's latent frames, so many at its beginning are known, as the context is
    num_suffix_frames: int = 0  # and so many at its end: what lies between is filled in
    level_per_frame: bool = False  # every frame of a segment has a noise level of its own (diffusion forcing)
    num_anchor_frames: int = 0  # so many of a context's latent frames are the first ones that were seen, not the last

    def __post_init__(self) -> None:
        _check_counts(self, ("frame_stride",))
        for name in ("num_prefix_frames", "num_suffix_frames", "num_anchor_frames"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more latent frames")

    @property
    def num_known_frames(self) -> int:
        """Latent frames of a segment that are not learned."""
        return self.num_prefix_frames + self.num_suffix_frames


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How a student's steps are practised, where there is a teacher."""

    student_steps: int = 4  # of a segment, all of which are practised in turn
    own_state_prob: float = 0.5  # of a video that a step is practised where the student's own steps before it have led

    def __post_init__(self) -> None:
        _check_counts(self, ("student_steps",))
        _check_probabilities(self, ("own_state_prob",))


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is learned in a training step."""

    batch_size: int = 32  # videos a step, of all processes together
    unroll: UnrollConfig = UnrollConfig()
    noise: NoiseConfig = NoiseConfig()
    dropout: DropoutConfig = DropoutConfig()
    self_forcing: SelfForcingConfig = SelfForcingConfig()
    baseline: BaselineConfig = BaselineConfig()
    distillation: DistillationConfig = DistillationConfig()

    def __post_init__(self) -> None:
        _check_counts(self, ("batch_size",))
