"""Line charts as SVG: lines with bands for their intervals, drawn with nothing but text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from malt.evaluation.metrics.base import Axes

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 22, 14, 46
COLOURS = ("#2f6fde", "#d9672b", "#2a9d74", "#a64fc4", "#b8940f", "#c73e5c", "#3aa3b8", "#7a6a58")
GREY = "#8a8a8a"
DASHES = ("", "7 4", "2 3", "9 3 2 3")


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value with its interval; None where there is none."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class ChartLine:
    """A named line; lines of one subject share a colour, and differ in their dashes."""

    name: str
    points: Sequence[Point]
    colour: str = COLOURS[0]
    dash: str = ""


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """From values to places along an axis."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)


def line_chart(lines: Sequence[ChartLine], axes: Axes) -> str:
    """One chart; values that are all of one sign have an axis that reaches to 0."""
    points = [point for line in lines for point in line.points]
    ys = [y for point in points for y in (point.y, point.low, point.high) if y is not None]
    ticks = nice_ticks(min(0.0, *ys), max(0.0, *ys))
    xs = sorted({point.x for point in points})
    across = _Scale(low=xs[0], high=xs[-1], start=LEFT, end=WIDTH - RIGHT, log=axes.log_x and xs[0] > 0)
    upward = _Scale(low=ticks[0], high=ticks[-1], start=HEIGHT - BOTTOM, end=TOP)
    x_ticks = (
        _thinned(xs) if axes.log_x or len(xs) <= 4 else [x for x in nice_ticks(xs[0], xs[-1]) if xs[0] <= x <= xs[-1]]
    )
    parts = [
        *(_y_tick(tick, upward) for tick in ticks),
        *(_x_tick(tick, across) for tick in x_ticks),
        *(_band(line, across, upward) for line in lines),
        *(_line(line, across, upward) for line in lines),
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(axes.x)}</text>',
    ]
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(axes.y, quote=True)}">{"".join(parts)}</svg>'


def nice_ticks(low: float, high: float, num: int = 5) -> list[float]:
    """Round numbers that span low to high, about `num` of them."""
    span = (high - low) or abs(high) or 1.0
    rough = span / (num - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, max(last, first + 1) + 1)]


def short(value: float) -> str:
    """A number as short as it can be said: three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _thinned(xs: list[float], most: int = 6) -> list[float]:
    return xs[:: -(-len(xs) // most)]


def _y_tick(tick: float, upward: _Scale) -> str:
    y = upward(tick)
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
    return f'{line}<text x="{LEFT - 7}" y="{y + 4}" text-anchor="end">{short(tick)}</text>'


def _x_tick(tick: float, across: _Scale) -> str:
    return f'<text x="{across(tick)}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{short(tick)}</text>'


def _band(line: ChartLine, across: _Scale, upward: _Scale) -> str:
    """The interval round a line, where it has one."""
    edges = [
        (across(p.x), upward(p.low), upward(p.high)) for p in line.points if p.low is not None and p.high is not None
    ]
    if len(edges) < 2:
        return ""
    corners = [f"{x},{high}" for x, _, high in edges] + [f"{x},{low}" for x, low, _ in reversed(edges)]
    return f'<polygon points="{" ".join(corners)}" fill="{line.colour}" fill-opacity="0.13"/>'


def _line(line: ChartLine, across: _Scale, upward: _Scale) -> str:
    places = " ".join(f"{across(p.x)},{upward(p.y)}" for p in line.points)
    path = (
        f'<polyline points="{places}" fill="none" stroke="{line.colour}" stroke-width="2" '
        f'stroke-dasharray="{line.dash}" stroke-linejoin="round"/>'
    )
    return path + "".join(_dot(line, point, across(point.x), upward(point.y)) for point in line.points)


def _dot(line: ChartLine, point: Point, x: float, y: float) -> str:
    """A point that says its value when pointed at; small ones where there are many."""
    radius = 3.5 if len(line.points) <= 12 else 1.5
    interval = "" if point.low is None or point.high is None else f" ({short(point.low)} to {short(point.high)})"
    said = escape(f"{line.name}: {short(point.y)}{interval} at {short(point.x)}")
    return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{line.colour}"><title>{said}</title></circle>'
