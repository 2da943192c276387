"""Three more of every video: mirrored, seen through a camera that points a little elsewhere, and both.

    python benchmarks/vary.py VIDEOS --out VARIED [--size 64 96] [--negate steering] [--seed 0]

Few videos are learned by heart: training then helps with those alone. A driven car in the mirror is a driven car that steers the
other way, so the actions in --negate change their sign. Actions stand in NAME.actions.csv, with a row a frame.
"""

import argparse
import csv
import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from malt.data.video_folder import find_videos

ZOOM = 0.85  # of the picture's sides that the other camera sees


def varied(source: Path, size: tuple[int, int], chance: random.Random) -> dict[str, list[np.ndarray]]:
    """Frames (h, w, 3) of each variant; of the picture, the largest part of the size's shape is seen, as `malt encode` does."""
    with av.open(str(source)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    height, width = frames[0].shape[:2]
    scale = min(height / size[0], width / size[1])
    rows, columns = (int(side * scale) for side in size)
    top, left = (height - rows) // 2, (width - columns) // 2
    whole = [frame[top : top + rows, left : left + columns] for frame in frames]
    rows, columns = (int(side * scale * ZOOM) for side in size)
    top, left = chance.randint(0, height - rows), chance.randint(0, width - columns)
    elsewhere = [frame[top : top + rows, left : left + columns] for frame in frames]
    return {
        "mirrored": [frame[:, ::-1] for frame in whole],
        "elsewhere": elsewhere,
        "elsewhere-mirrored": [frame[:, ::-1] for frame in elsewhere],
    }


def write_video(path: Path, frames: list[np.ndarray], size: tuple[int, int], fps: int) -> None:
    """An MP4 of these frames at this size, nearly without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "8", "preset": "ultrafast"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame.reformat(size[1], size[0], interpolation="AREA")))
        container.mux(stream.encode(None))


def write_actions(source: Path, path: Path, negated: list[str]) -> None:
    """The actions of a video, some of them with the other sign."""
    with source.open(newline="") as old, path.open("w", newline="") as new:
        reader = csv.DictReader(old)
        writer = csv.DictWriter(new, reader.fieldnames or [])
        writer.writeheader()
        for row in reader:
            writer.writerow({name: -float(value) if name in negated else value for name, value in row.items()})


def main() -> None:
    """Vary every video of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, default=(64, 96), help="height and width")
    parser.add_argument("--fps", type=int, default=20)
    parser.add_argument("--negate", nargs="+", default=["steering"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} is there already; name another folder, or delete it")
    options.out.mkdir(parents=True)
    chance, size = random.Random(options.seed), (options.size[0], options.size[1])
    for video in find_videos(options.videos):
        for name, frames in varied(video.path, size, chance).items():
            path = options.out / f"{video.path.stem}-{name}.mp4"
            write_video(path, frames, size, options.fps)
            if video.actions:
                negated = options.negate if "mirrored" in name else []
                write_actions(video.actions, path.with_suffix(".actions.csv"), negated)
        print(video.path.stem, flush=True)


if __name__ == "__main__":
    main()
