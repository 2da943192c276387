"""Makes the small network that `malt evaluate` takes features of the world's clips from: four minutes on one core.

    python benchmarks/world_features.py [--steps 1200] [--out src/malt/assets/world_features/model.safetensors]

It learns from rendered clips alone, drawn anew at every step; its accuracy is measured on scenes that it never saw.
"""

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from malt.worlds.passage.scenes import Scenes, fully_visible, positions, render, sample_scenes
from malt.worlds.passage.world_features import CLIP_FRAMES, LANES, WorldFeatures, save_world_features

TRAIN_SEED, HELD_OUT_SEED = 50_000_000, 60_000_000
MIN_VISIBLE = 8  # frames of a clip in which a shape must be in full sight to be asked about
LATEST = 2000  # frame of a video before which clips begin
SPOILT = 0.25  # share of training clips with a little noise, as generated videos are never quite clean


def clips(num: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Rendered clips and what is true of them; -1 where a shape is too little in sight to be asked about."""
    start = int(torch.randint(LATEST, (), generator=torch.Generator().manual_seed(seed)))
    scenes = sample_scenes(num, seed)
    return render(scenes, start, CLIP_FRAMES), labels(scenes, start)


def labels(scenes: Scenes, start: int) -> dict[str, Tensor]:
    """Indices of the true values, as the network's heads are named."""
    seen = fully_visible(scenes, start, CLIP_FRAMES).sum(1) >= MIN_VISIBLE
    x = positions(scenes, start, CLIP_FRAMES)
    step = x[:, 1:] - x[:, :-1]
    turned = (step.amin(1) < 0) & (step.amax(1) > 0)
    of_lane = {"kind": scenes.kind, "colour": scenes.colour, "direction": (step[:, 0] > 0).long()}
    known = {"kind": seen, "colour": seen, "direction": seen & ~turned}
    asked = {
        f"{lane}_{label}": torch.where(known[label][:, n], value[:, n], -1)
        for n, lane in enumerate(LANES)
        for label, value in of_lane.items()
    }
    return asked | {"wall": scenes.wall, "place": scenes.place}


def train(steps: int, batch: int) -> WorldFeatures:
    """Learn all labels at once."""
    torch.manual_seed(0)
    network = WorldFeatures().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.2)
    began = time.perf_counter()
    for step in range(steps):
        frames, truth = clips(batch, TRAIN_SEED + step * batch)
        noise = 0.1 * torch.rand(batch, 1, 1, 1, 1) * (torch.rand(batch, 1, 1, 1, 1) < SPOILT)
        scores = network.answers(network(frames + noise * torch.randn_like(frames)))
        losses = [F.cross_entropy(scores[name], true, ignore_index=-1) for name, true in truth.items()]
        loss = sum(losses, start=torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.3f}, {time.perf_counter() - began:.0f} s", flush=True)
    return network.eval()


@torch.no_grad()
def accuracy(network: WorldFeatures, batches: int = 40, batch: int = 32) -> dict[str, float]:
    """Share of right answers on held-out scenes."""
    right: dict[str, int] = {}
    asked: dict[str, int] = {}
    for n in range(batches):
        frames, truth = clips(batch, HELD_OUT_SEED + n * batch)
        for name, scores in network.answers(network(frames)).items():
            known = truth[name] >= 0
            right[name] = right.get(name, 0) + int((scores.argmax(1) == truth[name])[known].sum())
            asked[name] = asked.get(name, 0) + int(known.sum())
    return {name: right[name] / asked[name] for name in right}


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("src/malt/assets/world_features/model.safetensors"))
    options = parser.parse_args()
    network = train(options.steps, options.batch)
    held_out = accuracy(network)
    save_world_features(network, held_out, options.out)
    print({name: round(share, 4) for name, share in held_out.items()})


if __name__ == "__main__":
    main()
