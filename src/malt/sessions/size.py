"""What a session will keep, in bytes, known from shapes before anything is made."""

from dataclasses import dataclass

from malt.sessions.pipeline import SessionPipeline
from malt.sessions.snapshots import MAX_SNAPSHOTS

LATENT_BYTES = 4  # of a number


@dataclass(frozen=True)
class SessionSize:
    """Bytes of a snapshot: of what is remembered, and of the latents that are looked back at or decoded from."""

    memory: int
    latents: int

    @property
    def snapshot(self) -> int:
        """Of all that a video is gone on with from."""
        return self.memory + self.latents

    @property
    def most(self) -> int:
        """Of all snapshots that a session keeps at once, on disk and in main memory."""
        return MAX_SNAPSHOTS * self.snapshot

    def __str__(self) -> str:
        return (
            f"{_amount(self.snapshot)} a snapshot, {_amount(self.most)} for the {MAX_SNAPSHOTS} that it keeps at most"
        )


def session_size(pipe: SessionPipeline, height: int, width: int) -> SessionSize:
    """What a session of frames of this size will keep; in a decoder without end, what it carries is not counted."""
    codec, model = pipe.codec, pipe.transformer
    sides = (side // codec.space_compression for side in (height, width))
    rows, columns = (side - side % patch for side, patch in zip(sides, model.patch_size, strict=True))
    behind = getattr(codec, "reach", getattr(codec, "overlap", 0))
    frames = behind + max(model.segment_frames, model.context_frames)
    latents = frames * codec.latent_channels * rows * columns * LATENT_BYTES
    return SessionSize(model.memory_bytes(1, rows, columns), latents)


def _amount(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
