"""Reduces colour video to 256 colours a frame, one frame at a time, as GIF wants it."""

from collections.abc import Iterator
from fractions import Fraction

import av
from av.filter import Graph


class FramePalette:
    """Gives every frame the 256 colours that suit it best, holding no more than a few frames."""

    def __init__(self, width: int, height: int, frame_rate: Fraction) -> None:
        """Build the graph: each frame goes to `palettegen` and, with the palette made of it, to `paletteuse`."""
        self._time_base = 1 / frame_rate
        graph = Graph()
        source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=self._time_base)
        split = graph.add("split")
        generate = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
        use = graph.add("paletteuse", "new=1:dither=none")
        source.link_to(split)
        split.link_to(generate, 0, 0)
        split.link_to(use, 1, 0)
        generate.link_to(use, 0, 1)
        use.link_to(graph.add("buffersink"))
        graph.configure()
        self._graph = graph

    def push(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """Take a frame, or None after the last one, and give back the frames that are ready."""
        if frame is not None:
            frame.time_base = self._time_base
        self._graph.push(frame)
        while True:
            try:
                ready = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(ready, av.VideoFrame)
            yield ready
