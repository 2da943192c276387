"""The notebooks run from top to bottom with a tiny model, and keep small pictures for those who only look."""

import json
from pathlib import Path

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

import tiny_pipeline

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))
LARGEST = 600_000  # bytes


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_pipeline.pipeline(memory="recurrent").save_pretrained(tmp_path / "model")
    monkeypatch.setenv("MALT_MODEL", str(tmp_path / "model"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shell = InteractiveShell()
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            shell.run_cell("".join(cell["source"])).raise_error()
    assert shell.user_ns["pipe"].frame_size == (tiny_pipeline.SIDE, tiny_pipeline.SIDE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_keeps_its_outputs_and_no_warnings(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert all(output["output_type"] != "error" and output.get("name") != "stderr" for output in outputs)
    assert path.stat().st_size <= LARGEST
