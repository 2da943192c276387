"""Laws of a study's folder, and of the charts and the page made of it."""

import json
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import av
import pytest

from malt.errors import UsageError
from malt.evaluation.checkpoint_hash import checkpoint_sha256
from malt.evaluation.evaluated_model import EvaluatedModel
from malt.evaluation.evaluation_run import EvaluationRun
from malt.evaluation.metrics.base import Axes, FigureSpec, batches
from malt.evaluation.registry import METRICS, Extent, build_metrics
from malt.evaluation.report.chart import ChartLine, Point, line_chart, nice_ticks, short
from malt.evaluation.report.html_page import write_page
from malt.evaluation.report.side_by_side import CaptionedFiles, show, table
from malt.evaluation.result import Curve, MetricResult
from world_evaluated_models import PASSAGE, WorldModel


@dataclass
class Given:
    """Finds what it is told to find, and counts how often it ran."""

    value: float = 0.5
    name: str = "given"
    says: str = "What was <given>."
    runs: int = 0

    @property
    def headlines(self) -> dict[str, FigureSpec]:
        return {"figure": FigureSpec(words="the figure", better="higher", percent=True)}

    @property
    def axes(self) -> dict[str, Axes]:
        return {"line": Axes(x="frame", y="value")}

    def settings(self) -> dict[str, object]:
        return {"value": self.value}

    def run(self, model: EvaluatedModel, seed: int) -> MetricResult:
        self.runs += 1
        better = self.value + (0.25 if model.name == "good" else 0)
        curve = Curve(chart="line", line="", x=[0.0, 1.0], samples=[[better], [better]])
        return MetricResult(samples={"figure": [better, better + seed / 100]}, curves=[curve], notes=["a note & more"])


def study(folder: Path, seeds: int = 1, value: float = 0.5) -> EvaluationRun:
    models = [WorldModel(name="good"), WorldModel(name="other")]
    return EvaluationRun(world=PASSAGE, models=models, metrics=[Given(value=value)], seeds=seeds, folder=folder)


def finished(folder: Path, seeds: int = 1) -> EvaluationRun:
    done = study(folder, seeds)
    done.begin()
    for task in done.pending():
        done.run(task)
    return done


def test_what_is_finished_is_not_measured_again_and_more_seeds_are_added(tmp_path: Path) -> None:
    finished(tmp_path)
    again = study(tmp_path, seeds=3)
    again.check()
    assert [(task.model.name, task.seed) for task in again.pending()] == [
        ("good", 1),
        ("other", 1),
        ("good", 2),
        ("other", 2),
    ]
    assert finished(tmp_path, seeds=3).results()["subjects"]["good"]["metrics"]["given"]["figures"]["figure"]["n"] == 6


def test_a_folder_is_not_shared_by_models_or_settings(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    other = study(tmp_path / "a")
    other.models[0].identity["checkpoint"] = "another"
    with pytest.raises(UsageError, match="another checkpoint"):
        other.check()
    with pytest.raises(UsageError, match="other settings"):
        study(tmp_path / "a", value=0.7).check()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match="something else"):
        study(tmp_path / "mine").check()
    with pytest.raises(UsageError, match="is a file"):
        study(tmp_path / "mine" / "thesis.txt").check()


def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    done = finished(tmp_path)
    path = done.path(done.tasks()[0])
    path.write_text(path.read_text()[:20])
    with pytest.raises(UsageError, match="is damaged"):
        study(tmp_path).check()


class Balanced(HTMLParser):
    """Notes tags that are not closed, all text, and the files that are asked for."""

    VOID = ("meta", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value for name, value in attrs if name == "src" and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_figures_charts_and_videos_and_marks_the_best(tmp_path: Path) -> None:
    done = finished(tmp_path, seeds=2)
    videos: list[CaptionedFiles] = [
        {"caption": "a <red> circle", "files": {"good": "videos/good-0.mp4", "other": "videos/other-0.mp4"}}
    ]
    page = write_page(done.results(), videos, "a heading")
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.sources == ["videos/good-0.mp4", "videos/other-0.mp4"]
    for words in ("75 %", "50 %", "What was <given>.", "a <red> circle", "a note & more", "n = 4"):
        assert words in parser.text
    assert page.count("class=best") == 1
    assert page.index("class=best") < page.index("75 %")
    assert "http" not in page.replace("http-equiv", "")  # nothing is fetched


def test_a_page_of_nothing_yet_is_a_page() -> None:
    empty = study(Path("nowhere"))
    assert "not measured" not in write_page(empty.results(), [], "nothing yet")


def test_a_chart_is_well_formed_and_says_its_values() -> None:
    lines = [
        ChartLine(name="a & b", points=[Point(x=n, y=n / 2, low=n / 4, high=n) for n in range(1, 5)]),
        ChartLine(name="one", points=[Point(x=2, y=1)]),
    ]
    for log_x in (False, True):
        root = ElementTree.fromstring(line_chart(lines, Axes(x="frame", y="value", log_x=log_x)))
        titles = [element.text for element in root.iter("title")]
        assert titles[3] == "a & b: 2 (1 to 4) at 4"
        assert len(list(root.iter("polygon"))) == 1
        assert len(titles) == 5


def test_ticks_are_round_and_span_the_values() -> None:
    assert nice_ticks(0, 1) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert nice_ticks(-3, 7)[0] <= -3
    assert len(nice_ticks(0, 0)) >= 2
    assert (short(0), short(0.01234), short(1234.5), short(3.0)) == ("0", "0.0123", "1,234", "3")


def test_videos_of_all_subjects_are_written_once(tmp_path: Path) -> None:
    models: list[EvaluatedModel] = [WorldModel(name="good")]
    assert list(show(PASSAGE, models, tmp_path / "videos", 2, 20)) == ["good", "the world itself"]
    assert list(show(PASSAGE, models, tmp_path / "videos", 2, 20)) == []
    rows = table(PASSAGE, models, tmp_path / "videos", 2)
    assert list(rows[0]["files"]) == ["the world itself", "good"]
    for row in rows:
        for name in row["files"].values():
            with av.open(str(tmp_path / name)) as container:
                assert sum(1 for _ in container.decode(video=0)) == 20


def test_every_metric_can_be_built_and_says_what_it_is(tmp_path: Path) -> None:
    for name in set(METRICS) - {"fvd"}:
        for quick in (True, False):
            (metric,) = build_metrics([name], Extent(world=PASSAGE, quick=quick))
            assert metric.name == name
            assert metric.says.endswith(".")
            assert json.dumps(metric.settings())
    with pytest.raises(UsageError, match="did you mean 'recall'"):
        build_metrics(["recal"], Extent(world=PASSAGE))
    with pytest.raises(UsageError, match="--i3d"):
        build_metrics(["fvd"], Extent(world=PASSAGE))


def test_batches_are_even_and_bounded() -> None:
    assert batches(33) == [slice(0, 11), slice(11, 22), slice(22, 33)]
    assert batches(2) == [slice(0, 2)]


def test_a_checkpoint_is_known_by_its_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("same")
    assert checkpoint_sha256(tmp_path / "a") == checkpoint_sha256(tmp_path / "b")
    (tmp_path / "b" / "weights").write_text("else")
    assert checkpoint_sha256(tmp_path / "a") != checkpoint_sha256(tmp_path / "b")
