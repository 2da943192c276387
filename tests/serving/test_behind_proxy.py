"""Laws of TLS: behind nginx, as the guide has it, everything works and the cookie is for TLS alone."""

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

import tiny_pipeline
from tiny_server import served, service, wait_until

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
GUIDE = Path(__file__).resolve().parents[2] / "docs/guide/server.md"
PIPE = tiny_pipeline.pipeline(settings={"num_inference_steps": 1})
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
pytestmark = pytest.mark.skipif(
    NGINX is None or shutil.which("openssl") is None, reason="there is no nginx or no openssl; Debian has both"
)


def configuration(folder: Path, port: int, upstream: str) -> str:
    """The server of the guide, on another port, with another certificate."""
    found = re.search(r"```nginx\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert found is not None
    server = found[1].replace("listen 443", f"listen 127.0.0.1:{port}").replace("http://127.0.0.1:8000", upstream)
    server = server.replace("/etc/ssl/video.pem", f"{folder}/cert.pem").replace(
        "/etc/ssl/video.key", f"{folder}/key.pem"
    )
    places = "".join(f"{name}_temp_path {folder}/{name};\n" for name in TEMPORARY)
    head = f"user root;\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
    return f"{head}http {{\naccess_log off;\n{places}{server}}}\n"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[str]:
    with served(service(tmp_path / "data", pipe=PIPE, token="secret", loopback_only=False)) as upstream:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
        asked = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=video.example.org", *files]
        subprocess.run(asked, check=True, capture_output=True)
        (tmp_path / "nginx.conf").write_text(configuration(tmp_path, port, upstream))
        process = subprocess.Popen([str(NGINX), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
        try:
            wait_until(lambda: _answers(port))
            yield f"https://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_pages_streams_and_sockets_pass_a_proxy_with_tls(proxy: str) -> None:
    with httpx.Client(base_url=proxy, verify=False, timeout=60, headers={"Origin": proxy}) as browser:
        assert browser.get("/", headers={"Accept": "text/html"}).status_code == 401
        answer = browser.post("/sign-in", data={"token": "secret"})
        assert answer.status_code == 303
        assert "secure" in answer.headers["set-cookie"].lower()
        with browser.stream("GET", "/v1/stream", params={"prompt": tiny_pipeline.PROMPT}) as stream:
            assert next(stream.iter_raw())[4:8] == b"ftyp"
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    place = proxy.replace("https", "wss") + "/v1/realtime/video"
    with connect(place, ssl=trusting, additional_headers={"Cookie": cookie}) as client:
        client.send(json.dumps({"type": "ping"}))
        assert json.loads(client.recv(timeout=60)) == {"type": "pong"}
