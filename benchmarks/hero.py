"""The picture in the README: one past, and three futures of it; what went behind the wall comes out again in one of them.

    python benchmarks/hero.py                 # docs/media/hero.gif and hero-strip.png, of seed 12
    python benchmarks/hero.py --search 40     # how often each row comes out right, over seeds: docs/results/hero.json

The prompt names no shape. The model that ships makes a video with its memory until a shape has been out of sight for `UNSEEN`
frames, and goes on from there three times with the same noise: with its memory, with the memory emptied, and by a sliding
window, which sees the last 20 frames and for which this model was not trained. Rows are read by the world's oracle.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from results import say, write
from torch import Tensor

from malt.pipelines.loading import load_pipeline
from malt.rollouts.registry import build_rollout
from malt.worlds.passage.appearances import Appearance, follow
from malt.worlds.passage.oracle import read_shapes

PROMPT, SEED = "two shapes pass behind a wall", 12
PAST, FUTURE = 112, 112  # frames in which a moment is sought, and that are made after it
SEEN, UNSEEN = 8, 40  # frames in sight, and since then out of sight, that make a moment
ROWS = {"memory": "memory", "emptied": "memory emptied", "window": "sliding window"}
LIVE, STILL, GAP, LINE = 3, 2, 6, 24  # pixels for one of a frame, in the picture that moves and in stills; spaces
STILLS = {"seen": 24, "going in": 46, "hidden": 80, "coming out": 132, "out again": 187}
PAPER, INK, FAINT = (22, 24, 29), (240, 240, 236), (150, 152, 158)  # dark: seen on light and dark pages
STEADY = 10  # levels of 255 by which a pixel may change unseen: the file is a third as large
FRAME_MS, LAST_MS = 60, 2500


@dataclass(frozen=True)
class Moment:
    """A shape is out of sight at frame `cut`; progress: where the video stands there. made: the frames before it."""

    seed: int
    cut: int
    lane: int
    before: Appearance
    made: Tensor
    latents: Tensor
    progress: Any


class Futures:
    """The model that ships, and three ways to go on."""

    def __init__(self) -> None:
        self.malt = load_pipeline().rollout([PROMPT])
        self.window: Any = build_rollout("sliding_window", self.malt)

    def moment(self, seed: int) -> Moment | None:
        """The first border between segments at which a shape is long out of sight."""
        here, frames = self.malt.begin(seed), torch.zeros(1, 0, 3, 64, 64)
        latents: list[Tensor] = []
        while here.start < PAST:
            segment, here = self.malt.advance(here)
            frames, latents = torch.cat([frames, segment.frames], 1), [*latents, segment.latents]
            for lane in (0, 1):
                if (last := _last_seen(frames, lane)) and last.last_frame < here.start - UNSEEN:
                    return Moment(seed, here.start, lane, last, frames, torch.cat(latents, 1), here)
        return None

    def videos(self, moment: Moment) -> dict[str, Tensor]:
        """The whole video (t, 3, h, w) of every row."""
        here = moment.progress
        emptied = replace(here, memory=self.malt.begin(moment.seed).memory)
        window = replace(
            self.window.begin(moment.seed),
            tail=moment.latents[:, -self.window.num_kept :],
            decoder_cache=here.decoder_cache,
            index=here.index,
            start=here.start,
            num_made=here.index,
        )
        ways = {"memory": (self.malt, here), "emptied": (self.malt, emptied), "window": (self.window, window)}
        return {name: torch.cat([moment.made, *_go_on(way, at)], 1)[0] for name, (way, at) in ways.items()}


def _last_seen(frames: Tensor, lane: int) -> Appearance | None:
    seen = [each for each in follow(read_shapes(frames[0]), lane) if each.last_frame - each.first_frame >= SEEN]
    return seen[-1] if seen else None


def _go_on(way: Any, here: Any) -> Iterator[Tensor]:
    end = here.start + FUTURE
    while here.start < end:
        segment, here = way.advance(here)
        yield segment.frames


def came_out(video: Tensor, cut: int, lane: int) -> Appearance | None:
    """The first shape that is read in a lane after the cut."""
    seen = follow(read_shapes(video[cut:]), lane)
    return seen[0] if seen else None


def search(count: int) -> dict[str, Any]:
    """How often the shape that comes out first is the one that went in, over the first seeds that have a moment."""
    futures, moments = Futures(), []
    for seed in range(count):
        moment = futures.moment(seed)
        if moment is None:
            continue
        videos = futures.videos(moment)
        out = {name: came_out(video, moment.cut, moment.lane) for name, video in videos.items()}
        names = {name: f"{one.colour} {one.kind}" if one else None for name, one in out.items()}
        went_in = f"{moment.before.colour} {moment.before.kind}"
        moments.append(say(f"seed {seed}", {"seed": seed, "cut": moment.cut, "in": went_in, "out": names}))
    right = {name: sum(each["out"][name] == each["in"] for each in moments) for name in ROWS}
    return {"prompt": PROMPT, "seeds": count, "moments": len(moments), "came out the same": right, "each": moments}


def draw(videos: dict[str, Tensor], cut: int) -> Iterator[Image.Image]:
    """The picture at every frame: each row has what moves, and stills of what has passed."""
    pixels = {name: _steady(video) for name, video in videos.items()}
    verdicts = {name: _verdict(video, cut) for name, video in videos.items()}
    for frame in range(len(next(iter(pixels.values())))):
        last = frame == len(next(iter(pixels.values()))) - 1
        yield _page({name: each[: frame + 1] for name, each in pixels.items()}, cut, verdicts if last else {})


def _page(pixels: dict[str, np.ndarray], cut: int, verdicts: dict[str, str]) -> Image.Image:
    live, still = 64 * LIVE, 64 * STILL
    page = Image.new("RGB", (GAP + live + (GAP + still) * len(STILLS) + GAP, LINE + len(ROWS) * (live + GAP)), PAPER)
    pen, font, small = ImageDraw.Draw(page), ImageFont.load_default(19), ImageFont.load_default(15)
    pen.text((GAP, 4), f"“{PROMPT}”", INK, small)
    for row, (name, words) in enumerate(ROWS.items()):
        top, frame = LINE + row * (live + GAP), len(pixels[name]) - 1
        page.paste(_enlarged(pixels[name][frame], LIVE), (GAP, top))
        left = GAP + live + GAP
        pen.text((left, top), words if name == "memory" or frame >= cut else "memory", INK, font)
        pen.text((left + 190, top + 3), verdicts.get(name, ""), INK if name == "memory" else FAINT, small)
        for column, (says, at) in enumerate(STILLS.items()):
            place = (left + column * (still + GAP), top + live - still)
            if frame >= at:
                pen.text((place[0], place[1] - 20), says, FAINT, small)
                page.paste(_enlarged(pixels[name][at], STILL), place)
    return page


def _verdict(video: Tensor, cut: int) -> str:
    """What the oracle saw go in and come out, the upper lane first."""
    went = [_last_seen(video[None, :cut], lane) for lane in (0, 1)]
    came = [came_out(video, cut, lane) for lane in (0, 1)]
    names = [[f"{one.colour} {one.kind}" for one in seen if one] for seen in (went, came)]
    return f"in: {' and '.join(names[0])}   out: {' and '.join(names[1]) or 'nothing'}"


def _steady(video: Tensor) -> np.ndarray:
    """Frames as bytes (t, h, w, 3), in which a pixel that hardly changes stays as it is shown."""
    frames = ((video.permute(0, 2, 3, 1) + 1) * 127.5).round().numpy().astype(np.int16)
    shown = [frames[0]]
    for frame in frames[1:]:
        changed = np.abs(frame - shown[-1]).max(-1, keepdims=True) > STEADY
        shown.append(np.where(changed, frame, shown[-1]))
    return np.stack(shown).astype(np.uint8)


def _enlarged(frame: np.ndarray, factor: int) -> Image.Image:
    return Image.fromarray(frame.repeat(factor, 0).repeat(factor, 1))


def write_gif(pages: list[Image.Image], path: Path) -> None:
    """One palette for all pages, so that what does not change costs nothing."""
    palette = _palette(pages)
    first, *rest = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    durations = [FRAME_MS] * len(rest) + [LAST_MS]
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=0, disposal=1, optimize=False)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {sum(durations) / 1000:.1f} s")


def _palette(pages: list[Image.Image]) -> Image.Image:
    """Half of its colours are the most frequent (backgrounds), half the most different (shapes)."""
    some = [page.resize((page.width // LIVE, page.height // LIVE), Image.Resampling.NEAREST) for page in pages[::8]]
    sheet = Image.new("RGB", (sum(page.width for page in some), some[0].height))
    for n, page in enumerate(some):
        sheet.paste(page, (n * page.width, 0))
    halves = [sheet.quantize(127, method) for method in (Image.Quantize.MEDIANCUT, Image.Quantize.MAXCOVERAGE)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([level for half in halves for level in (half.getpalette() or [])[: 127 * 3]])
    return palette


def main() -> None:
    """Search, or make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--search", type=int, metavar="SEEDS", help="count over so many seeds, and make no picture")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=Path("docs/media"))
    parser.add_argument("--results", type=Path, default=Path("docs/results/hero.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.search is not None:
        write(options.results, search(options.search))
        return
    futures = Futures()
    moment = futures.moment(options.seed)
    if moment is None:
        raise SystemExit(f"in the video of seed {options.seed} no shape stays out of sight; choose another")
    pages = list(draw(futures.videos(moment), moment.cut))
    write_gif(pages, options.out / "hero.gif")
    pages[-1].quantize(255, dither=Image.Dither.NONE).save(options.out / "hero-strip.png", optimize=True)


if __name__ == "__main__":
    main()
