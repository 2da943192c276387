"""Paints videos of mazes in many processes and encodes them on a GPU, as `malt train` would in one: a run's bank.

    python experiments/maze_bank.py --out runs/rooms --videos 3000 --frames 368 --processes 15 --device cuda

The file is OUT/bank.safetensors, which a run in OUT learns from instead of painting.
"""

import argparse
import multiprocessing
from functools import partial
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file

from malt.codecs.malt import MaltCodec
from malt.models.autoencoder import AutoencoderMalt
from malt.pipelines.autoencoder_loading import load_autoencoder
from malt.training.sources.worlds import DATA_SEED
from malt.worlds.maze.maze_world import Maze

AT_ONCE = 16  # videos that a process paints before it hands them over


def painted(first: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Videos as bytes, and what is done in them."""
    torch.set_num_threads(1)
    clip = Maze().render(range(first, first + AT_ONCE), 0, frames)
    assert clip.actions is not None
    return ((clip.frames + 1) * 127.5).round().to(torch.uint8), clip.actions


@torch.no_grad()
def main() -> None:
    """Paint, encode, and write the bank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codec", type=Path, default=Path("src/malt/assets/maze"))
    parser.add_argument("--out", type=Path, default=Path("runs/rooms"))
    parser.add_argument("--videos", type=int, default=3000)
    parser.add_argument("--frames", type=int, default=368)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    autoencoder = cast(AutoencoderMalt, load_autoencoder(options.codec).to(options.device))
    codec, latents, actions = MaltCodec(autoencoder), [], []
    firsts = range(2 * DATA_SEED, 2 * DATA_SEED + options.videos, AT_ONCE)
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for frames, done in pool.imap(partial(painted, frames=options.frames), firsts):
            with torch.autocast(options.device, torch.bfloat16):
                clip = frames.to(options.device).float() / 127.5 - 1
                latents.append(codec.encode(clip)[0].half().cpu())
            actions.append(done.unflatten(1, (-1, codec.time_compression)).flatten(2))
    options.out.mkdir(parents=True, exist_ok=True)
    bank = {"latents": torch.cat(latents), "actions": torch.cat(actions)}
    save_file(
        {name: each[: options.videos].contiguous() for name, each in bank.items()}, options.out / "bank.safetensors"
    )


if __name__ == "__main__":
    main()
