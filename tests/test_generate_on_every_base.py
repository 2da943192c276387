"""The command line on a base of every family: generate, resume, branch, with a memory and without, bit for bit."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from malt.adapters import add_memory, save_adapter
from malt.cli import main
from malt.pipelines.adapted_loading import load_adapted
from tiny_families import BASES, PROMPT, Tiny, shorten_clips

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=BASES)
def tiny(request: pytest.FixtureRequest) -> Tiny:
    return BASES[request.param]


@pytest.fixture(scope="module")
def base(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("bases") / "base")


@pytest.fixture(autouse=True)
def short_clips(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shorten_clips(tiny, monkeypatch)


def options_of(tiny: Tiny, base: Path, tmp_path: Path) -> list[str]:
    """What `malt generate` is told of a tiny base."""
    options = ["--base", str(base), "--size", f"{tiny.side}x{tiny.side}", "--steps", "2", "--device", "cpu"]
    if not tiny.from_image:
        return options
    pixels = np.random.default_rng(0).integers(0, 256, (tiny.side, tiny.side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "first.png")
    return [*options, "--image", str(tmp_path / "first.png")]


def num_frames_of(video: Path) -> int:
    """As many as its file has."""
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def check_resumed(tiny: Tiny, options: list[str], tmp_path: Path) -> Path:
    """That a video made in two parts is the one made at once; gives it."""
    whole, part = tmp_path / "whole.mp4", tmp_path / "part.mp4"
    assert main(["generate", PROMPT, "--frames", str(tiny.more), "--out", str(whole), *options]) == 0
    assert main(["generate", PROMPT, "--frames", str(tiny.clip), "--out", str(part), *options]) == 0
    assert main(["resume", str(part), "--frames", str(tiny.more)]) == 0
    assert part.read_bytes() == whole.read_bytes()
    assert num_frames_of(whole) == tiny.more
    return whole


def test_without_a_memory_it_makes_a_video_that_is_resumed_and_branched(tiny: Tiny, base: Path, tmp_path: Path) -> None:
    whole = check_resumed(tiny, options_of(tiny, base, tmp_path), tmp_path)
    other = tmp_path / "other.mp4"
    assert main(["branch", str(whole), "--at", str(tiny.clip), "--seed", "5", "--out", str(other)]) == 0
    assert num_frames_of(other) == tiny.more
    assert other.read_bytes() != whole.read_bytes()


def test_with_a_memory_it_makes_a_video_that_is_resumed_and_branched(tiny: Tiny, base: Path, tmp_path: Path) -> None:
    transformer = load_adapted(base, dtype=torch.float32).adapted.detach()
    adapted = add_memory(transformer, {"memory": "slots", "memory_size": 4, "segment_frames": 2})
    torch.manual_seed(4)
    for weight in adapted.adapter.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    save_adapter(adapted, tmp_path / "adapter", str(base))
    options = [*options_of(tiny, base, tmp_path), "--adapter", str(tmp_path / "adapter")]
    whole = check_resumed(tiny, options, tmp_path)
    other = tmp_path / "other.mp4"
    assert main(["branch", str(whole), "--at", str(tiny.clip), "--seed", "5", "--out", str(other)]) == 0
    assert other.read_bytes() != whole.read_bytes()
