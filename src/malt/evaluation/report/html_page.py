"""The page of an evaluation: one HTML file with a table, charts and videos that play together, for anyone to judge by."""

from collections.abc import Iterable
from html import escape

from malt.evaluation.evaluation_run import MeasuredMetric, Results, StoredSpec
from malt.evaluation.metrics.base import Axes
from malt.evaluation.report.chart import COLOURS, DASHES, GREY, ChartLine, Point, line_chart, short
from malt.evaluation.report.html_style import SCRIPT, STYLE
from malt.evaluation.report.side_by_side import WORLD, CaptionedFiles
from malt.evaluation.result import Figure


def write_page(results: Results, videos: list[CaptionedFiles], heading: str) -> str:
    """The page as text; `videos` are captions with files by subject."""
    body = [
        f"<h1>How well do long videos hold up?</h1><p class='lead'>{escape(heading)}</p>",
        _videos(videos, list(results["subjects"])),
        _table(results),
        *(_metric(results, name) for name in results["metrics"]),
        _how(results),
    ]
    head = (
        f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>malt evaluate</title>{STYLE}"
    )
    return (
        f"<!doctype html><html lang='en'><head>{head}</head><body><main>{''.join(body)}</main>{SCRIPT}</body></html>\n"
    )


def _videos(videos: list[CaptionedFiles], subjects: list[str]) -> str:
    """A row a caption, a column a subject; one bar plays them all."""
    shown = [row for row in videos if row["files"]]
    if not shown:
        return ""
    names = [name for name in (WORLD, *subjects) if any(name in row["files"] for row in shown)]
    heads = "".join(f"<th>{_chip(name, subjects)}{escape(name)}</th>" for name in names)
    rows = "".join(
        f"<tr><td colspan='{len(names)}' class='caption'>{escape(row['caption'])}</td></tr>"
        f"<tr>{''.join(_video(row['files'].get(name)) for name in names)}</tr>"
        for row in shown
    )
    bar = "<button id='play'>Play all</button><input id='seek' type='range' min='0' max='1000' value='0'><span id='time'></span>"
    said = f"Every row has one caption. The column of {WORLD} shows the video that the caption was written for."
    return (
        f"<section><h2>Videos</h2><p>{said}</p><div class='bar'>{bar}</div><div class='wide'><table class='videos'>"
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _video(path: str | None) -> str:
    if path is None:
        return "<td>none</td>"
    return f"<td><video muted loop playsinline preload='auto' src='{escape(path, quote=True)}'></video></td>"


def _table(results: Results) -> str:
    """The headline figures, a column a subject, the best marked where there is a choice."""
    subjects = results["subjects"]
    heads = "".join(f"<th>{_chip(name, list(subjects))}{escape(name)}</th>" for name in subjects)
    rows = [
        row
        for metric, about in results["metrics"].items()
        for row in _rows(
            metric, about["headlines"], {name: each["metrics"].get(metric) for name, each in subjects.items()}
        )
    ]
    if not rows:
        return ""
    said = "Each figure has its 95 % interval and the number of videos, or of seeds, behind it. Arrows say which way is better."
    return (
        f"<section><h2>Figures</h2><p>{said}</p><div class='wide'><table class='figures'><thead><tr><th></th>{heads}</tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _rows(metric: str, headlines: dict[str, StoredSpec], found: dict[str, MeasuredMetric | None]) -> Iterable[str]:
    for name, spec in headlines.items():
        figures = {subject: each["figures"].get(name) if each else None for subject, each in found.items()}
        if all(figure is None for figure in figures.values()):
            continue
        best = _best(figures, spec["better"])
        cells = "".join(_cell(figure, subject in best, spec["percent"]) for subject, figure in figures.items())
        arrow = {"higher": " ↑", "lower": " ↓", None: ""}[spec["better"]]
        yield f"<tr><th><span class='of'>{escape(metric)}</span> {escape(spec['words'])}{arrow}</th>{cells}</tr>"


def _best(figures: dict[str, Figure | None], better: str | None) -> set[str]:
    """Those with the best mean, if there is more than one to choose from."""
    means = {name: figure["mean"] for name, figure in figures.items() if figure and figure["mean"] is not None}
    if better is None or len(means) < 2:
        return set()
    bound = max(means.values()) if better == "higher" else min(means.values())
    return {name for name, mean in means.items() if mean == bound}


def _cell(figure: Figure | None, is_best: bool, percent: bool) -> str:
    if figure is None:
        return "<td class='none'>not measured</td>"
    if figure["mean"] is None:
        return "<td class='none'>none: there was nothing to compare with</td>"
    low, high = figure["low"], figure["high"]
    interval = "" if low is None or high is None else f"{_said(low, percent)} to {_said(high, percent)}, "
    over = f"n = {figure['n']}" if figure["over"] == "videos" else f"{figure['n']} seed{'s' if figure['n'] > 1 else ''}"
    mean = _said(figure["mean"], percent)
    return f"<td{' class=best' if is_best else ''}><b>{mean}</b><small>{interval}{over}</small></td>"


def _said(value: float, percent: bool) -> str:
    return f"{100 * value:.0f} %" if percent else short(value)


def _metric(results: Results, name: str) -> str:
    """What a metric measured: in words, as charts, and with what a reader must know."""
    about = results["metrics"][name]
    found = {subject: each["metrics"][name] for subject, each in results["subjects"].items() if name in each["metrics"]}
    if not found:
        return ""
    charts = [_figure(results, name, chart, found) for chart in about["axes"]]
    notes = dict.fromkeys(note for each in found.values() for note in each["notes"])
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        f"<section><h2>{escape(name.capitalize())}</h2><p>{escape(about['says'])}</p>"
        f"<div class='charts'>{''.join(charts)}</div><ul>{listed}</ul></section>"
    )


def _figure(results: Results, metric: str, chart: str, found: dict[str, MeasuredMetric]) -> str:
    axes = Axes(**results["metrics"][metric]["axes"][chart])
    lines = _lines(chart, found, list(results["subjects"]))
    if not lines:
        return ""
    keys = "".join(f"<span class='key'>{_stroke(line)}{escape(line.name)}</span>" for line in lines)
    return f"<figure><figcaption>{escape(axes.y)}</figcaption>{line_chart(lines, axes)}<div class='keys'>{keys}</div></figure>"


def _lines(chart: str, found: dict[str, MeasuredMetric], subjects: list[str]) -> list[ChartLine]:
    """Every subject's lines in its colour; what the world itself does, once, in grey."""
    lines: list[ChartLine] = []
    for subject, each in found.items():
        for number, curve in enumerate(curve for curve in each["curves"] if curve["chart"] == chart):
            points = [
                Point(x=point["x"], y=point["mean"], low=point["low"], high=point["high"])
                for point in curve["points"]
                if point["mean"] is not None
            ]
            of_world = curve["line"] == WORLD
            name = WORLD if of_world else ", ".join(filter(None, (subject, curve["line"])))
            if points and not (of_world and any(line.name == WORLD for line in lines)):
                colour = GREY if of_world else _colour(subject, subjects)
                lines.append(ChartLine(name=name, points=points, colour=colour, dash=DASHES[number % len(DASHES)]))
    return lines


def _how(results: Results) -> str:
    """What is needed to judge the figures, or to make them again."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    machine = ", ".join(f"{name}: {value}" for name, value in results["machine"].items())
    rows = [
        f"<li>{_chip(name, list(results['subjects']))}{escape(name)}: "
        f"{escape(', '.join(f'{key} {value}' for key, value in each['identity'].items()))}</li>"
        for name, each in results["subjects"].items()
    ]
    said = f"Intervals are {results['intervals']}. All numbers are in results.json, those of single videos under runs/."
    return (
        f"<section><h2>How this was measured</h2><p>{escape(said)}</p><ul>{''.join(rows)}</ul>"
        f"<p class='small'>{escape(versions)}; {escape(machine)}</p></section>"
    )


def _colour(subject: str, subjects: list[str]) -> str:
    return COLOURS[subjects.index(subject) % len(COLOURS)]


def _chip(name: str, subjects: list[str]) -> str:
    colour = _colour(name, subjects) if name in subjects else GREY
    return f"<i class='chip' style='background:{colour}'></i>"


def _stroke(line: ChartLine) -> str:
    return (
        f"<svg class='stroke' viewBox='0 0 26 6'><line x1='0' x2='26' y1='3' y2='3' stroke='{line.colour}' "
        f"stroke-width='2.5' stroke-dasharray='{line.dash}'/></svg>"
    )
