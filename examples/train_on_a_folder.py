"""Train a model on a folder of videos, then make a video with it; captions are taken from NAME.txt beside NAME.mp4.

python examples/train_on_a_folder.py VIDEOS --steps 2000 --out runs/mine
"""

import argparse
from dataclasses import replace
from pathlib import Path

from malt import load_pipeline
from malt.training.recipes import find_recipe, resolve
from malt.training.run import train

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("videos", type=Path, help="a folder of videos, or of shards that malt encode made")
parser.add_argument("--recipe", default="videos", help="videos, or tiny to see in a minute that all is in order")
parser.add_argument(
    "--steps", type=int, default=2000, help="of the transformer; the recipe's stages are stretched to it"
)
parser.add_argument("--memory", default="hierarchical", help="hierarchical, recurrent, slots, bank or none")
parser.add_argument("--prompt", default="", help="of the video that is made at the end")
parser.add_argument("--out", type=Path, default=Path("runs/mine"))
options = parser.parse_args()

experiment = find_recipe(options.recipe)()  # a frozen value: change what you like with dataclasses.replace
experiment = replace(experiment, transformer=replace(experiment.transformer, memory=options.memory))
given = {"data": [str(options.videos.resolve())], "optimization.num-steps": [str(options.steps)]}
folder = train(resolve(experiment, given), options.out)  # the same call goes on where a stopped run was

frames = load_pipeline(folder)(options.prompt or "a video", num_frames=32).frames[0]
frames[0].save(options.out / "first.gif", save_all=True, append_images=frames[1:], duration=60, loop=0)
print(f"the model is in {folder}, a video of it in {options.out / 'first.gif'}")
