"""What decides a training run, all of it: one frozen value that is written beside the run and read back to resume it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from malt.memory.registry import Setting, build_memory
from malt.models.positions import split_axes
from malt.precision import check_precision
from malt.training.engine.optimizer import Optimization
from malt.training.engine.parallel import ParallelConfig
from malt.training.objectives.autoencoding import ReconstructionConfig
from malt.training.objectives.curriculum import Stage
from malt.training.objectives.distillation import StudentConfig
from malt.training.objectives.objective import Objective
from malt.worlds.registry import DEFAULT_WORLD


@dataclass(frozen=True, kw_only=True)
class AutoencoderSize:
    """Arguments of `AutoencoderMalt`, but for those that come from the data."""

    latent_channels: int = 16
    channels: tuple[int, int, int] = (24, 96, 112)
    encoder_blocks: tuple[int, int] = (1, 1)
    decoder_blocks: tuple[int, int] = (1, 2)
    latent_bound: float = 3.0

    def __post_init__(self) -> None:
        for name in ("latent_channels", "channels", "encoder_blocks", "decoder_blocks"):
            value = getattr(self, name)
            if min(value if isinstance(value, tuple) else (value,)) < 1:
                raise ValueError(f"{name} is {value}; give at least 1")


@dataclass(frozen=True, kw_only=True)
class TransformerSize:
    """Arguments of `MaltTransformer3DModel`, but for those that come from the codec and from the actions."""

    patch_size: int = 2
    num_layers: int = 6
    num_attention_heads: int = 8
    attention_head_dim: int = 32
    mlp_ratio: float = 3.0
    caption_dim: int = 128
    modulation_dim: int = 128
    memory: str = "recurrent"
    memory_size: int | None = None
    memory_config: Mapping[str, Setting] | None = None  # settings of the kind by name; they count before memory_size
    segment_frames: int = 4
    context_frames: int = 1
    attention: tuple[str, ...] = ("space_time",)
    window_size: tuple[int, int] | None = None
    motion: tuple[float, float] | None = (
        None  # where actions are a turn and a step: radians and units of length of each
    )

    def __post_init__(self) -> None:
        if not self.attention or not set(self.attention) <= {"space_time", "space"}:
            raise ValueError(f"attention is {' '.join(self.attention)!r}; give space_time or space for layers in turn")
        for name, value in vars(self).items():
            least = 0 if name == "context_frames" else 1
            if isinstance(value, int) and value < least:
                raise ValueError(f"{name} is {value}; give at least {least}")
        if self.memory == "places" and not self.motion:
            raise ValueError("a memory of places is read by where one is; give motion, what a turn and a step of 1 are")
        split_axes(self.attention_head_dim)
        with torch.device("meta"):  # refuses a size that does not suit the kind
            heads = self.num_attention_heads
            build_memory(self.memory, heads, heads, self.memory_size, self.memory_config)


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The memory that a frozen base is given, and how its own layers may change along with it."""

    memory: str = "hierarchical"
    memory_size: int | None = None
    memory_config: Mapping[str, Setting] | None = None  # settings of the kind by name; they count before memory_size
    memory_width: int | None = None  # channels of what is remembered; None for the base's own
    read: str | None = None  # beside the keys of self-attention, or behind each block; None: beside where the base can
    every: int = 1  # every how many layers one has a memory
    segment_frames: int = 4
    context_frames: int | None = None  # None: 1, and 0 for a base with one noise level for all frames
    lora_rank: int = 64  # 0: the base's layers stay as they are
    lora_targets: tuple[str, ...] = ("attention", "feed_forward")
    lora_every: int = 1  # every how many layers one has a LoRA

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name in ("context_frames", "lora_rank") else 1
            if isinstance(value, int) and value < least:
                raise ValueError(f"{name} is {value}; give at least {least}")
        if not self.lora_targets or not set(self.lora_targets) <= {"attention", "feed_forward"}:
            raise ValueError(f"lora_targets is {' '.join(self.lora_targets)!r}; give attention, feed_forward or both")
        if self.read not in (None, "beside", "behind"):
            raise ValueError(f"read is {self.read!r}; give beside (the keys of self-attention) or behind (each block)")
        with torch.device("meta"):  # refuses a size that does not suit the kind
            build_memory(self.memory, 12, 1, self.memory_size, self.memory_config)

    @property
    def settings(self) -> dict[str, object]:
        """Those of the adapter itself that are said."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class MonitorConfig:
    """What is measured and shown as the run goes on, by the averaged weights; it changes nothing of the run."""

    validate_every: int = 500  # steps; 0 for never
    validation_videos: int = 8
    noise_levels: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    sample_every: int = 500  # steps; 0 for never
    sample_videos: int = 4
    sample_frames: int = 96

    def __post_init__(self) -> None:
        for name in ("validation_videos", "sample_videos", "sample_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        for name in ("validate_every", "sample_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number of steps, or 0 for never")
        if not all(0 < level <= 1 for level in self.noise_levels):
            raise ValueError(f"noise_levels are {self.noise_levels}; give numbers above 0 and up to 1")


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """How often and how many states of a run are saved."""

    save_seconds: float = 180.0  # from one saved state to the next; a stop and the end save as well
    keep_states: int = 2  # the newest ones; those at the ends of stages are kept for good

    def __post_init__(self) -> None:
        if self.keep_states < 1:
            raise ValueError(f"keep_states is {self.keep_states}; give at least 1")
        if self.save_seconds <= 0:
            raise ValueError(f"save_seconds is {self.save_seconds}; give a number above 0")


BASE_WORDS, BASE_TOKENS = 10**6, 10**4  # a base has its own words, and cuts captions itself


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What the finished pipeline does where a call says nothing; the run's own samples are made so too."""

    num_inference_steps: int = 12
    guidance_scale: float = 3.0
    memory_guidance_scale: float = 1.0
    context_noise: float = 0.05
    shift: float = 3.0  # of the schedule of noise levels: where films begin, most is decided near pure noise
    remembers_in_last_step: bool = False  # an adapter's memory is written by the last step: a pass less a segment

    def __post_init__(self) -> None:
        if self.num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {self.num_inference_steps}; give at least 1")
        if self.shift <= 0:
            raise ValueError(f"shift is {self.shift}; give a number above 0")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that decides a training run: the same experiment and seed give the same model on the same machine."""

    world: str = DEFAULT_WORLD  # the synthetic world to learn from where there is no `data`
    data: str | None = None  # folder of shards or of videos; None for the world
    codec: str | None = (
        None  # folder of a ready autoencoder or pipeline; None: train one, or what the shards were made with
    )
    frame_size: tuple[int, int] = (64, 64)  # height and width of the videos, pixels
    frame_rate: float = 16.0  # frames a second
    actions: tuple[str, ...] = ()  # what is done in every frame: columns of NAME.actions.csv
    base: str | None = None  # folder of a pretrained pipeline: it stays as it is, and an adapter of it is trained
    adapter: AdapterConfig = AdapterConfig()
    autoencoder: AutoencoderSize = AutoencoderSize()
    autoencoder_objective: ReconstructionConfig = ReconstructionConfig()
    autoencoder_optimization: Optimization = Optimization(
        num_steps=4000, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, ema_decay=0.998, decay_from=0.5
    )
    autoencoder_start: str | None = None  # folder of an autoencoder or pipeline whose weights a new one begins with
    clip_frames: int = 12
    transformer: TransformerSize = TransformerSize()
    optimization: Optimization = Optimization(
        num_steps=2700, learning_rate=1.5e-3, muon_learning_rate=1.5e-3, decay_from=0.55
    )
    curriculum: tuple[Stage, ...] = (Stage(until=2700, objectives=(Objective(),)),)
    world_videos: int = 1600  # scenes of the world that are rendered and encoded before the transformer is trained
    world_frames: int = 160
    world_return_share: float = 0.0  # of windows of these, how many end where something hidden comes out again
    folder_captions: bool = False  # a video without a caption has the name of its folder for one, as CLASS/NAME.avi
    max_words: int = 500  # of the captions: the most frequent ones are learned
    caption_tokens: int = 20  # what is longer is cut off
    start: str | None = None  # pipeline directory whose weights the run begins with, but for those of `codec`
    fresh_text_encoder: bool = False  # do not keep that of `start`
    teacher: str | None = None  # pipeline directory, or adapter of `base`, whose many steps a student of few is taught
    student: StudentConfig = StudentConfig()
    monitors: MonitorConfig = MonitorConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    sampling: Sampling = Sampling()
    seed: int = 0
    precision: str = "auto"  # bfloat16 where the device has units for it, else float32
    compile: bool = True
    cuda_graphs: bool = False  # of the transformer's steps, on one GPU: small models are many times faster
    parallel: ParallelConfig = ParallelConfig()

    def __post_init__(self) -> None:
        ends = [stage.until for stage in self.curriculum]
        if not ends or ends != sorted(set(ends)):
            raise ValueError(
                f"the stages of the curriculum end at steps {ends}; give at least one, each later than the last"
            )
        if self.curriculum[-1].until != self.optimization.num_steps:
            raise ValueError(
                f"the curriculum ends at step {self.curriculum[-1].until} and the optimization at "
                f"{self.optimization.num_steps}; make them equal"
            )
        check_precision(self.precision)
        if self.frame_rate <= 0:
            raise ValueError(f"frame_rate is {self.frame_rate}; give a number above 0")
        for name in ("world_videos", "world_frames", "caption_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.base and (self.start or self.codec):
            raise ValueError("a base brings its own autoencoder and its own weights; leave codec and start out")
        if self.teacher and (self.start or self.codec):
            raise ValueError("a student begins as its teacher; leave start and codec out")
        if self.base and self.actions:
            raise ValueError("a pretrained base takes no actions; leave them out")
        if self.sampling.remembers_in_last_step and not self.base:
            raise ValueError("only an adapter of a base remembers in its last step; leave it out")
        self._check_sizes()

    def _check_sizes(self) -> None:
        multiple = 8 * self.transformer.patch_size
        height, width = self.frame_size
        if (
            self.codec is None
            and self.base is None
            and (height % multiple or width % multiple or min(height, width) < multiple)
        ):
            raise ValueError(
                f"frame_size is {height} {width}; give a height and a width that are multiples of {multiple}"
            )
        if self.clip_frames < 4 or self.clip_frames % 4:
            raise ValueError(f"clip_frames is {self.clip_frames}; give a multiple of 4")

    @property
    def longest_unroll(self) -> int:
        """Segments in the longest unroll of the curriculum."""
        return max(objective.unroll.num_segments for stage in self.curriculum for objective in stage.objectives)


def stretched(curriculum: tuple[Stage, ...], num_steps: int) -> tuple[Stage, ...]:
    """The same stages over another number of steps, each with its share of them.

    Raises:
        ValueError: when there are fewer steps than stages.
    """
    if num_steps < len(curriculum):
        raise ValueError(
            f"num_steps is {num_steps}; give at least {len(curriculum)}, one for each stage of the curriculum"
        )
    ends, last = list[int](), curriculum[-1].until
    for index, stage in enumerate(curriculum):
        latest = num_steps - (len(curriculum) - 1 - index)
        ends.append(min(latest, max(ends[-1] + 1 if ends else 1, round(stage.until * num_steps / last))))
    return tuple(Stage(until=end, objectives=stage.objectives) for end, stage in zip(ends, curriculum, strict=True))
