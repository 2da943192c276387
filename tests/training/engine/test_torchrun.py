"""Laws of `malt train` under torchrun: two processes share a model, stop when they are told to, and one goes on alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tiny_pipeline
from malt.cli import main
from malt.pipelines.loading import load_pipeline
from malt.training.engine.checkpoint import saved_states

pytestmark = pytest.mark.slow  # two processes import torch

STEPS = 60
RECIPE = ["tiny", "--device", "cpu", "--parallel.fsdp", "true", "--optimization.num-steps", str(STEPS)]


def losses(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "transformer" / "journal.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines}


def start(out: Path) -> subprocess.Popen:
    """torchrun with two processes that speak to one another on this machine only."""
    network = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command = [sys.executable, *torchrun, "--rdzv-endpoint", "127.0.0.1:0", "-m", "malt", "train", *RECIPE]
    return subprocess.Popen(
        [*command, "--out", str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | network,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that were told to stop as soon as the journal had told of something."""
    run = tmp_path_factory.mktemp("torchrun") / "run"
    process = start(run)
    journal = run / "transformer" / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = "".join(process.communicate(timeout=600))
    assert losses(run), said
    return run


def test_told_to_stop_torchrun_leaves_a_whole_state_with_a_part_of_each_process(stopped: Path) -> None:
    (*_, state) = saved_states(stopped / "transformer")
    assert 20 <= json.loads((state / "state.json").read_text())["step"] < STEPS
    assert len(list(state.glob("shard-*.safetensors"))) == 2
    assert not (stopped / "pipeline").exists()


def test_one_process_goes_on_with_what_two_have_begun_as_if_it_had_been_alone(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--out", str(stopped), "--resume", "--device", "cpu"]) == 0
    assert "AdamW learns all of it" in capsys.readouterr().out
    assert main(["train", *RECIPE, "--out", str(tmp_path / "alone")]) == 0
    assert list(losses(stopped)) == [20, 40, 60]
    assert losses(stopped) == pytest.approx(losses(tmp_path / "alone"), rel=0.02)
    assert tiny_pipeline.network(load_pipeline(stopped / "pipeline")).config.num_layers == 2
