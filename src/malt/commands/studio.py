"""`malt studio`: a page on which videos are made, watched, changed, rewound and branched."""

import socket
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from malt.commands.checks import check_count
from malt.commands.model_options import BaseOptions, find_place, load_model
from malt.commands.network import check_libraries, check_openness, listen, read_token
from malt.commands.signals import interruptible
from malt.errors import MaltError
from malt.pipelines.model_place import ModelPlace

if TYPE_CHECKING:
    from malt.pipelines.video_pipeline import VideoPipeline

LIBRARIES = ("gradio", "fastapi", "uvicorn", "websockets", "python_multipart")


@dataclass(frozen=True, kw_only=True)
class StudioCommand(BaseOptions):
    """Open a web page to generate videos on: watch them grow, change the prompt, stop, rewind, branch and steer. Visitors
    share the model. Their videos are deleted a while after their page is closed, so download what should stay."""

    host: str = "127.0.0.1"
    """Address to listen at; one that other machines can reach needs --public."""
    port: int = 7860
    """Port to listen at; 0 takes a free one."""
    public: bool = False
    """Let other machines in; needs a token in MALT_TOKEN, which a sign-in page asks for."""
    data: Path | None = None
    """Folder for the visitors' videos; a temporary one by default."""
    model: str | None = None
    """The model to begin with, by its name (default, fast, drive), or its folder; the page offers the others."""
    checkpoint: Path | None = None
    """Folder of the model to begin with, with its model_index.json; the default model by default."""
    scale: int | None = None
    """Write each pixel of a downloaded video this many times in both directions; by default what makes it visible."""
    max_frames: int = 4096
    """How many frames a video may have."""
    max_running: int = 8
    """How many videos are generated in turns."""
    max_waiting: int = 32
    """How many more may wait; requests beyond are refused."""
    max_visitors: int = 64
    """How many pages may be open at once."""
    device: str = "auto"
    """Device to compute on: auto, cpu, cuda, cuda:1 or mps."""
    threads: int | None = None
    """How many CPU threads to use."""

    def run(self) -> None:
        """Check, open the socket, load the model, and serve until Ctrl-C or SIGTERM.

        Raises:
            UsageError: the options do not fit, or the libraries of a studio are not installed.
            MaltError: the port is taken, or the folder cannot be made.
        """
        token = read_token()
        for option in ("scale", "max_frames", "max_running", "max_waiting", "max_visitors", "threads"):
            check_count(f"--{option.replace('_', '-')}", getattr(self, option))
        check_libraries(LIBRARIES, "a studio", extra="studio")
        check_openness(self.host, self.port, public=self.public, token=token)
        try:
            with interruptible(), listen(self.host, self.port) as listener, self._folder() as folder:
                self._serve(listener, token, Path(folder))
        except KeyboardInterrupt:
            return

    def _folder(self) -> "TemporaryDirectory[str]":
        try:
            if self.data is not None:
                self.data.mkdir(parents=True, exist_ok=True)
            return TemporaryDirectory(prefix="malt-studio-", dir=self.data, ignore_cleanup_errors=True)
        except OSError as error:
            raise MaltError(f"cannot make a folder in {self.data} ({error.strerror}); give another --data") from error

    def _serve(self, listener: socket.socket, token: str | None, folder: Path) -> None:
        chosen = find_place(self.model, self.checkpoint, self)
        from malt.serving.engine.fresh_thread import run_in_fresh_thread
        from malt.serving.limits import Limits
        from malt.serving.uvicorn_runner import serve
        from malt.studio.models import Models
        from malt.studio.page_app import create_app
        from malt.studio.visitors import Studio

        def load(place: ModelPlace) -> "VideoPipeline":
            return run_in_fresh_thread(
                lambda: load_model(
                    place, device=self.device, threads=self.threads, offload=self.offload, precision=self.precision
                )
            )

        models = Models(_offered(chosen), load)
        models.get(models.names[0])
        studio = Studio(
            models,
            folder,
            limits=Limits(frames=self.max_frames, running=self.max_running, waiting=self.max_waiting),
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
