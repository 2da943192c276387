"""Laws of `malt studio` before it opens: what is refused, and in which words."""

import socket
from pathlib import Path

import pytest

from malt.cli import main
from malt.commands.studio import StudioCommand
from malt.errors import MaltError, UsageError


@pytest.mark.parametrize(
    ("options", "about"),
    [
        ({"host": "0.0.0.0"}, "others can reach 0.0.0.0"),
        ({"public": True}, "MALT_TOKEN"),
        ({"port": -1}, "port -1"),
        ({"max_visitors": 0}, "0 as --max-visitors"),
        ({"scale": 0}, "0 as --scale"),
        ({"max_disk": 0.0}, "--max-disk"),
        ({"keep_days": -1.0}, "--keep-days"),
        ({"model": "nothing", "port": 0}, "no model 'nothing'"),
    ],
)
def test_a_studio_that_should_not_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict, about: str
) -> None:
    monkeypatch.setenv("MALT_TOKEN", "")
    with pytest.raises(UsageError, match=about):
        StudioCommand(data=tmp_path, **options).run()
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(MaltError, match="choose another --port"):
        StudioCommand(data=tmp_path, port=taken.getsockname()[1]).run()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MaltError, match="give another with --data"):
        StudioCommand(data=tmp_path / "file", port=0).run()


def test_missing_libraries_are_said_with_the_way_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("malt.commands.network.find_spec", lambda name: None if name == "uvicorn" else object())
    assert main(["studio"]) == 2
    assert "needs uvicorn: pip install 'malt-diffusion[studio]'" in capsys.readouterr().err
