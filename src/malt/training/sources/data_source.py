"""Where a run learns from: what every world, folder of videos or folder of shards gives. Some of each is held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from malt.codecs.base import Codec
from malt.data.batch import Batch
from malt.errors import UsageError
from malt.training.objectives.autoencoding import Clips
from malt.training.objectives.denoising import SequenceSampler

Log = Callable[[str], None]


@dataclass(frozen=True)
class VideoFormat:
    """What videos are brought to before they are learned from.

    size: height and width in pixels. rate: frames a second. actions: the names of what is done in every frame.
    """

    size: tuple[int, int]
    rate: float
    actions: tuple[str, ...] = ()


def check_frame_size(codec: Codec, patch_size: int, frame_size: Sequence[int]) -> None:
    """Refuse frames that are no whole number of tokens.

    Args:
        codec: of the model's autoencoder.
        patch_size: side of a token, latent pixels.
        frame_size: height and width, pixels.

    Raises:
        UsageError: for such frames.
    """
    multiple = codec.space_compression * patch_size
    if any(side % multiple for side in frame_size):
        height, width = frame_size
        raise UsageError(
            f"frames of {width}x{height} do not fit this autoencoder and transformer; give --frame-size with multiples of "
            f"{multiple}"
        )


@dataclass(frozen=True)
class CaptionLimits:
    """How much of the captions is learned: their most frequent words, and so many words of each.

    from_folders: whether a video without a caption has the name of its folder for one.
    """

    max_words: int
    caption_words: int
    from_folders: bool = False


class ClipData(NamedTuple):
    """What an autoencoder learns from.

    held_out: clips that it does not learn from, None where there are none. typical: those that latents are standardised by.
    """

    clips: Clips
    held_out: Callable[[], Tensor | None]
    typical: Callable[[], Tensor]


class HeldOut(NamedTuple):
    """Videos that are never trained on; the longest has `longest` latent frames."""

    examples: SequenceSampler
    longest: int

    def batch(self, num_videos: int, num_segments: int, segment_frames: int, context_frames: int) -> Batch | None:
        """Always the same windows, of as many segments as the videos have; None where they have not even one."""
        count = min(num_segments, (self.longest - context_frames) // segment_frames)
        return self.examples(0, num_videos, count * segment_frames, context_frames, 0.0, 0) if count > 0 else None


class TrainingData(NamedTuple):
    """What a transformer learns from, and the words of its captions.

    longest: latent frames of the longest video; None where every video is as long as any unroll asks for.
    """

    examples: SequenceSampler
    held_out: Callable[[], HeldOut | None]
    words: tuple[str, ...]
    longest: int | None = None


@runtime_checkable
class DataSource(Protocol):
    """Where a run learns from."""

    @property
    def has_clips(self) -> bool:
        """Whether there are pictures, which an autoencoder can be learned from."""
        ...

    def clips(self, device: str) -> ClipData:
        """Short videos to learn an autoencoder from."""
        ...

    def describe(self, autoencoder: nn.Module) -> None:
        """Note in the autoencoder's settings of what size and rate the videos are, for those who decode later.

        Raises:
            UsageError: it does not fit what there is to learn from.
        """
        ...

    def training_data(self, autoencoder: nn.Module) -> TrainingData:
        """Encoded videos to learn a transformer from."""
        ...
