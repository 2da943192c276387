"""A node that strings prompts together over time."""

from comfy_api.latest import io


class MaltPromptOverTime(io.ComfyNode):
    """One prompt and how long it lasts, behind those before it; the output is text in malt's own syntax."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="MaltPromptOverTime",
            display_name="Prompt over Time (Malt)",
            category="malt",
            description="One prompt and its time. Chain several; the last one may last until the end.",
            inputs=[
                io.String.Input("prompt", multiline=True, default="", tooltip="What the video shows."),
                io.Float.Input(
                    "seconds", default=4.0, min=0.0, max=86400.0, step=0.25, tooltip="How long. 0: until the end."
                ),
                io.String.Input("before", optional=True, force_input=True, tooltip="The prompts before this one."),
            ],
            outputs=[io.String.Output(display_name="prompts")],
        )

    @classmethod
    def execute(cls, prompt: str, seconds: float, before: str = "") -> io.NodeOutput:
        """The prompts before, then this one.

        Raises:
            UsageError: the prompt is empty.
        """
        from malt.sessions.prompts import PromptLine

        line = PromptLine(prompt.strip(), seconds=seconds or None)
        text = "".join(f"\\{sign}" if sign in "[]|" else sign for sign in line.text)
        timed = text if line.seconds is None else f"{text} [{line.seconds:g}s]"
        return io.NodeOutput(f"{before} | {timed}" if before else timed)
