"""Encoded videos to learn from, read from shards and drawn from by step number: the same step always draws the same."""

import json
import random
import tarfile
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from malt.data.batch import Batch, far_start
from malt.data.codec_fingerprint import CodecIdentity
from malt.data.shards import Sample, read_shard
from malt.errors import UsageError
from malt.media.files import file_sha256


@dataclass(frozen=True)
class EncodedVideo:
    """One video in latents, from its true beginning to its end; its stretches stay in the files they are mapped from."""

    name: str
    caption: str
    frame_rate: float | None
    stretches: tuple[Float[Tensor, "_ c h w"], ...]
    actions: tuple[Float[Tensor, "_ a"], ...] | None = None

    def __len__(self) -> int:
        return sum(map(len, self.stretches))


class ShardDataset:
    """The `Examples` of a folder of shards. Latents are mapped from the files: they need not fit in memory."""

    def __init__(
        self,
        videos: Sequence[EncodedVideo],
        codec: CodecIdentity,
        action_names: tuple[str, ...] = (),
        *,
        seed: int = 0,
        log: Callable[[str], None] = print,
    ) -> None:
        self.videos, self.codec, self.action_names, self.seed, self.log = list(videos), codec, action_names, seed, log
        self.lengths = [len(video) for video in self.videos]
        self._told: set[int] = set()

    @property
    def latent_size(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent frame."""
        channels, height, width = self.videos[0].stretches[0].shape[1:]
        return channels, height, width

    @property
    def action_size(self) -> int:
        """How many numbers say what is done in a latent frame; 0 where nobody acts."""
        return 0 if self.videos[0].actions is None else self.videos[0].actions[0].shape[1]

    @property
    def frame_rate(self) -> float | None:
        """Frames a second of the videos; None where they differ."""
        rates = {video.frame_rate for video in self.videos}
        return rates.pop() if len(rates) == 1 else None

    @property
    def captions(self) -> list[str]:
        """The caption of every video, "" for none."""
        return [video.caption for video in self.videos]

    @classmethod
    def open(
        cls,
        folders: Path | Sequence[Path],
        codec: CodecIdentity | None = None,
        *,
        seed: int = 0,
        skip_damaged: bool = False,
        log: Callable[[str], None] = print,
    ) -> "ShardDataset":
        """Read the shards of one folder or several; of every video, only what is whole.

        Args:
            folders: where `malt encode` wrote to.
            codec: the codec that the model is for; shards of another are refused.
            seed: what chance starts from.
            skip_damaged: leave out the videos of a damaged shard, and tell of it, where it would be refused.
            tell: told what is left out.

        Raises:
            UsageError: there are no shards, they are of another codec, of several sizes or actions, or damaged.
        """
        paths = [folders] if isinstance(folders, Path) else list(folders)
        samples = [sample for path in paths for sample in _read_folder(path, skip_damaged, log)]
        if not samples:
            raise UsageError(f"{', '.join(map(str, paths))} holds no encoded videos; make some with malt encode")
        made_by, action_names = _agreed([sample[0].info for sample in samples], codec)
        videos: dict[tuple[Path, str], list[Sample]] = {}
        for sample, folder in samples:
            videos.setdefault((folder, sample.info["film"]), []).append(sample)
        return cls([_video(stretches) for stretches in videos.values()], made_by, action_names, seed=seed, log=log)

    def __call__(
        self, step: int, num_videos: int, num_frames: int, context_frames: int, start_share: float, far_frames: int = 0
    ) -> Batch:
        """Windows of `context_frames + num_frames` latent frames, every place in the videos equally likely.

        A share `start_share` of the windows begins where a video truly does; what stands for the context of these, and of
        its actions, is zero. Of the others the context and `far_frames` behind it are from any time before the rest. Videos
        that are shorter than a window are left out, which is told once.

        Raises:
            UsageError: when a window is longer than every video.
        """
        length, draw = context_frames + num_frames, random.Random(self.seed * 7_919 + step)
        self._check(length)
        starters = [index for index, own in enumerate(self.lengths) if own >= num_frames]
        ends = list(accumulate(max(0, own - length + 1) for own in self.lengths))
        windows, actions, captions, begins = [], [], [], []
        for _ in range(num_videos):
            begins.append(draw.random() < start_share)
            if begins[-1]:
                index, first, missing = draw.choice(starters), 0, context_frames
            else:
                place = draw.randrange(ends[-1])
                index = bisect_right(ends, place)
                first, missing = place - (ends[index - 1] if index else 0), 0
            video, count = self.videos[index], length - missing
            far = far_start(draw, first) if far_frames and not missing else first
            near, jump = first + context_frames + far_frames, context_frames + far_frames
            cuts = [(far, jump), (near, count - jump)] if far < first else [(first, count)]
            windows.append(_behind(missing, _slices(video.stretches, cuts)))
            captions.append(video.caption)
            if video.actions is not None:
                actions.append(_behind(missing, _slices(video.actions, cuts)))
        acts = torch.stack(actions) if actions else None
        return Batch(torch.stack(windows), captions, torch.tensor(begins), acts)

    def split(self, every: int = 10) -> tuple["ShardDataset", "ShardDataset"]:
        """Videos to learn from, and held-out ones: every `every`-th in the order of their names.

        Raises:
            UsageError: there is only one video.
        """
        if len(self.videos) < 2:
            raise UsageError(
                "there is one video, so none can be held out; encode more, or a second folder to validate on"
            )
        videos, every = sorted(self.videos, key=lambda video: video.name), max(2, min(every, len(self.videos)))
        held_out = videos[every - 1 :: every]
        learned = [video for index, video in enumerate(videos) if index % every != every - 1]
        return self._of(learned), self._of(held_out)

    def _of(self, videos: list[EncodedVideo]) -> "ShardDataset":
        return ShardDataset(videos, self.codec, self.action_names, seed=self.seed, log=self.log)

    def _check(self, length: int) -> None:
        short = sum(own < length for own in self.lengths)
        if short == len(self.videos):
            raise UsageError(
                f"the longest video has {max(self.lengths)} latent frames and {length} are needed; encode longer videos or "
                "learn from fewer segments"
            )
        if short and length not in self._told:
            self._told.add(length)
            self.log(
                f"{short} of {len(self.videos)} videos are shorter than a window of {length} latent frames: left out"
            )


def _read_folder(folder: Path, skip_damaged: bool, log: Callable[[str], None]) -> list[tuple[Sample, Path]]:
    """The samples of the videos that are whole in this folder."""
    indexes = sorted(folder.glob("index-*.json"))
    if not indexes:
        raise UsageError(f"{folder} holds no shards; name a folder that malt encode has written")
    samples = []
    for path in indexes:
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            shards, videos = dict(index["shards"]), dict(index["films"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is damaged; run malt encode again to write it anew") from error
        found: dict[str, Sample] = {}
        for name, sha256 in shards.items():
            try:
                found |= {sample.key: sample for sample in _read_checked(folder / name, sha256)}
            except UsageError as error:
                if not skip_damaged:
                    raise
                log(f"skipped: {error}")
        for keys in videos.values():
            if all(key in found for key in keys):
                samples += [(found[key], folder) for key in keys]
    return samples


def _read_checked(path: Path, sha256: str) -> list[Sample]:
    anew = "run malt encode again (of a run's own shards: malt train --resume), which makes what it held anew"
    if not path.is_file():
        raise UsageError(f"the shard {path} is missing; {anew}")
    if file_sha256(path) != sha256:
        raise UsageError(f"the shard {path} is damaged (its checksum is another); delete it and {anew}")
    try:
        return list(read_shard(path))
    except (ValueError, KeyError, tarfile.TarError) as error:
        raise UsageError(f"the shard {path} cannot be read ({error}); delete it and {anew}") from error


def _agreed(infos: list[dict[str, Any]], codec: CodecIdentity | None) -> tuple[CodecIdentity, tuple[str, ...]]:
    """The one codec and the one set of actions of all samples."""
    made_by = CodecIdentity(**infos[0]["codec"])
    for info in infos:
        other = CodecIdentity(**info["codec"])
        if other != (codec or made_by):
            raise UsageError(
                f"the shards were encoded by {other} and the model is for {codec or made_by}; encode the videos with its "
                "own codec (malt encode --codec)"
            )
        if info["size"] != infos[0]["size"]:
            raise UsageError(f"shards of {_sides(info)} and of {_sides(infos[0])} are mixed; encode all in one size")
        if info["actions"] != infos[0]["actions"]:
            raise UsageError(
                f"shards with the actions {info['actions']} and {infos[0]['actions']} are mixed; choose one"
            )
    return made_by, tuple(infos[0]["actions"])


def _sides(info: dict[str, Any]) -> str:
    return f"{info['size'][1]}x{info['size'][0]}"


def _video(samples: list[Sample]) -> EncodedVideo:
    samples = sorted(samples, key=lambda sample: sample.info["first_latent"])
    info = samples[0].info
    actions = tuple(sample.tensors["actions"] for sample in samples) if info["actions"] else None
    return EncodedVideo(
        info["film"],
        info["caption"],
        info["frame_rate"],
        tuple(sample.tensors["latents"] for sample in samples),
        actions,
    )


def _slice(stretches: tuple[Tensor, ...], first: int, count: int) -> Tensor:
    """Frames `first` to `first + count` of what the stretches are together, in float32."""
    parts = []
    for stretch in stretches:
        parts.append(stretch[max(0, first) : max(0, first + count)].float())
        first -= len(stretch)
    return torch.cat([part for part in parts if len(part)])


def _slices(stretches: tuple[Tensor, ...], cuts: list[tuple[int, int]]) -> Tensor:
    """Several of such stretches of frames, (first, count) each, one behind the other."""
    return torch.cat([_slice(stretches, first, count) for first, count in cuts])


def _behind(missing: int, window: Tensor) -> Tensor:
    """The window behind so many frames of nothing."""
    return torch.cat([window.new_zeros(missing, *window.shape[1:]), window])
