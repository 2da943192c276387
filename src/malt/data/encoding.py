"""Encodes videos into shards as a stream: frames are decoded ahead in a thread, latents are written stretch by stretch."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from malt.codecs.base import Codec, most_latents
from malt.data.codec_fingerprint import CodecIdentity
from malt.data.shard_writer import ShardWriter
from malt.data.video_folder import VideoFile
from malt.errors import UsageError
from malt.media.actions_csv import Actions, read_actions
from malt.media.prefetch import prefetch
from malt.media.video_reader import Frames, look_at, read_video
from malt.media.video_track import BrokenVideoError
from malt.out_of_memory import ENCODING, enough_memory_for
from malt.precision import choose_precision


@dataclass(frozen=True, kw_only=True)
class EncodingConfig:
    """What decides the latents of a video: all shards in a folder are of one encoding."""

    codec: CodecIdentity
    size: tuple[int, int]  # height and width of the frames
    fps: float | None = None  # frames a second; None for each video's own
    action_names: tuple[str, ...] = ()  # empty: nobody acts, or it is not to be known
    text_encoder: str | None = None  # digest of what encoded the captions; None where they are kept as words alone

    def told(self) -> dict[str, Any]:
        """As it stands in JSON."""
        codec = {"name": self.codec.name, "digest": self.codec.digest}
        told = {"codec": codec, "size": [*self.size], "fps": self.fps, "actions": [*self.action_names]}
        return told | ({"text_encoder": self.text_encoder} if self.text_encoder else {})


class EncodingProgress(NamedTuple):
    """What has just happened to a video: frames of it were encoded, or it is over; `broken` says why it cannot be used."""

    video: VideoFile
    num_frames: int = 0
    over: bool = False
    broken: str | None = None


class _Piece(NamedTuple):
    """Decoded frames of a video, or what is wrong with it."""

    video: VideoFile
    frames: Frames | None
    error: BrokenVideoError | None = None


def encode_videos(
    videos: Sequence[VideoFile],
    codec: Codec,
    encoding: EncodingConfig,
    writer: ShardWriter,
    *,
    device: torch.device | str = "cpu",
    piece: int = 16,
    stretch: int = 256,
    precision: str = "auto",
) -> Iterator[EncodingProgress]:
    """Encode the videos one after the other, `piece` latent frames at a time, a sample for every `stretch` of them.

    The encoder's cache is carried from piece to piece, so memory does not grow with a video and no seam is seen. Frames at
    the end that do not fill a latent frame are left out. A broken video is dropped and told of; the others go on.
    `precision` is that of the encoder: float32, bfloat16, or the one that is fast on the device.
    """
    videos = sorted(videos, key=lambda video: video.name != writer.ledger.video)  # the unfinished one goes on first
    decoded = _decode(videos, encoding, codec.frames_of(piece, first=False))
    with closing(prefetch(decoded, depth=3)) as pieces:  # type: ignore[type-var]
        for _, of_video in groupby(pieces, key=lambda piece: piece.video.name):
            first = next(of_video)
            encoder = _VideoEncoder(
                first.video, codec, encoding, writer, torch.device(device), piece, stretch, precision
            )
            try:
                for num_frames in encoder.encode(_frames(chain([first], of_video))):
                    yield EncodingProgress(first.video, num_frames)
                writer.finish(first.video.name)
                yield EncodingProgress(first.video, over=True)
            except BrokenVideoError as error:
                writer.drop(first.video.name, str(error))
                yield EncodingProgress(first.video, over=True, broken=str(error))


def _decode(videos: Sequence[VideoFile], encoding: EncodingConfig, batch: int) -> Iterator[_Piece]:
    """The frames of all videos; what is wrong with one is handed on, so that the next can follow."""
    for video in videos:
        try:
            for frames in read_video(video.path, encoding.size, fps=encoding.fps, batch=batch):
                yield _Piece(video, frames)
        except BrokenVideoError as error:
            yield _Piece(video, None, error)


def _frames(pieces: Iterable[_Piece]) -> Iterator[Frames]:
    for piece in pieces:
        if piece.frames is None:
            raise piece.error or BrokenVideoError(f"{piece.video.path} holds no frames")
        yield piece.frames


class _VideoEncoder:
    """One video on its way into the shards, from its beginning or from where a run before stopped."""

    def __init__(
        self,
        video: VideoFile,
        codec: Codec,
        encoding: EncodingConfig,
        writer: ShardWriter,
        device: torch.device,
        piece: int,
        stretch: int,
        precision: str,
    ) -> None:
        self.video, self.codec, self.encoding, self.writer, self.device = video, codec, encoding, writer, device
        group = codec.latent_group
        self.head = int(group > 1)
        self.piece, self.stretch = max(piece, group), stretch + -stretch % group
        self.dtype = choose_precision(precision, device)
        self.rate: float | None = encoding.fps
        self.actions: Actions | None = None
        self.latents: list[Tensor] = []  # of the stretch in hand, and what was done in it
        self.acts: list[Tensor] = []

    def encode(self, frames: Iterator[Frames]) -> Iterator[int]:
        """Encode to the end; yields how many frames more are encoded."""
        done, cache = self.writer.begun(self.video.name)
        self._read_facts()
        for chunk in self._chunks(self._matched(frames), done):
            end = self._end(done)
            latents, cache = self._encode(chunk.pixels, cache)
            self.latents.append(latents)
            self.acts.append(self._acts(chunk.sources, len(latents)))
            done += len(latents)
            if done == end:
                self._write(done, cache, last=False)
            yield len(chunk.sources)
        if not done:
            raise BrokenVideoError(f"{self.video.path} is too short: its frames do not fill one latent frame")
        if self.latents:
            self._write(done, cache, last=True)

    def _read_facts(self) -> None:
        if self.rate is None:
            self.rate = look_at(self.video.path).rate
        if self.encoding.action_names:
            try:
                self.actions = read_actions(self.video.actions) if self.video.actions else None
            except UsageError as error:
                raise BrokenVideoError(str(error)) from error

    def _matched(self, frames: Iterator[Frames]) -> Iterator[Frames]:
        """The frames, while every one of them has its row of actions."""
        last, step = -1, 1
        for batch in frames:
            sources = batch.sources
            step = max(step, int(np.diff(sources, prepend=last).max()))
            last = int(sources[-1])
            if self.actions is not None and last >= len(self.actions.values):
                raise self._unmatched("more frames than")
            yield batch
        if self.actions is not None and len(self.actions.values) > last + step:
            raise self._unmatched("fewer frames than")

    def _unmatched(self, how: str) -> BrokenVideoError:
        rows = len(self.actions.values) if self.actions else 0
        return BrokenVideoError(
            f"{self.video.path} has {how} the {rows} rows of {self.video.actions}; give one a frame"
        )

    def _chunks(self, frames: Iterator[Frames], done: int) -> Iterator[Frames]:
        """Frames that fill up to `piece` latent frames, no chunk across the border of a stretch."""
        skipped, rest = self.codec.frames_of(done, first=True), None
        for batch in frames:
            if skipped:
                batch, skipped = _from(batch, skipped), max(0, skipped - len(batch.sources))
            rest = batch if rest is None else _join(rest, batch)
            while len(rest.sources) >= (need := self._need(done)):
                yield Frames(rest.pixels[:need], rest.sources[:need])
                rest, done = _from(rest, need), done + self._room(done)
        left = 0 if rest is None else len(rest.sources)
        if rest is not None and (fit := self.codec.frames_of(most_latents(self.codec, left, not done), not done)):
            yield Frames(rest.pixels[:fit], rest.sources[:fit])

    def _room(self, done: int) -> int:
        """Latent frames of the next chunk, none of them beyond the end of the stretch."""
        room = min(self.piece, self._end(done) - done)
        return room - (room - (0 if done else self.head)) % self.codec.latent_group

    def _end(self, done: int) -> int:
        """Latent frames when the stretch in hand is full; the first has one more where they come in groups."""
        return self.head + self.stretch * max(1, 1 + (done - self.head) // self.stretch)

    def _need(self, done: int) -> int:
        return self.codec.frames_of(self._room(done), first=not done)

    def _encode(self, pixels: np.ndarray, cache: Any) -> tuple[Tensor, Any]:
        frames = torch.from_numpy(pixels).to(self.device).float().div_(127.5).sub_(1)
        autocast = torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
        with enough_memory_for(ENCODING), autocast:
            latents, cache = self.codec.encode(rearrange(frames, "t h w c -> 1 t c h w"), cache)
        return latents[0].half().cpu(), cache

    def _acts(self, sources: np.ndarray, num_latents: int) -> Tensor:
        """What was done in each latent frame, frame after frame; where the first has fewer frames, its first counts for them."""
        if self.actions is None:
            return torch.zeros(num_latents, 0)
        group = self.codec.time_compression
        filled = np.pad(sources, (num_latents * group - len(sources), 0), mode="edge")
        order = [self.actions.names.index(name) for name in self.encoding.action_names]
        acts = torch.from_numpy(self.actions.values[filled][:, order])
        return rearrange(acts, "(s t) a -> s (t a)", t=group)

    def _write(self, done: int, cache: Any, last: bool) -> None:
        latents, acts = torch.cat(self.latents), torch.cat(self.acts)
        if not latents.isfinite().all():
            raise BrokenVideoError(f"the latents of {self.video.path} are not numbers in half precision")
        info = {
            "film": self.video.name,
            "caption": self.video.caption,
            "first_latent": done - len(latents),
            "frame_rate": self.rate,
            **self.encoding.told(),
        }
        tensors = {"latents": latents} | ({"actions": acts} if self.actions else {})
        self.writer.add(self.video.name, tensors, info, cache, last=last)
        self.latents, self.acts = [], []


def _from(frames: Frames, index: int) -> Frames:
    return Frames(frames.pixels[index:], frames.sources[index:])


def _join(first: Frames, second: Frames) -> Frames:
    if not len(first.sources):
        return second
    return Frames(np.concatenate([first.pixels, second.pixels]), np.concatenate([first.sources, second.sources]))
