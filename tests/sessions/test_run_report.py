"""Laws of the run report."""

import json
from itertools import count
from pathlib import Path

import pytest

from malt.errors import MaltError
from malt.sessions.run_report import RunReport


def two_second_report() -> RunReport:
    ticks = count(step=2)
    report = RunReport(prompt="a red circle", seed=7, checkpoint="default", clock=lambda: float(next(ticks)))
    report.add_segment(num_frames=16, memory_bytes=1000)
    report.add_segment(num_frames=8, memory_bytes=2000)
    return report


def test_the_figures_follow_from_the_segments(tmp_path: Path) -> None:
    two_second_report().write(tmp_path / "report.json")
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures["frames"] == 24
    assert figures["seconds_per_segment"] == [2, 2]
    assert figures["seconds"] == 4
    assert figures["frames_per_second"] == 6
    assert figures["memory_bytes"] == 2000
    assert (figures["prompt"], figures["seed"], figures["checkpoint"]) == ("a red circle", 7, "default")
    assert figures["peak_rss_bytes"] > 2**20
    assert {"malt", "torch", "diffusers", "python"} <= set(figures["versions"])


def test_a_run_that_made_nothing_can_be_reported() -> None:
    figures = RunReport(prompt="a", seed=0, checkpoint="default").as_dict()
    assert (figures["frames"], figures["seconds"], figures["frames_per_second"]) == (0, 0, 0)


def test_only_the_whole_report_is_ever_seen(tmp_path: Path) -> None:
    two_second_report().write(tmp_path / "report.json")
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_a_report_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MaltError, match="could not write the report"):
        two_second_report().write(tmp_path / "nowhere" / "report.json")
