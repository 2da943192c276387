"""Laws of `malt serve` before it serves: what is refused, and in which words."""

import socket
from pathlib import Path

import pytest

from malt.cli import main
from malt.commands.serve import ServeCommand
from malt.errors import MaltError, UsageError


@pytest.mark.parametrize(
    ("options", "about"),
    [
        ({"host": "0.0.0.0"}, "others can reach 0.0.0.0"),
        ({"host": "example.org"}, "--public"),
        ({"host": "0.0.0.0", "public": True}, "MALT_TOKEN"),
        ({"public": True}, "MALT_TOKEN"),
        ({"port": 70_000}, "port 70000"),
        ({"max_running": 0}, "0 as --max-running"),
        ({"scale": 0}, "0 as --scale"),
        ({"max_pixels": 0}, "0 as --max-pixels"),
        ({"keep_days": 0.0}, "--keep-days"),
        ({"allow_origin": "localhost:3000"}, "is not the origin of a page"),
        ({"allow_origin": "http://localhost:3000, https://a.example/path"}, "https://a.example/path is not the origin"),
        ({"workers": ","}, "--workers names no device"),
        ({"workers": "cpu,cuda:0"}, "--workers mixes cpu and cuda"),
        ({"workers": "cpu,cpu", "device": "cpu"}, "both --workers and --device"),
        ({"allow_origin": "*"}, "any page could use this server"),
        ({"replicas": "2"}, "give --ray too"),
        ({"ray": "auto", "workers": "cpu,cpu"}, "both --workers and --ray"),
        ({"ray": "auto", "device": "cuda:1"}, "a cluster chooses its own devices"),
        ({"ray": "auto", "replicas": "8-2"}, "--replicas is 8-2"),
        ({"ray": "auto", "replicas": "many"}, "--replicas is many"),
    ],
)
def test_a_server_that_should_not_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict, about: str
) -> None:
    monkeypatch.setenv("MALT_TOKEN", "")
    with pytest.raises(UsageError, match=about):
        ServeCommand(data=tmp_path / "data", **options).run()
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(MaltError, match="choose another --port"):
        ServeCommand(data=tmp_path, port=taken.getsockname()[1]).run()


def test_missing_libraries_are_said_with_the_way_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("malt.commands.network.find_spec", lambda name: None if name == "uvicorn" else object())
    assert main(["serve"]) == 2
    assert "needs uvicorn: pip install 'malt-diffusion[serve]'" in capsys.readouterr().err


def test_ray_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("malt.commands.serve_executor.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'malt-diffusion\[ray\]'"):
        ServeCommand(data=tmp_path / "data", ray="auto").run()
