"""`malt encode`: a folder of videos becomes shards of latents that a transformer learns from."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from malt.commands.checks import check_above_zero, check_count, check_one_of
from malt.commands.encode_captions import encode_captions, fetch_base
from malt.commands.model_options import choose_device, silence_libraries
from malt.commands.option import Positional
from malt.commands.process_share import from_environment
from malt.commands.progress import frame_progress
from malt.commands.signals import interruptible
from malt.errors import MaltError, UsageError
from malt.threads import use_threads
from malt.wording import counted

if TYPE_CHECKING:
    from torch import nn

    from malt.codecs.base import Codec
    from malt.data.encoding import EncodingConfig
    from malt.data.shard_writer import ShardWriter
    from malt.data.video_folder import VideoFile

MAX_RATE = 1000  # frames a second; time-lapses may be as slow as they like
PIXELS_AT_ONCE = 2**22  # of all frames that are encoded together
MOST_LOOKED_AT = 10_000  # videos that are opened beforehand, so that the bar knows its end
SHOWN = 5  # broken videos that the last sentence names


@dataclass(frozen=True, kw_only=True)
class EncodeCommand:
    """Encode a folder of videos into shards of latents; after a stop, the same command goes on."""

    videos: Annotated[Path, Positional("VIDEOS")]
    """Folder of videos (mp4, webm, avi, mov, mkv, gif, folders of png or jpg), however deep; or one video."""
    out: Path
    """Folder of the shards; one that an earlier run wrote with the same settings is gone on with."""
    codec: Path | None = None
    """Folder of an autoencoder or of a model with one: ours, or one of diffusers that there is a codec for; that of the
    default model if not given."""
    base: str | None = None
    """A pretrained pipeline of diffusers, its folder or its identifier on the Hugging Face hub: latents by its autoencoder,
    and captions by its text encoders, each stored once; what `malt adapt` learns from."""
    height: int | None = None
    """Height of the frames in pixels; the size that the autoencoder learned from if not given."""
    width: int | None = None
    """Width of the frames in pixels, likewise; videos are resized to cover this size and cropped to their middle."""
    fps: float | None = None
    """Frames a second; those that the autoencoder learned from if not given, else every video's own."""
    captions: Path | None = None
    """CSV or JSON lines with columns file and caption; without it, captions.csv or captions.jsonl or metadata.csv in the
    folder, or NAME.txt beside a video, or no captions."""
    ignore_actions: bool = False
    """Leave out NAME.actions.csv beside a video (a header, a row a frame)."""
    batch: int | None = None
    """Frames that are encoded at once; by their size if not given. More are faster, up to a point, and need more memory."""
    stretch: int = 256
    """Latent frames in a sample: a longer video becomes several, which training puts together again."""
    shard_megabytes: int = 256
    """How large a shard grows before the next is begun."""
    rank: int = field(default_factory=lambda: from_environment("RANK", 0))
    """Which share of the videos is this process's, counted from 0; from RANK in the environment, as torchrun sets it."""
    world_size: int = field(default_factory=lambda: from_environment("WORLD_SIZE", 1))
    """How many processes share the videos; from WORLD_SIZE in the environment."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What to compute in: bfloat16 where the device has units for it, else float32, unless one is named."""
    threads: int | None = None
    """How many processor threads to use for the network; videos are decoded in another."""

    def run(self) -> None:
        """Check, then encode; broken videos are named at the end.

        Raises:
            UsageError: what was asked for cannot be done; nothing was begun.
            MaltError: some videos are broken; all others are encoded.
        """
        from malt.data.video_folder import find_videos

        with interruptible():
            self._check_numbers()
            check_one_of(base=self.base, codec=self.codec)
            videos = find_videos(self.videos, self.captions)
            broken = self._encode(videos)
        if broken:
            raise MaltError(f"skipped {len(broken)} broken videos, all others are encoded: {_listed(broken)}")

    def _check_numbers(self) -> None:
        for option in ("height", "width", "batch", "stretch", "shard_megabytes", "world_size", "threads"):
            check_count(f"--{option.replace('_', '-')}", getattr(self, option))
        check_above_zero("--fps", self.fps)
        if self.fps is not None and self.fps > MAX_RATE:
            raise UsageError(f"asked for {self.fps} as --fps; give at most {MAX_RATE} frames a second")
        if not 0 <= self.rank < self.world_size:
            raise UsageError(
                f"there is no rank {self.rank} among {self.world_size}; give one from 0 to {self.world_size - 1}"
            )
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is a file; name a folder for the shards")

    def _encode(self, videos: "list[VideoFile]") -> list[str]:
        """Encode this rank's share; returns what is wrong with the videos that were skipped."""
        from malt.codecs.registry import codec_of
        from malt.data.shard_writer import adopt, check_encoding, finished_videos, shard_writer
        from malt.data.shards import captions_in
        from malt.data.video_folder import changed_captions
        from malt.pipelines.autoencoder_loading import load_autoencoder

        device = choose_device(self.device)
        silence_libraries()
        use_threads(self.threads)
        folder = self.codec if self.base is None else fetch_base(self.base)
        size, fps = self._frames(folder)
        share = videos[self.rank :: self.world_size]
        text = None if folder is None or self.base is None else self._encode_captions(folder, share, size, fps, device)
        autoencoder = load_autoencoder(folder).to(device)
        codec = codec_of(autoencoder)
        encoding = self._encoding(autoencoder, size, fps, videos, text)
        with shard_writer(self.out, self.rank, self.shard_megabytes * 1024**2) as writer:
            check_encoding(self.out, encoding.told())
            if self.rank == 0:
                adopt(self.out, self.world_size)
            done = finished_videos(self.out)
            share = [video for video in videos[self.rank :: self.world_size] if video.name not in done]
            if done and self.rank == 0:
                _tell_changed(changed_captions(videos, captions_in(self.out)))
            broken = self._write(share, codec, encoding, writer, device)
            writer.close()
        if len(broken) == len(videos):
            raise UsageError(f"none of {counted(len(videos), 'video')} can be used: {_listed(broken)}")
        others = (
            f"; {len(videos) - len(share)} more were done or are another rank's" if len(share) < len(videos) else ""
        )
        print(f"malt: encoded {counted(len(share) - len(broken), 'video')} into {self.out}{others}")
        return broken

    def _frames(self, folder: Path | None) -> tuple[tuple[int, int], float | None]:
        """Height and width of the frames, and frames a second where they are not each video's own."""
        from malt.codecs.registry import codec_of
        from malt.pipelines.autoencoder_loading import autoencoder_without_weights
        from malt.pipelines.caption_encoding import base_parts
        from malt.pipelines.packaged import default_checkpoint

        autoencoder = autoencoder_without_weights(folder or default_checkpoint())
        config = dict(autoencoder.config)  # type: ignore[arg-type]
        own, rate = config.get("frame_size") or (None, None), config.get("frame_rate")
        if folder is not None and self.base is not None:
            parts = base_parts(folder)
            own, rate = parts.frame_size, parts.frame_rate
        height, width = self.height or own[0], self.width or own[1]
        if height is None or width is None:
            raise UsageError("this autoencoder does not say what size of frames it is for; give --height and --width")
        multiple = codec_of(autoencoder).space_compression
        if height % multiple or width % multiple:
            raise UsageError(
                f"{width}x{height} does not fit this autoencoder; give sides that are multiples of {multiple}"
            )
        return (height, width), self.fps or rate

    def _encode_captions(
        self, folder: Path, videos: "list[VideoFile]", size: tuple[int, int], fps: float | None, device: str
    ) -> str:
        """Store the captions of these videos as the base's text encoders give them; returns what tells these from others."""
        from malt.data.shard_writer import compare_encoding
        from malt.data.text_fingerprint import identify_text
        from malt.hub.base_names import public_name
        from malt.precision import choose_precision

        text = identify_text(folder, None if self.base is None else public_name(self.base))
        compare_encoding(self.out, {"text_encoder": text.digest, "size": [*size], "fps": fps})
        encode_captions(
            folder,
            (video.caption for video in videos),
            self.out,
            text,
            choose_precision(self.precision, device),
            device,
        )
        return text.digest

    def _encoding(
        self,
        autoencoder: "nn.Module",
        size: tuple[int, int],
        fps: float | None,
        videos: "list[VideoFile]",
        text: str | None,
    ) -> "EncodingConfig":
        from malt.data.codec_fingerprint import identify
        from malt.data.encoding import EncodingConfig
        from malt.data.video_folder import shared_actions

        actions = () if self.ignore_actions else shared_actions(videos)
        return EncodingConfig(codec=identify(autoencoder), size=size, fps=fps, action_names=actions, text_encoder=text)

    def _write(
        self, videos: "list[VideoFile]", codec: "Codec", encoding: "EncodingConfig", writer: "ShardWriter", device: str
    ) -> list[str]:
        from malt.data.encoding import encode_videos
        from malt.precision import choose_precision, describe_precision

        dtype = choose_precision(self.precision, device)
        print(f"malt: encoding videos in {describe_precision(dtype, device)}")
        pixels = encoding.size[0] * encoding.size[1]
        batch = self.batch or min(64, PIXELS_AT_ONCE // pixels)
        piece = max(1, batch // codec.time_compression)
        broken = []
        with frame_progress() as bar:
            task = bar.add_task("encoding", total=_count_frames(videos, encoding.fps))
            encoded = encode_videos(
                videos,
                codec,
                encoding,
                writer,
                device=device,
                piece=piece,
                stretch=self.stretch,
                precision=self.precision,
            )
            for progress in encoded:
                bar.update(task, advance=progress.num_frames, description=progress.video.name)
                if progress.broken:
                    bar.console.print(f"skipped: {progress.broken}", markup=False, highlight=False, soft_wrap=True)
                    broken.append(progress.broken)
        return broken


def _count_frames(videos: "list[VideoFile]", fps: float | None) -> int | None:
    """About how many frames there are to encode; None where too many videos would have to be asked."""
    from malt.media.video_reader import look_at
    from malt.media.video_track import BrokenVideoError

    if len(videos) > MOST_LOOKED_AT:
        return None
    total = 0.0
    for video in videos:
        with suppress(BrokenVideoError):
            facts = look_at(video.path)
            total += (facts.num_frames or 0) * (fps / facts.rate if fps and facts.rate else 1)
    return round(total) or None


def _tell_changed(videos: list[str]) -> None:
    if videos:
        print(
            f"malt: the captions of {counted(len(videos), 'video')} have changed since they were encoded "
            f"(such as of {videos[0]}); the shards keep the old ones, encode into another folder to take the new ones"
        )


def _listed(broken: list[str]) -> str:
    return "; ".join(broken[:SHOWN]) + ("; ..." if len(broken) > SHOWN else "")
