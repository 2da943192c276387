"""Stands for the Hugging Face hub: a server of this process that keeps what the real client uploads, and hands it out."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

REVISION = "a" * 40
Repository = dict[str, bytes]


def oid(file: bytes) -> str:
    """What a file is known by."""
    return hashlib.sha1(file).hexdigest()


@dataclass
class Hub:
    """What was uploaded, by repository and name, and how often a commit was made; `forbidden` refuses every writer.

    created: what was said of each repository that was to be made.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    forbidden: bool = False

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Take in what a commit brings, whole."""
        for line in lines:
            content = line["value"]
            if line["key"] == "header":
                self.commits.append(content["summary"])
            if line["key"] == "file":
                assert content["encoding"] == "base64"
                self.repositories[name][content["path"]] = base64.b64decode(content["content"])

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """The answer to what is sent: a new repository, a question how to upload, or a commit."""
        if self.forbidden:
            return 403, {"error": "no"}
        if path == "/api/repos/create":
            wanted = json.loads(body)
            self.created.append(wanted)
            name = "/".join(part for part in (wanted.get("organization"), wanted["name"]) if part)
            self.repositories.setdefault(name, {})
            return 200, {"url": f"{self.address}/{name}"}
        if path == "/api/validate-yaml":  # asked of every card
            return 200, {"errors": [], "warnings": []}
        found = re.fullmatch(r"/api/models/(.+)/(preupload|commit)/main", path)
        assert found, path
        if found[2] == "preupload":
            wanted = json.loads(body)["files"]
            return 200, {
                "files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in wanted]
            }
        self.commit(found[1], [json.loads(line) for line in body.splitlines()])
        return 200, {"commitUrl": f"{self.address}/{found[1]}/commit/{REVISION}", "commitOid": REVISION}

    def get(self, path: str) -> tuple[int, Any]:
        """The answer to a question: what a repository holds, or a file of it."""
        if path == "/api/whoami-v2":
            return 200, {"name": "somebody", "type": "user", "orgs": []}
        file = re.fullmatch(r"/(.+)/resolve/[^/]+/(.+)", path)
        if file and file[2] in self.repositories.get(file[1], {}):
            return 200, self.repositories[file[1]][file[2]]
        tree = re.fullmatch(r"/api/models/(.+)/tree/[^/]+", path)
        if tree and tree[1] in self.repositories:
            files = self.repositories[tree[1]].items()
            return 200, [{"type": "file", "path": name, "size": len(file), "oid": oid(file)} for name, file in files]
        about = re.fullmatch(r"/api/models/(.+?)(/revision/[^/]+)?", path)
        if about and about[1] in self.repositories:
            names = [{"rfilename": name} for name in self.repositories[about[1]]]
            return 200, {"id": about[1], "sha": REVISION, "siblings": names, "private": False, "tags": []}
        return 404, {"error": "EntryNotFound" if file and file[1] in self.repositories else "RepoNotFound"}


@contextmanager
def reached(patch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the real client takes for the one there is."""
    with hub() as running:
        template = running.address + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "ENDPOINT", running.address)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("HF_TOKEN", "hf_stand_in")
        yield running


@contextmanager
def hub() -> Iterator[Hub]:
    """A hub that answers for as long as the block runs."""
    kept = Hub()

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._answer(*kept.post(unquote(urlsplit(self.path).path), self._body()))

        def do_GET(self) -> None:
            self._answer(*kept.get(unquote(urlsplit(self.path).path)))

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _answer(self, status: int, content: Any) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("ETag", f'"{oid(body)}"')
            if status == 404:
                self.send_header("X-Error-Code", content["error"])
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    kept.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
