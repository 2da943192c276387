"""Use malt as any pipeline of diffusers: another scheduler, a negative prompt, a callback, PIL images.

python examples/diffusers_pipeline.py "a yellow triangle passes behind a stone wall" --out triangle.gif
"""

import argparse
from pathlib import Path

import torch
from diffusers import UniPCMultistepScheduler

from malt import MaltPipeline

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("prompt", nargs="?", default="a yellow triangle passes behind a stone wall")
parser.add_argument("--model", default="default", help="a model that comes with the package, or a folder")
parser.add_argument("--frames", type=int, default=64)
parser.add_argument("--out", type=Path, default=Path("triangle.gif"))
options = parser.parse_args()

pipe = MaltPipeline.from_pretrained(options.model)
pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
steps: list[int] = []


def note(pipe: MaltPipeline, step: int, timestep: torch.Tensor, tensors: dict) -> dict:
    """Hear of every denoising step of every segment; `tensors` may be changed and handed back."""
    steps.append(step)
    return tensors


generator = torch.Generator().manual_seed(0)
made = pipe(options.prompt, "at night", num_frames=options.frames, generator=generator, callback_on_step_end=note)
frames = [image.resize((256, 256), 0) for image in made.frames[0]]
frames[0].save(options.out, save_all=True, append_images=frames[1:], duration=60, loop=0)
print(f"{options.out}: {len(frames)} frames in {len(steps)} denoising steps of {type(pipe.scheduler).__name__}")
