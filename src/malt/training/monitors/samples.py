"""Videos that the averaged weights make as the run goes on, to look at: a video file and a contact sheet."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from malt.codecs.base import Codec
from malt.data.batch import Batch
from malt.diffusion.embedded_guidance import guidance_of
from malt.diffusion.sampling import noise_levels
from malt.errors import MaltError
from malt.evaluation.report.contact_sheet import contact_sheet
from malt.media.files import replacing
from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink
from malt.rollouts.base import ActionPolicy, RolloutState, Segment
from malt.rollouts.malt import MaltRollout
from malt.training.config import Sampling
from malt.training.engine.parallel import current_context
from malt.training.objectives.denoising import CaptionedModel

GAP = 2  # pixels between the videos of a file


@dataclass(frozen=True, kw_only=True)
class Samples:
    """An action of the loop: the same captions, actions, beginnings and seeds every time.

    held_out: latents from videos that are never trained on, without context. A captioned video is made from nothing; where
    nothing is said, or something is done, the first segment is the true one and the model goes on from it.
    """

    folder: Path
    held_out: Batch
    codec: Codec
    sampling: Sampling
    num_frames: int
    frame_rate: float
    log: Callable[[str], None] = print

    def __call__(self, step: int, module: nn.Module) -> None:
        """Write `step-N.mp4` and `step-N.png`; where that fails, say so and let the run go on."""
        assert isinstance(module, CaptionedModel)
        try:
            with torch.no_grad(), torch.compiler.set_stance("force_eager"):
                videos = self.make(module)  # by all ranks together, where each has but a part of the weights
                if current_context().is_first:
                    self._write(videos, f"step-{step:08d}")
        except (MaltError, OSError) as error:
            self.log(f"no samples of step {step}: {error}")

    def make(self, captioned: CaptionedModel) -> Float[Tensor, "b t 3 H W"]:
        """The videos, in [-1, 1]."""
        rollout, frames = self._rollout(captioned), list[Tensor]()
        progress = self._begun(rollout, frames) if self._continues else rollout.begin(seed=0)
        left = self.num_frames - progress.start
        if left > 0:
            frames += [segment.frames.cpu() for segment in rollout.stream(left, progress, self._driver(progress.start))]
        return torch.cat(frames, dim=1)[:, : self.num_frames]

    @property
    def _continues(self) -> bool:
        return self.held_out.actions is not None or not all(self.held_out.captions)

    def _rollout(self, captioned: CaptionedModel) -> MaltRollout:
        captions = self.held_out.captions
        caption = captioned.caption(captions)
        scheduler = FlowMatchEulerDiscreteScheduler(shift=self.sampling.shift)
        return MaltRollout(
            transformer=captioned.transformer,
            codec=self.codec,
            scheduler=scheduler,
            context_noise=self.sampling.context_noise,
            caption=caption,
            uncaptioned=captioned.caption([""] * len(captions), num_tokens=caption.states.shape[1]),
            latent_size=(self.held_out.latents.shape[-2], self.held_out.latents.shape[-1]),
            guidance=guidance_of(
                captioned.transformer.distilled,
                noise_levels(scheduler, self.sampling.num_inference_steps).tolist(),
                text=self.sampling.guidance_scale,
                memory=self.sampling.memory_guidance_scale,
            ),
            num_steps=self.sampling.num_inference_steps,
            remembers_in_last_step=self.sampling.remembers_in_last_step,
        )

    def _begun(self, rollout: MaltRollout, frames: list[Tensor]) -> RolloutState:
        """The progress behind the first true segment, whose frames are added to `frames`."""
        first = self.held_out.latents[:, : rollout.transformer.segment_frames].to(rollout.transformer.device)
        true = self.codec.decode(first)[0].clamp(-1, 1)
        progress, driver = rollout.begin(seed=0), self._driver(0)
        actions = None if driver is None else driver(None, true.shape[1])
        for segment, after in rollout.prefill(progress, true, actions):
            progress = after
            frames.append(segment.frames.cpu())
        return progress

    def _driver(self, begin: int) -> ActionPolicy | None:
        """What was truly done from frame `begin` on, and again from the beginning when the video goes on for longer."""
        if self.held_out.actions is None:
            return None
        by_frame = rearrange(self.held_out.actions, "b s (t a) -> b (s t) a", t=self.codec.time_compression)

        def drive(last: Segment | None, num_frames: int) -> Tensor:
            start = begin if last is None else last.start + last.frames.shape[1]
            return by_frame[:, torch.arange(start, start + num_frames) % by_frame.shape[1]]

        return drive

    def _write(self, videos: Float[Tensor, "b t 3 H W"], name: str) -> None:
        """Write both files; they appear under their names only when they are whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        scale = max(1, 192 // videos.shape[-2])
        with (
            replacing(self.folder / f"{name}.mp4") as draft,
            VideoSink(draft, frame_rate=self.frame_rate, scale=scale, overwrite=True) as sink,
        ):
            sink.write(to_pixels(side_by_side(videos)))
        captions = self.held_out.captions if any(self.held_out.captions) else None
        contact_sheet(videos, captions, scale=max(1, 96 // videos.shape[-2])).save(self.folder / f"{name}.png")


def side_by_side(videos: Float[Tensor, "b t 3 H W"]) -> Float[Tensor, "t 3 H2 W2"]:
    """Several videos in one, in rows as many as columns or one fewer."""
    columns = 1
    while columns**2 < len(videos):
        columns += 1
    padded = nn.functional.pad(videos, (0, GAP, 0, GAP), value=1.0)
    rows = -(-len(videos) // columns)
    filled = torch.cat([padded, padded.new_ones(rows * columns - len(videos), *padded.shape[1:])])
    grid = rearrange(filled, "(r k) t c h w -> t c (r h) (k w)", k=columns)
    return grid[..., :-GAP, :-GAP]
