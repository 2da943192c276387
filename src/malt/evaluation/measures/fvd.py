"""FVD against the world's own films, with the I3D network that a user brings."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from malt.evaluation.frechet import frechet_of
from malt.evaluation.fvd import I3D, PROTOCOL_CLIPS, SIDE, load_i3d
from malt.evaluation.metric import Axes, Meaning, batches
from malt.evaluation.outcome import Outcome
from malt.evaluation.scenery import captions_of, film, scenes_of
from malt.evaluation.subject import Request, Subject, make

REAL, OTHER_REAL = 1, 2  # rooms of scenes that no video was asked for


@dataclass(frozen=True, kw_only=True)
class Fvd:
    """FVD of clips of `num_frames` consecutive frames from the start of each video."""

    i3d: Path
    num_videos: int = PROTOCOL_CLIPS
    num_frames: int = 16
    name: str = "fvd"
    says: str = "FVD by the protocol of StyleGAN-V and PVDM, against films of this world; the floor is that of two sets of films."

    def __post_init__(self) -> None:
        """Refuse a file that is no I3D network."""
        load_i3d(self.i3d)

    @property
    def headlines(self) -> dict[str, Meaning]:
        """The figures for the table."""
        name = f"FVD, {self.num_frames} frames"
        return {name: Meaning(words=name, better="lower"), f"floor, {name}": Meaning(words=f"its floor, {name}")}

    @property
    def axes(self) -> dict[str, Axes]:
        """No charts."""
        return {}

    def settings(self) -> dict[str, object]:
        """What the numbers depend on, the network's hash included."""
        i3d = load_i3d(self.i3d)
        protocol = {"clips": self.num_videos, "frames": self.num_frames, "stride": 1, "side": SIDE}
        return protocol | {"sha256": i3d.sha256, "layout": i3d.layout, "scales_itself": i3d.scales_itself}

    def run(self, subject: Subject, seed: int) -> Outcome:
        """Make clips and films, and compare what the network says of them."""
        i3d, name = load_i3d(self.i3d), f"FVD, {self.num_frames} frames"
        made = self._of_made(i3d, subject, seed)
        real, other = (self._of_films(i3d, subject, seed, room) for room in (REAL, OTHER_REAL))
        notes = [f"{self.num_videos} clips, stride 1, {SIDE}x{SIDE}, network sha256 {i3d.sha256[:12]}"]
        if self.num_videos != PROTOCOL_CLIPS:
            notes.append(f"the protocol asks for {PROTOCOL_CLIPS} clips: do not compare with published figures")
        return Outcome(whole={name: frechet_of(made, real), f"floor, {name}": frechet_of(other, real)}, notes=notes)

    def _of_made(self, i3d: I3D, subject: Subject, seed: int) -> Tensor:
        captions = captions_of(self.num_videos, seed)
        requests = [Request(captions=captions[part], seed=seed + part.start) for part in batches(self.num_videos)]
        return torch.cat([i3d(make(subject, request, self.num_frames)) for request in requests])

    def _of_films(self, i3d: I3D, subject: Subject, seed: int, room: int) -> Tensor:
        scenes = scenes_of(self.num_videos, seed, room=room)
        films = (film(scenes[part], 0, self.num_frames, subject.frame_size) for part in batches(self.num_videos))
        return torch.cat([i3d(each) for each in films])
