"""Makes videos by compiled blocks for test_compiling.py, which checks no types as it traces: `python compiled_videos.py`.

Prints, as JSON, what became of them. A stand-in compiler that notes how many graphs it was given runs them as they are.
"""

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partialmethod
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

import tiny_pipeline
from malt.cli import main
from malt.media.video_reader import read_video
from malt.sessions.run_report import RunReport
from tiny_pipeline import SEGMENT

PLACE = ("--device", "cpu", "--threads", "1")
COMPILE, BEGINS = nn.Module.compile, RunReport.__post_init__
graphs: list[object] = []
known_before_the_clock: list[int] = []


def compile_by(backend: Callable[..., Any]) -> None:
    """Let modules be compiled by another compiler from now on, and everything anew."""
    torch._dynamo.reset()
    graphs.clear()
    patch.object(nn.Module, "compile", partialmethod(COMPILE, backend=backend)).start()


def count(graph: Any, _: object) -> Any:
    """Note a graph, and run it as it is."""
    graphs.append(graph)
    return graph.forward


def fail(graph: object, _: object) -> Any:
    """What happens where there is no compiler."""
    raise RuntimeError("there is no g++")


def note_graphs(report: RunReport) -> None:
    """Note how many graphs there are when the clock starts."""
    known_before_the_clock.append(len(graphs))
    BEGINS(report)


def run(*command: str) -> str:
    """What a command says."""
    with redirect_stderr(StringIO()) as said:
        assert main([*command, *PLACE]) == 0, said.getvalue()
    return said.getvalue()


def generate(name: str, *options: str) -> str:
    """Make a video of seven segments."""
    place = ("--checkpoint", "model", "--out", name, "--frames", str(7 * SEGMENT))
    return run("generate", "a red circle", *place, *options)


def differ(one: str, other: str) -> float:
    """By how many of 255 levels a number of two videos differs, in the mean."""
    frames = [np.concatenate([part.pixels for part in read_video(Path(name))]).astype(int) for name in (one, other)]
    return float(np.abs(frames[0] - frames[1]).mean())


def outcomes() -> dict[str, object]:
    """What became of each video."""
    patch.object(RunReport, "__post_init__", note_graphs).start()
    tiny_pipeline.pipeline().save_pretrained("model")
    generate("eager.mp4")
    known_before_the_clock.clear()
    compile_by(count)
    generate("compiled.mp4", "--compile")
    found: dict[str, object] = {
        "before the clock": known_before_the_clock[0],
        "in all": len(graphs),
        "difference": differ("compiled.mp4", "eager.mp4"),
    }
    compile_by(count)
    run("resume", "compiled.mp4", "--frames", str(8 * SEGMENT))
    found["resumed"] = len(graphs)
    compile_by(fail)
    found["without a compiler"] = generate("without.mp4", "--compile")
    found["difference without"] = differ("without.mp4", "eager.mp4")
    compile_by(count)
    Path("prompts.csv").write_text(f"prompt,frames\na red circle,{SEGMENT}\na blue square,{SEGMENT}\n")
    found["batch"] = run("batch", "prompts.csv", "--out", "videos", "--checkpoint", "model", "--compile")
    return found


if __name__ == "__main__":
    made = outcomes()
    json.dump(made, sys.stdout)
