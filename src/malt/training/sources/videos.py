"""A folder of videos, or of shards that were made of videos, as what a run learns from."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from einops import rearrange
from torch import Tensor, nn

from malt.codecs.registry import codec_of
from malt.data.batch import Batch
from malt.data.clips import VideoClips
from malt.data.codec_fingerprint import identify
from malt.data.decoded_frames import Video, decode_videos
from malt.data.encoding import EncodingConfig, encode_videos
from malt.data.shard_dataset import ShardDataset
from malt.data.shard_writer import check_encoding, finished_videos, shard_writer
from malt.data.video_folder import captioned_by_folder, changed_captions, find_videos, shared_actions
from malt.errors import UsageError
from malt.models.autoencoder import AutoencoderMalt
from malt.models.text import build_tokenizer
from malt.training.objectives.denoising import SequenceSampler
from malt.training.sources.data_source import (
    CaptionLimits,
    ClipData,
    HeldOut,
    Log,
    TrainingData,
    VideoFormat,
    check_frame_size,
)
from malt.training.sources.fit_curriculum import check_length
from malt.wording import counted

HELD_OUT_EVERY = 10  # of the videos, in the order of their names, every so many-th is never trained on


class VideoData:
    """A folder of videos: clips of them for the autoencoder, and shards of them for the transformer."""

    has_clips = True

    def __init__(
        self,
        folder: Path,
        out: Path,
        *,
        video_format: VideoFormat,
        clip_frames: int,
        num_needed: int,
        patch_size: int,
        captions: CaptionLimits,
        seed: int,
        log: Log,
    ) -> None:
        self.out, self.format, self.clip_frames, self.num_needed = out, video_format, clip_frames, num_needed
        self.patch_size, self.captions, self.seed, self.log = patch_size, captions, seed, log
        self.videos = find_videos(folder, log=log)
        if captions.from_folders:
            self.videos = [captioned_by_folder(video) for video in self.videos]
        if video_format.actions:
            _check_actions(video_format.actions, shared_actions(self.videos), folder)

    def clips(self, device: str) -> ClipData:
        """Clips of all videos but the held-out ones; of a single video, its end is held out."""
        size, rate = self.format.size, self.format.rate
        videos = decode_videos(self.videos, size, fps=rate, folder=self.out / "frames", log=self.log)
        names = held_out_names(list(videos))
        if not names:
            whole = self._clips(videos.values(), device)
            self._check_lengths(whole)
            learned, held_out = whole.split(HELD_OUT_EVERY)
            return ClipData(learned, lambda: held_out.spread(32), lambda: learned.spread(64))
        learned = self._clips([video for name, video in videos.items() if name not in names], device)
        self._check_lengths(learned)
        kept = [video for name, video in videos.items() if name in names]
        return ClipData(learned, lambda: self._spread(kept, device), lambda: learned.spread(64))

    def _check_lengths(self, learned: VideoClips) -> None:
        """Refuse videos that are all too short for the transformer before an autoencoder is trained on them."""
        check_length(max(map(len, learned.videos)) // AutoencoderMalt.time_compression, self.num_needed)

    def _spread(self, held_out: Sequence[Video], device: str) -> Tensor | None:
        try:
            return self._clips(held_out, device).spread(32)
        except UsageError as error:
            self.log(f"nothing is measured on held-out videos: {error}")
            return None

    def _clips(self, videos: Iterable[Video], device: str) -> VideoClips:
        clips = VideoClips([*videos], self.clip_frames, seed=self.seed, device=device)
        if clips.left_out:
            self.log(f"left out {counted(clips.left_out, 'video')} of fewer than {self.clip_frames} frames")
        return clips

    def describe(self, autoencoder: nn.Module) -> None:
        """The size and the rate that the videos are brought to.

        Raises:
            UsageError: frames of this size do not fit the autoencoder.
        """
        check_frame_size(codec_of(autoencoder), self.patch_size, self.format.size)
        _describe(autoencoder, self.format.size, self.format.rate)

    def training_data(self, autoencoder: nn.Module) -> TrainingData:
        """The videos as shards, written once as `malt encode` writes them; what is there already is gone on with."""
        folder, codec = self.out / "shards", codec_of(autoencoder)
        encoding = EncodingConfig(
            codec=identify(autoencoder),
            size=self.format.size,
            fps=self.format.rate,
            action_names=self.format.actions,
        )
        with shard_writer(folder, 0) as writer:
            check_encoding(folder, encoding.told())
            done = finished_videos(folder)
            videos = [video for video in self.videos if video.name not in done]
            if videos:
                self.log(f"encoding {counted(len(videos), 'video')} into {folder}")
            device = next(autoencoder.parameters()).device
            for progress in encode_videos(videos, codec, encoding, writer, device=device):
                if progress.broken:
                    self.log(f"skipped: {progress.broken}")
            writer.close()
        if not finished_videos(folder):
            raise UsageError(f"none of {counted(len(self.videos), 'video')} can be used; give others")
        dataset = ShardDataset.open(folder, encoding.codec, seed=self.seed, log=self.log)
        if changed := changed_captions(self.videos, {video.name: video.caption for video in dataset.videos}):
            self.log(
                f"the captions of {counted(len(changed), 'video')} have changed since they were encoded "
                f"(such as of {changed[0]}); the run goes on with the old ones, begin another to learn from the new ones"
            )
        return _training_data(dataset, self.format.actions, self.patch_size, self.captions, self.log)


class ShardData:
    """A folder of shards, made by `malt encode`."""

    has_clips = False

    def __init__(
        self,
        folder: Path,
        *,
        video_format: VideoFormat,
        patch_size: int,
        captions: CaptionLimits,
        seed: int,
        log: Log,
    ) -> None:
        self.folder, self.format, self.patch_size = folder, video_format, patch_size
        self.captions, self.log = captions, log
        self.dataset = ShardDataset.open(folder, seed=seed, log=log)
        if video_format.actions:
            _check_actions(video_format.actions, self.dataset.action_names, folder)

    def clips(self, device: str) -> ClipData:
        """There are none: shards hold no pictures."""
        raise UsageError(f"{self.folder} holds shards, which no autoencoder can be trained on; give --data with videos")

    def describe(self, autoencoder: nn.Module) -> None:
        """The size and the rate that the videos had when they were encoded.

        Raises:
            UsageError: it is not this autoencoder that encoded them.
        """
        identity = identify(autoencoder)
        if self.dataset.codec != identity:
            raise UsageError(
                f"the shards in {self.folder} were encoded by {self.dataset.codec}, and this autoencoder is {identity}; name "
                "the one that made them with --codec"
            )
        height, width = (side * codec_of(autoencoder).space_compression for side in self.dataset.latent_size[1:])
        own = dict(autoencoder.config).get("frame_rate")  # type: ignore[arg-type]
        _describe(autoencoder, (height, width), self.dataset.frame_rate or own or self.format.rate)

    def training_data(self, autoencoder: nn.Module) -> TrainingData:
        """The shards as they are."""
        captions = self.dataset.captions
        self.log(f"videos with captions: {sum(map(bool, captions))} of {len(captions)}")
        return _training_data(self.dataset, self.format.actions, self.patch_size, self.captions, self.log)


def held_out_names(names: Sequence[str]) -> set[str]:
    """Those of the videos that are never trained on; none where there is only one video.

    To be asked with videos that could be read: one that could not is of no use where it is held out.
    """
    every = min(HELD_OUT_EVERY, len(names))
    return set(sorted(names)[every - 1 :: every]) if every > 1 else set()


def _check_actions(asked: tuple[str, ...], found: tuple[str, ...], folder: Path) -> None:
    if set(found) != set(asked):
        raise UsageError(
            f"the videos in {folder} have the actions {', '.join(found) or 'none'} and {', '.join(asked)} are "
            "asked for; name theirs with --actions"
        )


def _describe(autoencoder: nn.Module, size: tuple[int, int], rate: float) -> None:
    autoencoder.register_to_config(frame_size=tuple(size), frame_rate=float(rate))  # type: ignore[operator]


def _training_data(
    dataset: ShardDataset, actions: tuple[str, ...], patch_size: int, limits: CaptionLimits, log: Log
) -> TrainingData:
    """The videos of a dataset that are learned from, those that are held out, and the words of their captions."""
    if any(side % patch_size for side in dataset.latent_size[1:]):
        raise UsageError(
            f"latents of {dataset.latent_size[2]}x{dataset.latent_size[1]} cannot be cut into patches of "
            f"{patch_size}; encode the videos in another size"
        )
    held_out = held_out_names([video.name for video in dataset.videos])
    parts = [[video for video in dataset.videos if (video.name in held_out) == kept] for kept in (False, True)]
    if not parts[0]:
        raise UsageError("none of the videos that are to be learned from can be used; give more videos")
    learned, kept = (
        ShardDataset(part, dataset.codec, dataset.action_names, seed=dataset.seed, log=log) for part in parts
    )
    if not kept.videos:
        log("no video is held out, so there is no validation and there are no samples; give more videos")
    _log_captions(dataset.captions, limits.caption_words, log)
    words = frequent_words(learned.captions, limits.max_words, log)
    return TrainingData(
        _acting(learned, actions),
        lambda: HeldOut(_acting(kept, actions), max(kept.lengths)) if kept.videos else None,
        words,
        longest=max(learned.lengths),
    )


def _acting(dataset: ShardDataset, actions: tuple[str, ...]) -> SequenceSampler:
    """The examples with these actions in their order, or without any where there are none."""
    order = [dataset.action_names.index(name) for name in actions]

    def draw(
        step: int, num_videos: int, num_frames: int, context_frames: int, start_share: float, far_frames: int = 0
    ) -> Batch:
        batch = dataset(step, num_videos, num_frames, context_frames, start_share, far_frames)
        if batch.actions is None or not order:
            return batch._replace(actions=None)
        by_frame = rearrange(batch.actions, "b s (t a) -> b s t a", a=len(dataset.action_names))
        return batch._replace(actions=rearrange(by_frame[..., order], "b s t a -> b s (t a)"))

    return draw


def _log_captions(captions: Sequence[str], most_words: int, log: Log) -> None:
    """Say how many captions are longer than what is learned of them."""
    lengths = [len(words) for words in cut_words(captions) if words]
    if cut := sum(length > most_words for length in lengths):
        log(
            f"captions of more than {most_words} words are cut there ({cut} of them); --caption-tokens {max(lengths) + 1} "
            "learns them whole"
        )


def cut_words(captions: Iterable[str]) -> Iterator[list[str]]:
    """The words of each caption, as the tokenizer cuts them."""
    cut = build_tokenizer(()).backend_tokenizer
    for caption in captions:
        yield [word for word, _ in cut.pre_tokenizer.pre_tokenize_str(cut.normalizer.normalize_str(caption))]


def frequent_words(captions: Sequence[str], most: int, log: Log = print) -> tuple[str, ...]:
    """The different words of the captions, sorted; the `most` frequent ones where there are more, which is told."""
    counts = Counter(word for words in cut_words(captions) for word in words)
    if len(counts) > most:
        log(
            f"the captions have {len(counts)} different words, of which the {most} most frequent are learned (--max-words)"
        )
    return tuple(sorted(sorted(counts, key=lambda word: (-counts[word], word))[:most]))
