"""Laws of written files: whole or not at all, and one writer at a time."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from malt.errors import UsageError
from malt.media.files import file_sha256, locked, replacing, video_lock, write_whole


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.json", "ä\n")
    write_whole(tmp_path / "a.json", b"second")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"second"


def test_what_ends_a_draft_early_leaves_the_file_as_it_was_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "first")
    with pytest.raises(KeyboardInterrupt), replacing(path) as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_the_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 300_000)
    assert file_sha256(path) == hashlib.sha256(b"x" * 300_000).hexdigest()


def test_a_lock_is_held_once_and_leaves_nothing(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", "it is held"):
        with pytest.raises(UsageError, match="^it is held$"), locked(tmp_path / "lock", "it is held"):
            pass
        with locked(tmp_path / "other", "it is held"):
            pass
    with locked(tmp_path / "lock", "it is held"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_lets_its_lock_go(tmp_path: Path) -> None:
    script = "import sys, time; from pathlib import Path; from malt.media.files import locked\n"
    script += "with locked(Path(sys.argv[1]), ''): print('held', flush=True); time.sleep(60)"
    held = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "lock")], stdout=subprocess.PIPE)
    assert held.stdout is not None and held.stdout.readline() == b"held\n"
    with pytest.raises(UsageError), locked(tmp_path / "lock", "busy"):
        pass
    held.kill()
    held.wait()
    held.stdout.close()
    with locked(tmp_path / "lock", "busy"):
        pass


def test_a_video_is_locked_under_all_its_names(tmp_path: Path) -> None:
    os.symlink(tmp_path / "walk.mp4", tmp_path / "link.mp4")
    with (
        video_lock(tmp_path / "walk.mp4"),
        pytest.raises(UsageError, match="another process is writing .*walk.mp4; wait"),
        video_lock(tmp_path / "link.mp4"),
    ):
        pass


def test_a_lock_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"), locked(tmp_path / "gone" / "lock", "busy"):
        pass


def test_a_device_is_not_locked() -> None:
    with video_lock(Path("/dev/null")), video_lock(Path("/dev/null")):
        pass
