"""What a session costs, how soon a video goes on, and whether a new prompt is obeyed while the scene stays.

python benchmarks/sessions.py [--checkpoint DIR] [--segments 40] [--switches 32] [--out docs/results/sessions.json]
"""

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from results import say, timed, write

from malt.media.pixels import to_pixels
from malt.media.video_writer import VideoSink
from malt.pipelines.loading import load_pipeline
from malt.pipelines.malt import MaltPipeline
from malt.sessions.session import Session
from malt.sessions.storage import session_folder
from malt.worlds.passage.appearances import obeyed
from malt.worlds.passage.captions import Caption, describe
from malt.worlds.passage.oracle import read_shapes
from malt.worlds.passage.scenes import sample_scenes

PROMPT = "a red circle and a blue square pass behind a wall"
SWITCH_SEED = 4_000_000  # scenes never trained on
ALIKE = 0.1  # of the range of a colour, by which two pixels count as the same


def cost(pipe: MaltPipeline, num_segments: int) -> dict:
    """Size of the session, and what saving it adds to a segment, with the video on the same disk."""
    making, saving, sizes = [], [], []
    with TemporaryDirectory(dir=".") as place:
        video = Path(place) / "walk.mp4"
        session = Session.begin(pipe, PROMPT)
        with VideoSink(video, frame_rate=pipe.frame_rate, scale=4) as sink:
            for _ in range(num_segments):
                began = time.perf_counter()
                sink.write(to_pixels(session.advance().frames[0]))
                made = time.perf_counter()
                sink.sync()
                session.save(session_folder(video))
                saving.append(time.perf_counter() - made)
                making.append(made - began)
                sizes.append(sum(file.stat().st_size for file in session_folder(video).iterdir()))
    return {
        "segments": num_segments,
        "largest_megabytes": max(sizes) / 1e6,
        "megabytes_at_the_end": sizes[-1] / 1e6,
        "seconds_a_segment": median(making),
        "seconds_a_save": median(saving),
        "saving_share": median(saving) / median(making),
    }


def resume(checkpoint: Path | None) -> dict:
    """Seconds from `malt resume` in a new process to its first new frames in the file."""
    where = [] if checkpoint is None else ["--checkpoint", str(checkpoint)]
    malt = [sys.executable, "-m", "malt"]
    with TemporaryDirectory() as place:
        video = Path(place) / "walk.mp4"
        subprocess.run([*malt, "generate", PROMPT, "--frames", "64", "--out", str(video), *where], check=True)
        before, began = video.stat().st_size, time.perf_counter()
        running = subprocess.Popen([*malt, "resume", str(video), "--frames", "96"])
        while video.stat().st_size <= before and running.poll() is None:
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        assert running.wait() == 0
    return {"seconds_to_the_first_new_frame": seconds}


def switches(pipe: MaltPipeline, count: int, retold: bool) -> dict:
    """After 64 frames under one caption, another for two segments: what of it is seen, and how much scenery stays.

    `retold` False leaves the tail remembered under the first caption. The scenery is a pixel's median over time; beside
    it stands how alike the sceneries of different videos are, which is what a cut would keep.
    """
    captions, right, named, before, alike, sceneries = _captions(2 * count), 0, 0, 0, [], []
    for n, (first, second) in enumerate(zip(captions[::2], captions[1::2], strict=True)):
        session = Session.begin(pipe, first.text, seed=n)
        old = _frames(session, 64)
        session.set_prompt(second.text)
        if not retold:
            *past, now = session.state.snapshots
            session.state = replace(session.state, snapshots=(*past, replace(now, prompt=None)))
        new = _frames(session, 64 + 2 * session.frames_ahead)
        score = obeyed(read_shapes(new), second, num_frames=len(new))
        right, named = right + score[0], named + score[1]
        before += obeyed(read_shapes(old[-len(new) :]), second, num_frames=len(new))[0]
        sceneries.append(old.median(dim=0).values)
        alike.append(_alike(sceneries[-1], new.median(dim=0).values))
    strangers = [_alike(one, other) for one, other in pairwise(sceneries)]
    return {
        "switches": count,
        "obeyed_within_two_segments": right / named,
        "of_the_new_caption_before_it_was_said": before / named,
        "scenery_kept": sum(alike) / count,
        "scenery_alike_in_other_videos": sum(strangers) / max(1, len(strangers)),
    }


def unswitched(pipe: MaltPipeline, count: int) -> dict:
    """The same captions from the beginning on, read in the same frames of a video: what a switch can reach at best."""
    right, named = 0, 0
    for n, caption in enumerate(_captions(2 * count)[1::2]):
        session = Session.begin(pipe, caption.text, seed=n)
        old = _frames(session, 64)
        new = _frames(session, len(old) + 2 * session.frames_ahead)
        score = obeyed(read_shapes(new), caption, num_frames=len(new))
        right, named = right + score[0], named + score[1]
    return {"videos": count, "obeyed": right / named}


def _frames(session: Session, until: int) -> torch.Tensor:
    return torch.cat([segment.frames[0].cpu() for segment in session.stream(until)])


def _captions(count: int) -> list[Caption]:
    """Captions that name something of the shapes, and nothing of the scenery."""
    scenes = sample_scenes(count, SWITCH_SEED)
    captions = []
    for index in range(count):
        drawn = (describe(scenes, index, SWITCH_SEED + 1000 * index + n) for n in range(1000))
        told = next(caption for caption in drawn if any(shape.kind or shape.colour for shape in caption.shapes))
        captions.append(replace(told, wall=None, place=None, action=True))
    return captions


def _alike(one: torch.Tensor, other: torch.Tensor) -> float:
    """Share of pixels that are alike."""
    return float(((one - other).abs().amax(dim=0) < 2 * ALIKE).float().mean())


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--segments", type=int, default=40)
    parser.add_argument("--switches", type=int, default=32)
    parser.add_argument("--parts", nargs="+", help="cost, resume, switch, switch_not_retold, from_the_beginning")
    parser.add_argument("--out", type=Path, default=Path("docs/results/sessions.json"))
    options = parser.parse_args()
    pipe = load_pipeline(options.checkpoint)
    figures: dict[str, object] = {}
    parts = {
        "cost": lambda: cost(pipe, options.segments),
        "resume": lambda: resume(options.checkpoint),
        "switch": lambda: switches(pipe, options.switches, retold=True),
        "switch_not_retold": lambda: switches(pipe, options.switches, retold=False),
        "from_the_beginning": lambda: unswitched(pipe, options.switches),
    }
    with timed(figures, "seconds"):
        for name in options.parts or parts:
            figures[name] = say(name, parts[name]())
    write(options.out, figures)


if __name__ == "__main__":
    main()
