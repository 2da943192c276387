"""Laws of the token: a page asks a browser for it once, programs send it as Bearer, and it is the same however it came."""

import base64
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from malt.commands.network import read_token
from malt.serving.auth import AccessMiddleware
from malt.serving.sign_in import COOKIE

PAGE = {"Accept": "text/html,application/xhtml+xml"}
TOKEN = "geheim-ß-密"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr("malt.serving.sign_in.WRONG_SECONDS", 0)
    app = FastAPI()
    app.get("/")(lambda: "the page")
    app.add_middleware(AccessMiddleware, token=TOKEN)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def test_a_browser_is_asked_on_a_page_and_signed_in_by_a_strict_cookie(client: TestClient) -> None:
    page = client.get("/?a=1", headers=PAGE)
    assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert 'value="/?a=1"' in page.text and "<script" not in page.text
    wrong = client.post("/sign-in", data={"token": "wrong", "next": "/?a=1"})
    assert (wrong.status_code, "That is not the token." in wrong.text) == (401, True)
    assert client.get("/").status_code == 401
    right = client.post("/sign-in", data={"token": TOKEN + "\n", "next": "/?a=1"}, follow_redirects=False)
    assert (right.status_code, right.headers["location"]) == (303, "/?a=1")
    cookie = right.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in right.headers["set-cookie"]
    assert client.get("/").json() == "the page"
    client.cookies.clear()
    client.cookies.set(COOKIE, "0" * 64)
    assert client.get("/").status_code == 401


@pytest.mark.parametrize(
    "away", ["//evil.example", "https://evil.example", "/\\evil.example", '/"><script>', "/a\r\nb"]
)
def test_signing_in_leads_to_this_server_alone(client: TestClient, away: str) -> None:
    answer = client.post("/sign-in", data={"token": TOKEN, "next": away}, follow_redirects=False)
    assert answer.headers["location"] in ("/", "/%22%3E%3Cscript%3E")
    assert "<script" not in client.post("/sign-in", data={"token": "x", "next": away}).text


def test_another_sites_page_cannot_sign_a_browser_in(client: TestClient) -> None:
    answer = client.post("/sign-in", data={"token": TOKEN}, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_programs_are_told_both_ways_each_on_a_line_and_browsers_one(client: TestClient) -> None:
    told = client.get("/", headers={"Accept": "*/*"})
    assert told.headers.get_list("www-authenticate") == ['Bearer realm="malt"', 'Basic realm="malt"']
    told = client.get("/", headers={"Accept": "*/*", "Sec-Fetch-Mode": "cors"})
    assert told.headers.get_list("www-authenticate") == ['Bearer realm="malt"']


def test_any_token_may_come_either_way(client: TestClient) -> None:
    basic = base64.b64encode(f"me:{TOKEN}".encode())
    for sent in (b"Bearer " + TOKEN.encode(), b"bearer  " + TOKEN.encode(), b"Basic " + basic):
        assert client.get("/", headers={b"Authorization": sent}).status_code == 200


def test_no_other_site_may_frame_a_page(client: TestClient) -> None:
    answer = client.get("/", headers={b"Authorization": b"Bearer " + TOKEN.encode()})
    assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_token_is_read_without_its_newline_and_blank_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, token in (("secret\n", "secret"), (" \n", None), ("", None)):
        monkeypatch.setenv("MALT_TOKEN", value)
        assert read_token() == token
