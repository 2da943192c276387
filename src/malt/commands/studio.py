"""`malt studio`: a page on which videos are made, watched, changed, rewound and branched."""

import math
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from malt.commands.checks import check_above_zero, check_count
from malt.commands.model_options import BaseOptions, find_place, load_model
from malt.commands.network import check_libraries, check_openness, listen, read_token
from malt.commands.signals import interruptible
from malt.pipelines.model_place import ModelPlace
from malt.threads import threads_beside_a_browser

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

LIBRARIES = ("fastapi", "uvicorn", "websockets")


def default_data() -> Path:
    """Where visits are kept if nothing is said: in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "malt" / "studio"


@dataclass(frozen=True, kw_only=True)
class StudioCommand(BaseOptions):
    """Open a web page to generate videos on: watch them grow, change the prompt, stop, rewind, branch and steer. Visitors
    share the model. What they make is kept, and is there again when they come back."""

    host: str = "127.0.0.1"
    """Address to listen at; one that other machines can reach needs --public."""
    port: int = 7860
    """Port to listen at; 0 takes a free one."""
    public: bool = False
    """Let other machines in; needs a token in MALT_TOKEN, which a sign-in page asks for."""
    data: Path = field(default_factory=default_data)
    """Folder to keep the visitors' videos in."""
    model: str | None = None
    """The model to begin with, by its name (default, teacher, drive, maze), or its folder; the page offers the others."""
    checkpoint: Path | None = None
    """Folder of the model to begin with, with its model_index.json."""
    scale: int | None = None
    """Write each pixel of a downloaded video this many times in both directions; by default what makes it visible."""
    max_frames: int = 4096
    """How many frames a video may have."""
    max_running: int = 8
    """How many videos are generated in turns."""
    max_waiting: int = 32
    """How many more may wait; requests beyond are refused."""
    max_visitors: int = 64
    """How many visitors may be there at once."""
    max_disk: float = 64.0
    """How many GB of the disk their videos may take; beyond, those that were left longest ago are deleted."""
    keep_days: float | None = None
    """Delete videos so many days after they were left; by default they stay."""
    device: str = "auto"
    """Device to compute on: auto, cpu, cuda, cuda:1 or mps."""
    threads: int | None = None
    """How many CPU threads to use; by default as many as there are cores, but for one where the browser is on this computer."""

    def run(self) -> None:
        """Check, open the socket, load the model, and serve until Ctrl-C or SIGTERM.

        Raises:
            UsageError: the options do not fit, or the libraries of a studio are not installed.
            MaltError: the port is taken, or the folder cannot be made.
        """
        token = read_token()
        for option in ("scale", "max_frames", "max_running", "max_waiting", "max_visitors", "threads"):
            check_count(f"--{option.replace('_', '-')}", getattr(self, option))
        check_above_zero("--max-disk", self.max_disk)
        check_above_zero("--keep-days", self.keep_days)
        check_libraries(LIBRARIES, "a studio", extra="studio")
        check_openness(self.host, self.port, public=self.public, token=token)
        try:
            with interruptible(), listen(self.host, self.port) as listener:
                self._serve(listener, token)
        except KeyboardInterrupt:
            return

    def _serve(self, listener: socket.socket, token: str | None) -> None:
        chosen = find_place(self.model, self.checkpoint, self)
        from malt.serving.engine.fresh_thread import run_in_fresh_thread
        from malt.serving.limits import Limits
        from malt.serving.uvicorn_runner import serve
        from malt.studio.models import Models
        from malt.studio.page_app import create_app
        from malt.studio.visitors import Studio

        threads = self.threads or (None if self.public else threads_beside_a_browser())

        def load(place: ModelPlace) -> "VideoPipeline":
            return run_in_fresh_thread(
                lambda: load_model(
                    place, device=self.device, threads=threads, offload=self.offload, precision=self.precision
                )
            )

        models = Models(_offered(chosen), load)
        models.get(models.names[0])
        studio = Studio(
            models,
            self.data,
            limits=Limits(
                frames=self.max_frames,
                running=self.max_running,
                waiting=self.max_waiting,
                disk_bytes=round(self.max_disk * 1e9),
                keep_seconds=math.inf if self.keep_days is None else self.keep_days * 24 * 3600,
            ),
            token=token,
            loopback_only=not self.public,
            scale=self.scale,
            most_visits=self.max_visitors,
        )
        serve(create_app(studio), studio, listener)


def _offered(chosen: ModelPlace) -> dict[str, ModelPlace]:
    """The models to choose from by name, the chosen one first."""
    from malt.pipelines.packaged import packaged_models

    rest = {name: ModelPlace(folder=folder) for name, folder in packaged_models().items()}
    rest = {"default": ModelPlace()} | rest | {"default": ModelPlace()}  # sessions of the default know no folder
    if not chosen.is_given:
        return rest
    return {chosen.name: chosen} | {name: place for name, place in rest.items() if place != chosen}
