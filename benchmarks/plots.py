"""Plots of the README and the results, drawn as SVG from figures under docs/results; nothing is measured here.

    python benchmarks/plots.py    # docs/media/cost.svg, recall.svg, adapters.svg, kinds.svg, place-kinds.svg and few-steps.svg

Text is large enough for a phone, and colours change with a light or dark page. Every figure comes from the JSON that a panel's
last line names, which holds the command that measured it.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

RESULTS, MEDIA = Path("docs/results"), Path("docs/media")
WIDTH, LEFT, RIGHT, TOP, HEIGHT, BOTTOM = 640, 74, 178, 62, 250, 62  # of a panel; HEIGHT is the plot's alone
STYLE = """
text { font: 17px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600; font-size: 19px }
.faint { font-size: 14px; fill: #6a737d } .grid { stroke: #6a737d; stroke-opacity: .3 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .faint { fill: #9198a1 } }
"""
BLUE, ORANGE, GREEN, PURPLE, GREY = "#2f81f7", "#e0702c", "#2da676", "#a667d8", "#8b949e"


class Point(NamedTuple):
    """A value and, where there is one, its 95 % interval."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A line with its name at its right end."""

    name: str
    colour: str
    points: Sequence[Point]
    dash: str = ""


@dataclass(frozen=True)
class Panel:
    """One plot; `y_ticks` span its height, equal ratios apart where `log`."""

    title: str
    x_name: str
    y_name: str
    lines: Sequence[Line]
    x_ticks: dict[float, str]
    y_ticks: dict[float, str]
    source: str
    log: bool = False

    def x(self, value: float) -> float:
        """From a length to a place; equal ratios are equally far apart."""
        first, last = math.log(min(self.x_ticks)), math.log(max(self.x_ticks))
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log(value) - first) / (last - first)

    def y(self, value: float) -> float:
        """From a figure to a place below the panel's top."""
        low, high, at = (math.log(v) if self.log else v for v in (min(self.y_ticks), max(self.y_ticks), value))
        return TOP + HEIGHT * (1 - (at - low) / (high - low))


def svg(panels: Sequence[Panel]) -> str:
    """Panels, one below the other."""
    each = TOP + HEIGHT + BOTTOM
    drawn = [f'<g transform="translate(0 {n * each})">{"".join(_panel(one))}</g>' for n, one in enumerate(panels)]
    view = f"0 0 {WIDTH} {each * len(panels)}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" role="img"><style>{STYLE}</style>{"".join(drawn)}</svg>\n'


def _panel(panel: Panel) -> Iterable[str]:
    base, right = TOP + HEIGHT, WIDTH - RIGHT
    yield _text(8, 24, panel.title, "title")
    yield _text(8, 46, panel.y_name, "faint")
    for value, word in panel.y_ticks.items():
        y = panel.y(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(LEFT - 8, y + 6, word, anchor="end")
    for value, word in panel.x_ticks.items():
        yield _text(panel.x(value), base + 22, word, anchor="middle")
    yield _text(right, base + 42, panel.x_name, "faint", anchor="end")
    yield _text(8, base + 42, panel.source, "faint")
    yield from (_band(panel, line) + _line(panel, line) for line in panel.lines)
    yield from _names(panel)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def _band(panel: Panel, line: Line) -> str:
    """A whisker at every point that has an interval."""
    return "".join(
        f'<line x1="{panel.x(p.x):.1f}" x2="{panel.x(p.x):.1f}" y1="{panel.y(p.low):.1f}" y2="{panel.y(p.high):.1f}" '
        f'stroke="{line.colour}" stroke-width="6" stroke-opacity="0.35" stroke-linecap="round"/>'
        for p in line.points
        if p.low is not None and p.high is not None and p.high > p.low
    )


def _line(panel: Panel, line: Line) -> str:
    places = [(panel.x(p.x), panel.y(p.y)) for p in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = (
        ""
        if line.dash
        else "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{line.colour}"/>' for x, y in places)
    )
    stroke = f'stroke="{line.colour}" stroke-width="3" stroke-dasharray="{line.dash}"'
    return f'<polyline points="{path}" fill="none" {stroke} stroke-linejoin="round"/>{dots}'


def _names(panel: Panel) -> Iterable[str]:
    """The lines' names at their ends, pushed apart where they would lie on one another."""
    ends = sorted(((panel.y(line.points[-1].y), line.name, line.colour) for line in panel.lines), reverse=True)
    above = math.inf
    for y, name, colour in ends:
        above = min(y + 6, above - 21)
        yield f'<text x="{WIDTH - RIGHT + 10}" y="{above:.1f}" style="fill:{colour};font-weight:600">{escape(name)}</text>'


def cost() -> str:
    """Seconds for one more second, ours against all at once; and a frame in others' pipelines."""
    return svg([_one_more_second(), _a_frame()])


def _one_more_second() -> Panel:
    subjects = _figures("proof-240.json")["subjects"]
    lines = [
        Line(name, colour, _curve(subjects[key]["metrics"]["cost"], "seconds for one more second"))
        for key, name, colour in (("full", "all at once", ORANGE), ("malt", "malt", BLUE))
    ]
    return Panel(
        "One more second of video",
        "frames there are already",
        "seconds it takes, one processor core",
        lines,
        {n: f"{n:,}" for n in (64, 256, 1024)},
        {0.1: "0.1", 1: "1", 10: "10", 100: "100"},
        "docs/results/proof-240.json",
        log=True,
    )


def _a_frame() -> Panel:
    cases = _figures("others.json")["cases"]
    chosen = (
        ("malt", "malt", BLUE),
        ("malt, slots, wide windows", "malt, slots", BLUE),
        ("SkyReels-V2", "SkyReels-V2", GREEN),
        ("Latte", "Latte", ORANGE),
        ("Framepack", "Framepack", PURPLE),
    )
    lines = [
        Line(name, colour, [Point(float(n), 1000 * case["seconds_per_frame"]) for n, case in cases[key].items()])
        for key, name, colour in chosen
    ]
    return Panel(
        "A frame, against other pipelines of equal size",
        "latent frames of the video",
        "milliseconds for each, one processor core",
        lines,
        {n: f"{n:,}" for n in (64, 256, 1024)},
        {n: str(n) for n in (0, 10, 20, 30, 40, 50)},
        "docs/results/others.json",
    )


def recall() -> str:
    """What comes out as it went in: of the model that ships, and of two networks that were trained alike."""
    return svg([_packaged(), _trained_alike()])


def _packaged() -> Panel:
    found = _figures("quality.json")["recall"]
    each = found["memory"]["same, memory as it is"]["n"] // len(found["memory"]["by_hidden_frames"]["memory as it is"])
    lines = [
        Line(
            name,
            colour,
            [_share(bin_name, share, each) for bin_name, share in found["memory"]["by_hidden_frames"][key].items()],
        )
        for key, name, colour in (
            ("memory as it is", "memory", BLUE),
            ("another's memory", "another video's", GREEN),
            ("memory emptied", "emptied", ORANGE),
        )
    ]
    return _recall("The shape that was hidden comes out again", [*lines, _chance(found["chance"])], "quality.json")


def _trained_alike() -> Panel:
    subjects = _figures("proof-240.json")["subjects"]
    chosen = (
        ("malt", "memory as it is", "memory", BLUE),
        ("sliding_window", "memory as it is", "sliding window", PURPLE),
        ("malt", "memory emptied", "emptied", ORANGE),
    )
    lines = [
        Line(name, colour, _curve(subjects[key]["metrics"]["recall"], "same", use)) for key, use, name, colour in chosen
    ]
    chance = _chance(_figures("quality.json")["recall"]["chance"])
    return _recall("Two networks of one size, trained alike, briefly", [*lines, chance], "proof-240.json")


def adapters() -> str:
    """What comes out as it went in, on a base that was trained without memory."""
    subjects = _figures("adapters.json")["subjects"]
    chosen = (
        ("memory", "memory as it is", "adapter", BLUE),
        ("anchor", "memory as it is", "anchors", GREEN),
        ("context", "memory as it is", "raw context", PURPLE),
        ("memory", "memory emptied", "emptied", ORANGE),
        ("base", "memory as it is", "base alone", GREY),
    )
    lines = [
        Line(name, colour, _curve(subjects[key]["metrics"]["recall"], "same", use)) for key, use, name, colour in chosen
    ]
    return svg([_recall("A frozen base with a memory beside it", lines, "adapters.json")])


def kinds() -> str:
    """Every kind of memory at equal bytes and equal training: recall by hidden time."""
    chosen = (
        ("archive", "archive", BLUE),
        ("adaptive", "adaptive", GREEN),
        ("multimodal", "multimodal", PURPLE),
        ("hierarchical", "hierarchical", ORANGE),
        ("context", "20 raw segments", GREY),
    )
    figures = _figures("kinds.json")
    lines = [
        Line(name, colour, [_of_span(*each) for each in figures[key]["recall"]["memory as it is"].items()])
        for key, name, colour in chosen
    ]
    return svg(
        [
            Panel(
                "Kinds of memory: what was hidden comes out again",
                "frames hidden",
                "share of the same kind and colour, of 64 or 96 each",
                lines,
                {96.0: "64-127", 192.0: "128-255", 384.5: "256-512"},
                {0: "0", 0.1: "10 %", 0.2: "20 %", 0.3: "30 %"},
                "docs/results/kinds.json",
            )
        ]
    )


def place_kinds() -> str:
    """What a memory brings when one comes back to a place: read by where one is, and by content."""
    chosen = (
        ("places", "by place", BLUE),
        ("archive", "archive", GREEN),
        ("adaptive", "adaptive", PURPLE),
        ("context", "20 raw segments", GREY),
    )
    figures = _figures("maze-kinds.json")
    lines = [
        Line(name, colour, [_gain(*each) for each in figures[key]["kept over emptied"].items()])
        for key, name, colour in chosen
    ]
    return svg(
        [
            Panel(
                "What a memory brings on return",
                "frames away",
                "PSNR with the memory kept over emptied, dB, with 95 % intervals",
                lines,
                {96.0: "64-127", 192.0: "128-255", 384.0: "256-511"},
                {-2: "-2", -1: "-1", 0: "0", 1: "1", 2: "2", 3: "3"},
                "docs/results/maze-kinds.json",
            )
        ]
    )


def _gain(name: str, found: dict[str, float]) -> Point:
    return Point(_middle(name), found["mean"], found["low"], found["high"])


def _of_span(name: str, share: dict[str, float]) -> Point:
    return Point(_middle(name), share["share"])


def _middle(span: str) -> float:
    first, last = map(int, span.split("-"))
    return (first + last + 1) / 2


def _recall(title: str, lines: Sequence[Line], source: str) -> Panel:
    return Panel(
        title,
        "frames hidden",
        "share of the same kind and colour, with 95 % intervals",
        lines,
        {12.0: "8-15", 24.0: "16-31", 48.0: "32-63", 96.0: "64-127"},
        {0: "0", 0.25: "25 %", 0.5: "50 %", 0.75: "75 %", 1: "100 %"},
        f"docs/results/{source}",
    )


def _chance(share: float) -> Line:
    return Line("chance", GREY, [Point(12, share), Point(96, share)], dash="5 5")


def few_steps() -> str:
    """What fewer passes cost: of a student that makes one a step, and of its teacher that makes three."""
    found, lines = _figures("few-steps.json"), []
    for name, each, colour in (("student", 1, BLUE), ("teacher", 3, ORANGE)):
        steps = {int(key.split(", ")[1].split()[0]): value for key, value in found.items() if key.startswith(name)}
        points = [Point(1 + each * count, figures["captions"]["obeyed"]) for count, figures in sorted(steps.items())]
        lines.append(Line(name, colour, points))
    ticks = {float(count): str(count) for count in (2, 3, 5, 9, 13, 37)}
    title, y_name = "Captions obeyed", "share of named kinds and colours in 64 videos"
    y_ticks = {0.5: "50 %", 0.75: "75 %", 1: "100 %"}
    return svg([Panel(title, "passes of a segment", y_name, lines, ticks, y_ticks, "docs/results/few-steps.json")])


def _curve(metric: dict[str, Any], chart: str, name: str = "") -> list[Point]:
    """A curve as a study keeps it."""
    found = next(curve for curve in metric["curves"] if curve["chart"] == chart and curve["line"] == name)
    return [Point(point["x"], point["mean"], point["low"], point["high"]) for point in found["points"]]


def _share(bin_name: str, share: float, count: int) -> Point:
    """A share of `count` moments with Wilson's interval, at the middle of `first-last` hidden frames."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return Point(_middle(bin_name), share, max(0.0, middle - half), min(1.0, middle + half))


def _figures(name: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((RESULTS / name).read_text())["figures"]
    return figures


def main() -> None:
    """Draw all."""
    plots = {"cost": cost(), "recall": recall(), "adapters": adapters(), "kinds": kinds(), "few-steps": few_steps()}
    plots["place-kinds"] = place_kinds()
    for name, drawn in plots.items():
        (MEDIA / f"{name}.svg").write_text(drawn)
        print(f"written to {MEDIA / name}.svg")


if __name__ == "__main__":
    main()
