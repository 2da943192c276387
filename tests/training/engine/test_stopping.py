"""Laws of stopping while torch compiles: at once, with what was learned saved, and no compiler left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor, nn

from malt.training.engine.checkpoint import saved_states
from malt.training.engine.loop import fit
from malt.training.engine.optimizer import Optimization

PLAN = Optimization(num_steps=4, learning_rate=0.05, muon_learning_rate=0.02)


class Compiled:
    """A task that compiles something at every step; at one of them the process is told to end meanwhile."""

    def __init__(self, told_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.module = nn.ModuleDict({"blocks": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))})
        self.told_at, self.begun, self.computed = told_at, list[int](), list[int]()

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        self.begun.append(step)

        def compiler(graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
            if step == self.told_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return graph

        torch._dynamo.reset()
        blocks = torch.compile(self.module["blocks"], backend=compiler)
        error = blocks(torch.ones(2 + step, 3)).square().mean()
        self.computed.append(step)
        return error, {}


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 2])
def test_a_step_that_is_still_compiled_is_left_and_taken_anew_when_the_run_goes_on(tmp_path: Path, step: int) -> None:
    whole, told, again = Compiled(), Compiled(told_at=step), Compiled()
    fit(whole, PLAN, tmp_path / "whole")
    with pytest.raises(SystemExit) as left:
        fit(told, PLAN, tmp_path / "run")
    assert left.value.code == 143 and told.begun == list(range(step + 1)) and told.computed == list(range(step))
    assert [state.name[-1] for state in saved_states(tmp_path / "run")] == [str(step)]
    fit(again, PLAN, tmp_path / "run")
    assert again.computed == list(range(step, 4))
    assert all(map(torch.equal, whole.module.parameters(), again.module.parameters()))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_and_its_compilers_at_once(tmp_path: Path, number: signal.Signals) -> None:
    """A compiler that would run for an hour stands in for the real one."""
    compiler = tmp_path / "g++"
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in *--version*|*-dumpversion*) exec /usr/bin/env g++ "$@";; esac\nsleep 3600\n'
    )
    compiler.chmod(0o755)
    environ = {**os.environ, "CXX": str(compiler), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "malt", "train", "tiny", "--out", str(tmp_path / "run"), "--compile", "true"]
    with subprocess.Popen(
        command, env=environ, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as run:
        compilers: list[psutil.Process] = []
        while run.poll() is None and not any(process.name() == "sleep" for process in compilers):
            time.sleep(0.1)
            compilers = psutil.Process(run.pid).children(recursive=True)
        (os.killpg if number == signal.SIGINT else os.kill)(run.pid, number)  # as Ctrl-C, and as a scheduler
        _, said = run.communicate(timeout=20)
    assert run.returncode == 128 + number, said
    assert "Traceback" not in said
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in compilers)
