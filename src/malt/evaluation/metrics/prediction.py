"""Prediction: how close a video comes to the true one that it continues, by how far ahead (as TECO and Memory Maze do)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from malt.evaluation.evaluated_model import EvaluatedModel, Request, make
from malt.evaluation.metrics.base import Axes, FigureSpec, batches
from malt.evaluation.metrics.features import features_of_moments
from malt.evaluation.reference import acts_in, in_size, seeds_of, true_actions
from malt.evaluation.result import Curve, MetricResult
from malt.worlds.base import World
from malt.worlds.drive.recordings import FOLDER, driving_files, driving_windows
from malt.worlds.video_features import Features

START = 64  # frame at which true videos begin: well into them, when things are anywhere
FROZEN = "last true frame kept"
DRIVING = ", driving"  # ends the name of every figure of true driving


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """PSNR, SSIM and a feature distance to the truth at every horizon, after `given` true frames."""

    world: World
    num_videos: int = 32
    given: int = 64
    horizon: int = 64
    name: str = "prediction"
    says: str = (
        "True frames are given, and actions where the model takes them; then the model goes on. How close is each frame to "
        f"the true one? The line '{FROZEN}' is what a video gets that does not move."
    )

    @property
    def features(self) -> Features | None:
        """What the feature distance is between."""
        return features_of_moments(self.world)

    @property
    def feature_name(self) -> str:
        """What these features are, in words."""
        return "no features" if self.features is None else self.features.name

    @property
    def headlines(self) -> dict[str, FigureSpec]:
        """The figures for the table."""
        return {
            figure: meaning
            for domain in ("", DRIVING)
            for figure, meaning in {
                f"PSNR{domain}": FigureSpec(words=f"PSNR over {self.horizon} frames, dB{domain}", better="higher"),
                f"PSNR{domain}, {FROZEN}": FigureSpec(words=f"PSNR of the last true frame, dB{domain}"),
                f"SSIM{domain}": FigureSpec(words=f"SSIM over {self.horizon} frames{domain}", better="higher"),
                f"feature distance{domain}": FigureSpec(words=f"feature distance{domain}", better="lower"),
            }.items()
        }

    @property
    def axes(self) -> dict[str, Axes]:
        """The charts' axes."""
        words = {"PSNR": "PSNR, dB", "SSIM": "SSIM", "feature distance": f"cosine distance ({self.feature_name})"}
        charts = {chart: Axes(x="frames ahead", y=label) for chart, label in words.items()}
        return charts | {f"{chart}{DRIVING}": axes for chart, axes in charts.items()}

    def settings(self) -> dict[str, object]:
        """What the numbers depend on."""
        counts = {"num_videos": self.num_videos, "given": self.given, "horizon": self.horizon}
        return counts | {"world": self.world.name, "features": self.feature_name}

    def run(self, model: EvaluatedModel, seed: int) -> MetricResult:
        """Continue videos of the world or, where the model acts and nobody in the world does, true driving."""
        outcome = MetricResult(notes=self._missing(model))
        for domain, requests in self._domains(model, seed):
            made, true, last = [], [], []
            for request, future in requests:
                made.append(make(model, request, self.horizon))
                true.append(future)
                assert request.first is not None
                last.append(request.first[:, -1:].expand_as(future))
            outcome = self._add(outcome, domain, torch.cat(made), torch.cat(true), torch.cat(last))
        return outcome

    def _domains(self, model: EvaluatedModel, seed: int) -> Iterator[tuple[str, Iterator[tuple[Request, Tensor]]]]:
        """What is continued: requests, each with the true frames that followed."""
        if not model.action_names or acts_in(self.world, model.action_names):
            yield "", self._of_world(model, seed)
        elif files := driving_files():
            yield DRIVING, self._of_driving(model, seed, min(self.num_videos, len(files) // 2))

    def _of_world(self, model: EvaluatedModel, seed: int) -> Iterator[tuple[Request, Tensor]]:
        seeds, length = seeds_of(self.num_videos, seed), self.given + self.horizon
        for part in batches(self.num_videos):
            clips = [self.world.render([each], START, length) for each in seeds[part]]
            frames = torch.cat([in_size(clip.frames, model.frame_size) for clip in clips])
            first, future = frames.split([self.given, self.horizon], dim=1)
            yield (
                Request(
                    captions=[self.world.plain_caption] * len(clips),
                    seed=seed + part.start,
                    first=first,
                    actions=true_actions(self.world, clips, model.action_names),
                ),
                future,
            )

    def _of_driving(self, model: EvaluatedModel, seed: int, num: int) -> Iterator[tuple[Request, Tensor]]:
        drives = driving_windows(num, self.given + self.horizon, model.frame_size, seed, driving_files())
        for part in batches(len(drives.frames)):
            first, future = drives.frames[part].split([self.given, self.horizon], dim=1)
            captions, actions = [""] * len(first), drives.actions[part]
            yield Request(captions=captions, seed=seed + part.start, first=first, actions=actions), future

    def _add(self, outcome: MetricResult, domain: str, made: Tensor, true: Tensor, last: Tensor) -> MetricResult:
        """The outcome with the distances of this domain."""
        samples, curves = dict(outcome.samples), list(outcome.curves)
        for line, videos in (("", made), (FROZEN, last)):
            for chart, (x, values) in distances(videos, true, self.features).items():
                curves.append(Curve(chart=chart + domain, line=line, x=x, samples=values.T.tolist()))
                samples[f"{chart}{domain}" + (f", {line}" if line else "")] = values.mean(1).tolist()
        note = f"{self.given} true frames were given; the feature distance is a cosine distance, of {self.feature_name}"
        return MetricResult(samples=samples, curves=curves, notes=[*outcome.notes, note])

    def _missing(self, model: EvaluatedModel) -> list[str]:
        """What to say where there is nothing to continue."""
        if model.action_names and not acts_in(self.world, model.action_names) and not driving_files():
            return [
                "the model takes actions that nobody takes in this world, and there is no true driving here: set MALT_DATA "
                f"to a folder with {FOLDER}"
            ]
        return []


def distances(
    made: Float[Tensor, "b t 3 h w"], true: Float[Tensor, "b t 3 h w"], features: Features | None
) -> dict[str, tuple[list[float], Float[Tensor, "b x"]]]:
    """Of each measure: the horizons (1 is the first frame), and its value of every video at each."""
    every = [float(n + 1) for n in range(made.shape[1])]
    measures = {"PSNR": (every, psnr(made, true)), "SSIM": (every, ssim(made, true))}
    return measures if features is None else measures | {"feature distance": feature_distance(made, true, features)}


def psnr(made: Float[Tensor, "b t 3 h w"], true: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t"]:
    """Peak signal-to-noise ratio of every frame in dB, for pictures in [-1, 1]; at most 100."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    error_free = 2.0 * 10 ** (-100 / 20)  # an error below it counts as none
    return torch.stack(
        [
            torch.stack(
                [
                    peak_signal_noise_ratio(a, b, data_range=2.0)
                    if (a - b).abs().max() > error_free
                    else a.new_tensor(100.0)
                    for a, b in zip(video, truth, strict=True)
                ]
            )
            for video, truth in zip(made, true, strict=True)
        ]
    )


def ssim(made: Float[Tensor, "b t 3 h w"], true: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t"]:
    """Structural similarity of every frame (Wang et al. 2004: Gaussian window, sigma 1.5)."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    each = structural_similarity_index_measure(made.flatten(0, 1), true.flatten(0, 1), data_range=2.0, reduction="none")
    return torch.as_tensor(each).view(made.shape[:2])


def feature_distance(
    made: Float[Tensor, "b t 3 h w"], true: Float[Tensor, "b t 3 h w"], features: Features
) -> tuple[list[float], Float[Tensor, "b x"]]:
    """Horizons at which features are complete, and their cosine distance there."""
    ends = features.ends(made.shape[1])
    one, other = (features(videos).unflatten(0, (len(videos), len(ends))) for videos in (made, true))
    return [float(end) for end in ends], 1 - F.cosine_similarity(one, other, dim=2)
