"""Nodes for ComfyUI's own MODEL, which its own samplers, LoRAs and loaders take: a memory on it, and segments into that."""

from pathlib import Path
from typing import Any

from comfy_api.latest import io

from .sockets import MaltMemory

CATEGORY = "malt/native"
REMEMBERS = "A MODEL that remembers. Wire it into two samplers, and the video has two futures."


class ApplyMaltMemoryToModel(io.ComfyNode):
    """Gives ComfyUI's own Wan or LTX-Video a memory; the MODEL that went in stays without."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="ApplyMaltMemoryToModel",
            display_name="Apply Memory to MODEL (Malt)",
            category=CATEGORY,
            description="ComfyUI's own Wan or LTX-Video with a memory, empty at first, for any sampler of ComfyUI.",
            inputs=[
                io.Model.Input("model", tooltip="Wan 2.1 or 2.2, or LTX-Video 0.9.0 or 0.9.1, of text to video."),
                MaltMemory.Input("memory", tooltip="One that was trained on the same weights."),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip=REMEMBERS),
                io.Int.Output(display_name="length", tooltip="Of a segment, for the sampler's empty latent video."),
            ],
        )

    @classmethod
    def execute(cls, model: Any, memory: Path) -> io.NodeOutput:
        """Another MODEL on the same weights.

        Raises:
            UsageError: the MODEL takes no memory, or the memory was made for another.
            CheckpointError: the memory's folder is not whole.
        """
        from .native_base import with_memory
        from .native_memory import segment_length

        model = with_memory(model, memory)
        return io.NodeOutput(model, segment_length(model))


class RememberMaltSegment(io.ComfyNode):
    """Lets a MODEL remember a segment that a sampler has finished; the MODEL that went in stays what it was."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Sockets and widgets."""
        return io.Schema(
            node_id="RememberMaltSegment",
            display_name="Remember Segment (Malt)",
            category=CATEGORY,
            description="Behind a sampler: the MODEL for the next segment. Decode all segments in one, behind Latent Concat.",
            inputs=[
                io.Model.Input("model", tooltip="The MODEL that made the segment."),
                io.Latent.Input("segment", tooltip="What the sampler gave."),
                io.Conditioning.Input("positive", tooltip="What the segment shows."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip=REMEMBERS)],
        )

    @classmethod
    def execute(cls, model: Any, segment: dict[str, Any], positive: list[Any]) -> io.NodeOutput:
        """Another MODEL, which remembers it.

        Raises:
            UsageError: the MODEL has no memory, or the latents are no segment of its video.
        """
        from .native_memory import remember

        return io.NodeOutput(remember(model, segment["samples"], *positive[0]))
