"""What is looked at as the transformer learns: validation and samples, at their times and once more at the end."""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from malt.codecs.base import Codec
from malt.data.batch import Batch
from malt.training.config import MonitorConfig, Sampling
from malt.training.engine.loop import Action
from malt.training.engine.metric_log import MetricLogger
from malt.training.engine.parallel import current_context
from malt.training.monitors.samples import Samples
from malt.training.monitors.validation import Validation
from malt.training.objectives.denoising import CaptionedModel
from malt.training.sources.data_source import HeldOut, Log


class Monitors:
    """The loop's actions. Held-out videos are encoded when they are first looked at."""

    def __init__(
        self,
        config: MonitorConfig,
        held_out: Callable[[], HeldOut | None],
        *,
        num_segments: int,
        segment_frames: int,
        context_frames: int,
        precision: torch.dtype,
        codec: Codec,
        sampling: Sampling,
        frame_rate: float,
        out: Path,
        log: Log,
    ) -> None:
        self.config, self.load_held_out, self.out, self.log = config, held_out, out, log
        self.num_segments, self.segment_frames, self.context_frames = num_segments, segment_frames, context_frames
        self.precision, self.codec, self.sampling, self.frame_rate = precision, codec, sampling, frame_rate
        self.journal = MetricLogger(out, "validation", silent=not current_context().is_first)

    @property
    def actions(self) -> dict[int, Action]:
        """What to do every so many steps."""
        wanted = ((self.config.validate_every, self.validate), (self.config.sample_every, self.sample))
        actions = dict[int, Action]()
        for period, action in wanted:
            if period:
                actions[period] = _both(actions[period], action) if period in actions else action
        return actions

    def validate(self, step: int, module: nn.Module) -> None:
        """The loss on held-out videos."""
        if self._validation is not None:
            self._validation(step, module)

    def sample(self, step: int, module: nn.Module) -> None:
        """Videos by the averaged weights."""
        if self._samples is not None:
            self._samples(step, module)

    def finish(self, step: int, captioned: CaptionedModel) -> None:
        """Look at the finished model, unless that was done."""
        if self.config.validate_every and _last_step(self.journal.path) < step:
            self.validate(step, captioned)
        if self.config.sample_every and not (self._sample_folder / f"step-{step:08d}.mp4").exists():
            self.sample(step, captioned)
        self.journal.close()

    @property
    def _sample_folder(self) -> Path:
        return self.out / "samples"

    @cached_property
    def _held_out(self) -> HeldOut | None:
        return self.load_held_out()

    @cached_property
    def _validation(self) -> Validation | None:
        batch = self._batch(self.config.validation_videos, self.num_segments, self.context_frames)
        return None if batch is None else Validation(batch, self.config.noise_levels, self.journal, self.precision)

    @cached_property
    def _samples(self) -> Samples | None:
        segment = self.segment_frames * self.codec.time_compression
        batch = self._batch(self.config.sample_videos, -(-self.config.sample_frames // segment), 0)
        if batch is None:
            return None
        return Samples(
            folder=self._sample_folder,
            held_out=batch,
            codec=self.codec,
            sampling=self.sampling,
            num_frames=self.config.sample_frames,
            frame_rate=self.frame_rate,
            log=self.log,
        )

    def _batch(self, num_videos: int, num_segments: int, context_frames: int) -> Batch | None:
        if self._held_out is None:
            return None
        batch = self._held_out.batch(num_videos, num_segments, self.segment_frames, context_frames)
        if batch is None:
            self.log("the held-out videos are shorter than a segment, so they are not looked at; give longer ones")
        return batch


def _both(first: Action, second: Action) -> Action:
    def act(step: int, module: nn.Module) -> None:
        first(step, module)
        second(step, module)

    return act


def _last_step(journal: Path) -> int:
    """The last step that a journal tells of, 0 for none."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0
