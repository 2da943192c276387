"""Nodes that make video: begin, stream, and change what comes next. Sessions go in and come out; none is changed."""

from typing import TYPE_CHECKING

from comfy_api.latest import io

from .sockets import MaltModel, MaltSession, SessionValue

if TYPE_CHECKING:
    from torch import Tensor

    from malt.rollouts.base import ActionPolicy
    from malt.sessions.pipeline import SessionPipeline, SessionSettings
    from malt.sessions.session import Session

CATEGORY = "malt"
PROMPT = "a red circle and a blue square pass behind a wall"
LARGEST_SEED = 2**53 - 1  # what a browser counts exactly
SESSION = "Where the video stands. Wire it into two nodes, and it has two futures."


class BeginMaltSession(io.ComfyNode):
    """A session in which nothing has been made yet, or which begins with given images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="BeginMaltSession",
            display_name="Begin Session (Malt)",
            category=CATEGORY,
            description="A video of which nothing has been made. 0, and a guidance below 0, stand for the model's own setting.",
            inputs=[
                MaltModel.Input("model"),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default=PROMPT,
                    tooltip="One prompt, or 'first [4s] | second [32f] | last'.",
                ),
                io.Int.Input("seed", default=0, min=0, max=LARGEST_SEED, control_after_generate=True),
                io.Int.Input("width", default=0, min=0, max=8192, tooltip="Pixels; 0: the model's own."),
                io.Int.Input("height", default=0, min=0, max=8192, tooltip="Pixels; 0: the model's own."),
                io.Int.Input("steps", default=0, min=0, max=1000, tooltip="Denoising steps; 0: the model's own."),
                io.Float.Input("guidance", default=-1.0, min=-1.0, max=100.0, step=0.1, tooltip="Below 0: its own."),
                io.String.Input("negative_prompt", default="", tooltip="What the video does not show."),
                io.Image.Input("images", optional=True, tooltip="A first image, or first frames, to go on from."),
            ],
            outputs=[MaltSession.Output(display_name="session", tooltip=SESSION)],
        )

    @classmethod
    def validate_inputs(cls, prompts: str | None = None) -> bool | str:
        """Prompts that cannot be read are refused before anything runs; a link to them is read later."""
        from malt.errors import UsageError
        from malt.sessions.prompts import read_lines, schedule

        try:
            if prompts is not None and prompts.strip():
                schedule(read_lines(prompts), frame_rate=1.0)
        except UsageError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        model: "SessionPipeline",
        prompts: str,
        seed: int,
        width: int,
        height: int,
        steps: int,
        guidance: float,
        negative_prompt: str,
        images: "Tensor | None" = None,
    ) -> io.NodeOutput:
        """Begin it.

        Raises:
            UsageError: prompts, sizes or images do not fit the model.
        """
        from malt.sessions.session import Session

        settings: SessionSettings = {
            "height": height or None,
            "width": width or None,
            "num_inference_steps": steps or None,
            "guidance_scale": guidance if guidance >= 0 else None,
            "negative_prompt": negative_prompt.strip() or None,
        }
        session = Session.begin(model, prompts.strip(), seed=seed, **settings)
        if images is not None:
            _prefill(session, images)
        return io.NodeOutput(SessionValue.of(session))


class StreamMaltSegments(io.ComfyNode):
    """Makes the next segments of a video and shows each as it is finished."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        from malt.sessions.action_policies import COURSES

        return io.Schema(
            node_id="StreamMaltSegments",
            display_name="Stream Segments (Malt)",
            category=CATEGORY,
            description="The next segments of a video, as images, and the session behind them. The session that went in stays.",
            inputs=[
                MaltSession.Input("session", tooltip=SESSION),
                io.Int.Input("segments", default=4, min=1, max=100_000, tooltip="How many segments to make."),
                io.Combo.Input("driver", options=["none", *COURSES], tooltip="Who steers a model that takes actions."),
                io.Image.Input("before", optional=True, tooltip="Images that the new ones are put behind."),
            ],
            outputs=[
                MaltSession.Output(display_name="session", tooltip=SESSION),
                io.Image.Output(display_name="images", tooltip="The frames that were made here, behind those before."),
                io.Float.Output(display_name="frame_rate", tooltip="Frames a second."),
                io.Int.Output(display_name="num_frames", tooltip="Length of the whole video so far, frames."),
            ],
        )

    @classmethod
    def execute(
        cls, session: SessionValue, segments: int, driver: str, before: "Tensor | None" = None
    ) -> io.NodeOutput:
        """Make them.

        Raises:
            UsageError: the model takes actions and has no driver or the other way round, or the images before differ in size.
        """
        import torch

        from .comfyui_host import show, stop_if_told, to_images

        _check_size(session, before)
        going, policy, segment = session.go_on(), _policy(session, driver), None
        going.hear(stop_if_told)
        images = [] if before is None else [before]
        for n in range(segments):
            segment = going.advance(None if policy is None else policy(segment, going.frames_ahead)[0])
            images.append(to_images(segment.frames[0]))
            show(segment, n + 1, segments)
        return io.NodeOutput(SessionValue.of(going), torch.cat(images), going.pipe.frame_rate, going.num_frames)


class SetMaltPrompt(io.ComfyNode):
    """Changes what a video shows from its next segment on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="SetMaltPrompt",
            display_name="Set Prompt (Malt)",
            category=CATEGORY,
            description="Other prompts from the next segment on; their times are counted from there.",
            inputs=[
                MaltSession.Input("session", tooltip=SESSION),
                io.String.Input("prompts", multiline=True, default="", tooltip="What comes next, as in Begin Session."),
            ],
            outputs=[MaltSession.Output(display_name="session", tooltip=SESSION)],
        )

    @classmethod
    def execute(cls, session: SessionValue, prompts: str) -> io.NodeOutput:
        """Another session with these prompts to come.

        Raises:
            UsageError: the prompts cannot be read.
        """
        going = session.go_on()
        going.schedule_prompts(prompts.strip())
        return io.NodeOutput(SessionValue.of(going))


class BranchMaltSession(io.ComfyNode):
    """Another future of the same past: other noise from the next segment on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="BranchMaltSession",
            display_name="Branch Session (Malt)",
            category=CATEGORY,
            description="The same past, another future: a new seed from the next segment on.",
            inputs=[
                MaltSession.Input("session", tooltip=SESSION),
                io.Int.Input("seed", default=1, min=0, max=LARGEST_SEED, control_after_generate=True),
            ],
            outputs=[MaltSession.Output(display_name="session", tooltip=SESSION)],
        )

    @classmethod
    def execute(cls, session: SessionValue, seed: int) -> io.NodeOutput:
        """Another session with this seed to come."""
        return io.NodeOutput(SessionValue.of(session.go_on().branch(seed)))


class RewindMaltSession(io.ComfyNode):
    """Where a video stood at an earlier frame, exactly."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="RewindMaltSession",
            display_name="Rewind Session (Malt)",
            category=CATEGORY,
            description="Back to the border between segments at this frame, or the last before it.",
            inputs=[
                MaltSession.Input("session", tooltip=SESSION),
                io.Int.Input("frame", default=0, min=0, max=2**31 - 1, tooltip="Frame to go back to."),
            ],
            outputs=[
                MaltSession.Output(display_name="session", tooltip=SESSION),
                io.Int.Output(display_name="frame", tooltip="The border's frame."),
            ],
        )

    @classmethod
    def execute(cls, session: SessionValue, frame: int) -> io.NodeOutput:
        """Another session that stands there.

        Raises:
            UsageError: the frame has not been made yet, or lies within the images that were given.
        """
        going = session.go_on()
        border = going.rewind(frame)
        return io.NodeOutput(SessionValue.of(going), border)


def _check_size(session: SessionValue, before: "Tensor | None") -> None:
    from malt.errors import UsageError

    size = session.state.settings["height"], session.state.settings["width"]
    if before is not None and tuple(before.shape[1:]) != (*size, 3):
        height, width, *_ = before.shape[1:]
        raise UsageError(
            f"the images before are {width}x{height}; this video is {size[1]}x{size[0]}, without transparency"
        )


def _policy(session: SessionValue, driver: str) -> "ActionPolicy | None":
    from malt.errors import UsageError
    from malt.sessions.action_policies import build_policy

    names = session.pipe.action_names
    if driver == "none":
        if names:
            raise UsageError(f"this model acts ({', '.join(names)}); choose a driver that says what is done")
        return None
    if not names:
        raise UsageError(f"this model takes no actions; choose 'none' instead of the driver {driver!r}")
    going = session.go_on()
    return build_policy(driver, names, frame_rate=going.pipe.frame_rate, start=going.num_frames)


def _prefill(session: "Session", images: "Tensor") -> None:
    """Let a session begin with images (t, H, W, 3) in [0, 1]; a single one is held as long as a first latent frame."""
    from malt.codecs.device import execution_device
    from malt.errors import UsageError
    from malt.pipelines.input_frames import read_videos

    pipe, settings = session.pipe, session.state.settings
    size = settings["height"], settings["width"]
    frames = read_videos(images[..., :3].movedim(-1, 1), size, 1, 1)[0].to(execution_device(pipe.transformer))
    fewest = pipe.codec.frames_of(1, first=True)
    frames = frames.expand(fewest, -1, -1, -1) if len(frames) == 1 else frames
    if len(frames) < fewest:
        raise UsageError(f"there are {len(frames)} first images; give one, or at least {fewest}")
    actions = frames.new_zeros(len(frames), len(pipe.action_names)) if pipe.action_names else None
    for _ in session.prefill(frames, actions):
        pass
