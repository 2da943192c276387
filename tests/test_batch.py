"""Laws of `malt batch`: each video is the one that `malt generate` makes, whatever stops it or is wrong with a row."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_pipeline
from malt.cli import main
from malt.commands.generation_run import GenerationRun
from malt.sessions.storage import session_folder
from tiny_pipeline import SEGMENT

Run = Callable[..., int]
TABLE = f"""prompt,seed,frames,out
"a red circle, at night",3,{2 * SEGMENT},
a blue square [{SEGMENT}f] | a red circle [{SEGMENT}f],,,
a green cross,1,{SEGMENT + 3},cross.mp4
"""
NUM_SEGMENTS = 2 + 2 + 2  # the last of the third video is cut
NAMES = ("0001.mp4", "0002.mp4", "cross.mp4")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_pipeline.pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def batch(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(table: str, *options: object) -> int:
        (tmp_path / "prompts.csv").write_text(table)
        place = () if "--checkpoint" in options else ("--checkpoint", model)
        return main([*map(str, ("batch", "prompts.csv", "--out", "many", *place, "--device", "cpu", *options))])

    return run


@pytest.fixture(scope="module")
def alone(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The videos as `malt generate` makes them."""
    folder = tmp_path_factory.mktemp("alone")
    asked = {
        "0001.mp4": ("a red circle, at night", "--seed", 3, "--frames", 2 * SEGMENT),
        "0002.mp4": (f"a blue square [{SEGMENT}f] | a red circle [{SEGMENT}f]",),
        "cross.mp4": ("a green cross", "--seed", 1, "--frames", SEGMENT + 3),
    }
    for name, options in asked.items():
        words = ("generate", *options, "--out", folder / name, "--checkpoint", model, "--device", "cpu")
        assert main([*map(str, words)]) == 0
    return {name: (folder / name).read_bytes() for name in asked}


def videos(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.mp4")}


def test_each_video_is_byte_for_byte_the_one_that_generate_makes_and_can_be_gone_on_with(
    batch: Run, alone: dict[str, bytes]
) -> None:
    assert batch(TABLE) == 0
    assert videos(Path("many")) == alone
    assert all((session_folder(Path("many") / name) / "session.json").is_file() for name in NAMES)


def test_what_is_done_is_not_made_again_and_new_rows_are(
    batch: Run, alone: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch("".join(TABLE.splitlines(keepends=True)[:3])) == 0
    before = {file: file.stat().st_mtime_ns for file in Path("many").glob("*.mp4")}
    assert batch(TABLE) == 0
    assert "made 1 of 3 videos in many; 2 were there" in capsys.readouterr().err
    assert videos(Path("many")) == alone
    assert before.items() <= {file: file.stat().st_mtime_ns for file in Path("many").glob("*.mp4")}.items()


@pytest.mark.parametrize("segments", [0, 1, 3])
def test_a_batch_that_was_broken_off_goes_on_where_it_was(
    batch: Run, alone: dict[str, bytes], segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    save = GenerationRun._save

    def break_off(run: GenerationRun, state: object) -> None:
        if len(made) == segments:
            raise KeyboardInterrupt
        made.append(state)
        save(run, state)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(GenerationRun, "_save", break_off)
        assert batch(TABLE) == 130
    assert len(videos(Path("many"))) == (1 if segments < 2 else 2)
    again: list[object] = []

    def go_on(run: GenerationRun, state: object) -> None:
        again.append(state)
        save(run, state)  # type: ignore[arg-type]

    monkeypatch.setattr(GenerationRun, "_save", go_on)
    assert batch(TABLE) == 0
    assert videos(Path("many")) == alone
    assert len(again) == NUM_SEGMENTS - segments + bool(segments)  # what goes on is saved once before


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("a red circle,soon,,", "row 2 of prompts.csv: seed cannot be 'soon'; give a whole number"),
        (",1,8,", "row 2 of prompts.csv: the prompt is empty"),
        ("a red circle,1,-3,", "row 2 of prompts.csv: asked for -3 as --frames"),
        ("a circle, a square,1,8,", "row 2 of prompts.csv: it has more cells than the table has columns"),
        ("a red circle,1,8,../up.mp4", "row 2 of prompts.csv: out cannot be '../up.mp4'"),
        ("a red circle,1,8,up.txt", "row 2 of prompts.csv: cannot tell the format"),
        ("a red circle,1,8,0001.mp4", "row 2 of prompts.csv: row 1 writes 0001.mp4 already; give another out"),
    ],
)
def test_a_damaged_row_costs_one_sentence_and_nothing_else(
    batch: Run, row: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(f"prompt,seed,frames,out\na red circle,0,4,\n{row}\na red circle,0,4,\n") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("malt: row")]
    assert len(said) == 1 and sentence in said[0]
    assert videos(Path("many")).keys() == {"0001.mp4", "0003.mp4"}


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("prompto\na red circle\n", "has a column 'prompto', which is no option of malt generate, did you mean prompt"),
        ("prompt,device\na,cpu\n", "has a column device, which is the same for all rows; give --device to malt batch"),
        ("prompt,prompt\na,b\n", "has two columns prompt"),
        ("prompt\n", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_a_table_that_means_nothing_is_refused_before_any_work(
    batch: Run, table: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(table) == 2
    assert sentence in capsys.readouterr().err


def test_a_row_that_changed_is_named_and_made_anew_only_if_told_so(
    batch: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "prompt,frames\n"
    assert batch(f"{head}a red circle,4\n") == 0
    kept = videos(Path("many"))
    assert batch(f"{head}a blue circle,4\n") == 1
    assert "row 1 of prompts.csv: many/0001.mp4 was made with another prompt" in capsys.readouterr().err
    assert videos(Path("many")) == kept
    assert batch(f"{head}a blue circle,4\n", "--overwrite") == 0
    assert videos(Path("many")) != kept


def test_a_file_that_no_batch_made_is_kept(batch: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("many").mkdir()
    Path("many/0001.mp4").write_bytes(b"mine")
    assert batch("prompt,frames\na red circle,4\n") == 1
    assert "row 1 of prompts.csv: many/0001.mp4 exists and is kept" in capsys.readouterr().err
    assert Path("many/0001.mp4").read_bytes() == b"mine"


def test_ranks_make_their_shares_and_a_damaged_row_fails_no_rank(batch: Run, alone: dict[str, bytes]) -> None:
    table = TABLE + "a red circle,soon,,\n"
    assert batch(table, "--rank", 1, "--world-size", 2) == 0
    assert videos(Path("many")).keys() == {"0002.mp4"}
    assert batch(table, "--rank", 0, "--world-size", 2) == 0
    assert videos(Path("many")) == alone


@pytest.mark.slow  # two processes import torch
def test_under_torchrun_two_processes_make_the_same_videos(
    model: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "prompts.csv").write_text(TABLE)
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    words = [*torchrun, "--rdzv-endpoint", "127.0.0.1:0", "-m", "malt", "batch", "prompts.csv", "--out", "many"]
    command = [sys.executable, *words, "--checkpoint", str(model), "--device", "cpu"]
    subprocess.run(command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=300)
    assert videos(tmp_path / "many") == alone
