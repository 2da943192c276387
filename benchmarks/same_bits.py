"""Does this tree compute what another revision computes, bit for bit?

    python benchmarks/same_bits.py --against v0.1.0 [--quick]

Both run the same commands on this machine with one thread: videos of the two models that ship, with a change of prompt,
going on, a branch and a rewind, for three seeds; and `malt train tiny`. Frames, the sessions' tensors, the trained weights
and the journal must be equal. Only the command line is used, so that modules and classes may have other names. Hashes are
never stored: processors differ. Exit code 1 and a sentence for every difference. `--quick` makes less: one seed, few
denoising steps, no rewind.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

import av
import torch
from safetensors import safe_open

HERE = Path(__file__).parent.parent
TIMES = ("second", "time", "bytes", "memory_peak")  # parts of the names of figures that no two runs share
CIRCLE, SQUARE = "a red circle and a blue square pass behind a wall", "a green triangle rolls past a wall"
RENAMED = {"--policy": "--driver"}  # today's option, and what it was called before


@dataclass(frozen=True)
class Tree:
    """A source tree and the folder its runs write to."""

    name: str
    src: Path
    out: Path

    def malt(self, *arguments: str) -> None:
        """Run one command of this tree, where its options have the names they have there."""
        words = [self._word(arguments[0], argument) for argument in arguments]
        done = subprocess.run(
            [sys.executable, "-m", "malt", *words],
            cwd=self.out,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{self.name}: malt {' '.join(words)} failed\n{done.stderr[-2000:]}")

    @property
    def environment(self) -> dict[str, str]:
        """This process's, with the tree first on the path and one thread that waits without spinning."""
        return {**os.environ, "PYTHONPATH": str(self.src), "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}

    def _word(self, verb: str, word: str) -> str:
        return RENAMED[word] if word in RENAMED and word not in _help(self, verb) else word


@cache
def _help(tree: Tree, verb: str) -> str:
    command = [sys.executable, "-m", "malt", verb, "--help"]
    return subprocess.run(command, env=tree.environment, capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Amount:
    """How much is made: seeds, frames of a video, denoising steps where not the model's own, and whether there is a rewind."""

    seeds: tuple[int, ...] = (0, 1, 2)
    frames: int = 128
    steps: tuple[str, ...] = ()
    rewinds: bool = True


QUICK = Amount(seeds=(0,), frames=64, steps=("--steps", "4"), rewinds=False)


def make_default(tree: Tree, seed: int, amount: Amount) -> None:
    """The default model: a prompt and another, going on under a third, a branch of another seed, a rewind."""
    half, name = amount.frames // 2, f"default-{seed}"
    longer, out, other = str(half + half // 2), f"{name}.mp4", f"{name}-branch.mp4"
    first = ("--frames", str(half), "--seed", str(seed), "--out", out, "--scale", "1", *amount.steps)
    tree.malt("generate", f"{CIRCLE} [{half // 2}f] | {SQUARE}", *first)
    tree.malt("resume", out, "--frames", longer, "--prompt", CIRCLE)
    tree.malt("branch", out, "--at", str(half), "--seed", str(seed + 1), "--frames", longer, "--out", other)
    if amount.rewinds:
        tree.malt("rewind", out, "--to", str(half // 2))
        tree.malt("resume", out, "--frames", str(half))


def make_drive(tree: Tree, seed: int, amount: Amount) -> None:
    """The model `drive` with its cruise, and going on."""
    out = f"drive-{seed}.mp4"
    drive = ("--model", "drive", "--policy", "cruise", "--scale", "1", "--seed", str(seed), *amount.steps)
    tree.malt("generate", *drive, "--frames", str(amount.frames // 2), "--out", out)
    tree.malt("resume", out, "--frames", str(amount.frames))


def train_tiny(tree: Tree) -> None:
    """The smallest recipe, whole."""
    tree.malt("train", "tiny", "--out", "tiny", "--seed", "0", "--device", "cpu", "--threads", "1")


def make_all(tree: Tree, amount: Amount) -> None:
    """Everything that is compared."""
    tree.out.mkdir()
    for seed in amount.seeds:
        make_default(tree, seed, amount)
        make_drive(tree, seed, amount)
    train_tiny(tree)


def planes(video: Path) -> list[bytes]:
    """Every frame of a video as the bytes its file holds: no conversion of colours between."""
    with av.open(str(video)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


def tensors(folder: Path) -> set[str]:
    """Hashes of the tensors in the safetensors files of a folder, whatever they are called."""
    found: set[str] = set()
    for file in sorted(folder.rglob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118
                data = opened.get_tensor(key).contiguous().flatten().view(torch.uint8).numpy()
                found.add(sha256(data.tobytes()).hexdigest())
    return found


def figures(journal: Path) -> list[dict[str, float]]:
    """The lines of a journal without what is measured in time or bytes."""
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    return [{name: n for name, n in line.items() if not any(part in name for part in TIMES)} for line in lines]


def differences(old: Path, new: Path) -> Iterator[str]:
    """A sentence for everything that the two trees made differently."""
    names = [sorted(str(path.relative_to(tree)) for path in tree.rglob("*.mp4")) for tree in (old, new)]
    if names[0] != names[1]:
        yield f"the trees wrote other videos: {names[0]} and {names[1]}"
        return
    for name in names[0]:
        yield from _differing_frames(name, planes(old / name), planes(new / name))
    for folder in [*sorted(old.rglob("*.session")), old / "tiny" / "pipeline"]:
        hashed = tensors(folder)
        if missing := hashed - tensors(new / folder.relative_to(old)):
            yield f"{folder.relative_to(old)}: {len(missing)} of {len(hashed)} tensors differ"
    for journal in sorted(old.rglob("*.jsonl")):
        yield from _differing_lines(journal.name, figures(journal), figures(new / journal.relative_to(old)))


def _differing_frames(name: str, old: list[bytes], new: list[bytes]) -> Iterator[str]:
    unequal = [n for n, (one, other) in enumerate(zip_longest(old, new)) if one != other]
    if unequal:
        yield f"{name}: {len(unequal)} of {len(old)} frames differ, the first is frame {unequal[0]}"


def _differing_lines(name: str, old: list[dict[str, float]], new: list[dict[str, float]]) -> Iterator[str]:
    for n, (one, other) in enumerate(zip_longest(old, new)):
        if one != other:
            yield f"{name}: line {n + 1} is {one} and {other}"
            return


def unpack(revision: str, folder: Path) -> Path:
    """The sources of a revision, without touching this tree."""
    done = subprocess.run(["git", "archive", revision, "src"], cwd=HERE, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"cannot read the revision {revision}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def main() -> None:
    """Run both trees side by side and compare what they made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", required=True, help="the revision that is held to be right")
    parser.add_argument("--quick", action="store_true", help="one seed, 64 frames a model, 4 steps")
    parser.add_argument("--keep", type=Path, help="a new folder to leave everything in")
    options = parser.parse_args()
    amount = QUICK if options.quick else Amount()
    root = options.keep or Path(tempfile.mkdtemp(prefix="same-bits-"))
    root.mkdir(parents=True, exist_ok=True)
    try:
        old = Tree(options.against, unpack(options.against, root / "sources"), root / "old")
        new = Tree("this tree", HERE / "src", root / "new")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda tree: make_all(tree, amount), (old, new)))
        found = list(differences(old.out, new.out))
        count = sum(len(planes(video)) for video in old.out.rglob("*.mp4"))
    finally:
        if options.keep is None:
            shutil.rmtree(root)
    if found:
        raise SystemExit("\n".join([*found, f"this tree does not compute what {options.against} computes"]))
    print(
        f"this tree computes what {options.against} computes: {count} frames, sessions, weights and journals are equal"
    )


if __name__ == "__main__":
    main()
