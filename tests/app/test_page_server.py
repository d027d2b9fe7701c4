"""The page as a stranger's program meets it: raw requests to the served application, at a tiny size."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.__main__ import ServeConfig, door_of
from app.assistant import Assistant
from app.intake import uploads
from app.intake.door import Door
from app.intake.headers import Message
from app.intake.uploads import ENVELOPE, Uploads, safe_name
from app.page.gate import API, GRACE, UPLOAD
from app.page.handlers import EXAMPLE, PageHandlers
from app.page.ui import application
from tests.tiny.checkpoint import save_tiny_checkpoint

LOCAL = {"base_url": "http://127.0.0.1:7860"}
EXAMINE = "examine"


@pytest.fixture(scope="module")
def assistant(tmp_path_factory) -> Assistant:
    return Assistant.from_pretrained(save_tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def client(assistant, folder) -> Iterator[TestClient]:
    with TestClient(application(assistant, Door(), folder), **LOCAL) as client:
        yield client


@pytest.fixture(scope="module")
def locked(assistant, tmp_path_factory) -> Iterator[TestClient]:
    door = Door("0.0.0.0", ("unmask.example.org",), "correct horse battery")
    with TestClient(application(assistant, door, tmp_path_factory.mktemp("locked")), **LOCAL) as client:
        yield client


def upload(client: TestClient, content: bytes, name: str = "photo.jpg") -> Path:
    answer = client.post(UPLOAD, files={"files": (name, content)})
    assert answer.status_code == 200, answer.text
    (path,) = answer.json()
    return Path(path)


def joined(client: TestClient, data: list, window: str, called: str = EXAMINE):
    """Ask the queue for one of the page's handlers."""
    config = client.get("/config").json()
    number = next(item["id"] for item in config["dependencies"] if item["api_name"] == called)
    body = {"data": data, "fn_index": number, "session_hash": window}
    return client.post(f"{API}/queue/join", json=body)


def file_data(path: str | Path) -> dict:
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, "orig_name": "photo.jpg"}


def results(client: TestClient, window: str) -> str:
    """All that the queue says to a window, until it closes the stream."""
    return client.get(f"{API}/queue/data", params={"session_hash": window}).text


def test_the_same_photograph_in_two_windows_gives_two_findings(client, folder):
    """The first window deleted the file of the second, which was told a path of the server."""
    photo = EXAMPLE.read_bytes()
    paths = [upload(client, photo) for _ in range(2)]
    assert paths[0] != paths[1]
    for window, path in zip(("twin1", "twin2"), paths, strict=True):
        assert joined(client, [[file_data(path)]], window).status_code == 200
    for window in ("twin1", "twin2"):
        said = results(client, window)
        assert "1 face" in said and "There is no file" not in said
    assert not any(path.exists() for path in paths)


def test_a_message_shows_no_path_of_the_server(client, folder):
    path = upload(client, b"bread, milk", "list.jpg")
    path.unlink()
    joined(client, [[file_data(path)]], "gone")
    said = results(client, "gone")
    assert "no file list.jpg" in said and str(folder) not in said


@pytest.mark.parametrize(
    "path",
    ["http://example.org/a.jpg", "https://example.org/a.jpg", "/etc/hostname", str(EXAMPLE), "", 7, None],
)
def test_only_files_that_were_uploaded_are_examined(client, monkeypatch, path):
    """A URL in place of an upload made the server go out."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("the server looked a name up"))
    answer = joined(client, [[{**file_data(""), "path": path}]], "urls")
    assert answer.status_code == 400 and "uploaded" in answer.text


def test_a_path_out_of_the_uploads_is_refused(client, folder):
    (folder / "secret.jpg").write_bytes(EXAMPLE.read_bytes())
    place = upload(client, b"x").parent
    for path in (folder / "secret.jpg", place / ".." / ".." / "secret.jpg"):
        assert joined(client, [[file_data(path)]], "out").status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{API}/file=http://example.org/a.jpg"),
        ("GET", f"{API}/proxy=http://example.org/a.jpg"),
        ("GET", f"{API}/file=/etc/hostname"),
        ("POST", f"{API}/run/{EXAMINE}"),
        ("POST", f"{API}/call/{EXAMINE}"),
        ("GET", f"{API}/info"),
        ("GET", "/monitoring"),
        ("GET", "/docs"),
        ("DELETE", "/"),
    ],
)
def test_what_the_page_does_not_need_is_not_there(client, method, path):
    assert client.request(method, path, follow_redirects=False).status_code in (403, 404)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:7860", "a@localhost", ""]
)
def test_a_foreign_name_is_turned_away(client, host):
    """With an equal Origin it got the headers that let its scripts read the answers (DNS rebinding)."""
    answer = client.get("/", headers={"host": host, "origin": f"http://{host}"})
    assert answer.status_code in (400, 421) and "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "localhost:9000", "[::1]:7860", "LOCALHOST"])
def test_the_loopback_has_several_names(client, host):
    assert client.get("/config", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1"]
)
def test_another_sites_page_is_turned_away(client, origin):
    assert client.post(f"{API}/queue/join", json={}, headers={"origin": origin}).status_code == 403
    assert client.options("/", headers={"origin": origin}).status_code == 403


def test_answers_say_what_a_browser_may_do_with_them(client):
    for path in ("/", "/config", "/nothing"):
        headers = client.get(path).headers
        assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "default-src 'self'" in headers["content-security-policy"]
    drawing = upload(
        client, b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "a.svg"
    )
    headers = client.get(f"{API}/file={drawing}").headers
    assert "sandbox" in headers["content-security-policy"]


def test_bodies_that_are_no_request_are_refused(client):
    long = json.dumps({"data": ["x" * 300_000]})
    deep = "[" * 100_000
    for body, status in ((long, 413), (deep, 400), ("{", 400)):
        answer = client.post(f"{API}/queue/join", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status


class TestUploads:
    """How much is taken in, and for how long."""

    def test_there_is_a_quota(self, client, folder, monkeypatch):
        """Three uploads of 100 MB that nobody examined stayed for an hour, and any number more."""
        path = upload(client, b"x" * 1000)
        waiting = sum(path.stat().st_size for path in (folder / "uploads").rglob("*") if path.is_file())
        kept = Uploads(folder / "uploads", quota=waiting + 500)
        assert kept.waiting_bytes() == waiting
        monkeypatch.setattr(_served(client), "_quota", waiting + 500)
        answer = client.post(UPLOAD, files={"files": ("b.jpg", b"y" * 400)})
        assert answer.status_code == 507 and "try again" in answer.text
        path.unlink()
        upload(client, b"y" * 100)

    def test_a_file_may_not_be_too_large(self, client, monkeypatch):
        monkeypatch.setattr(_served(client), "_limit", 1000)
        assert client.post(UPLOAD, files={"files": ("b.jpg", b"y" * (1000 + ENVELOPE))}).status_code == 413
        chunks = client.post(UPLOAD, content=iter([b"a", b"b"]))
        assert chunks.status_code == 411

    def test_what_goes_while_it_is_counted_does_no_harm(self, tmp_path):
        """Bug: an upload was answered with an error where another visitor's was deleted at that moment."""
        kept, done = Uploads(tmp_path), threading.Event()

        def come_and_go() -> None:
            while not done.is_set():
                for number in range(20):
                    (tmp_path / str(number)).mkdir()
                    (tmp_path / str(number) / "photo.jpg").write_bytes(b"x")
                for number in range(20):
                    kept.forget(tmp_path / str(number) / "photo.jpg")

        coming = threading.Thread(target=come_and_go)
        coming.start()
        try:
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                assert 0 <= kept.waiting_bytes() <= 20
        finally:
            done.set()
            coming.join()

    def test_what_nobody_examines_goes(self, client):
        path = upload(client, b"x")
        old = time.time() - uploads.FORGOTTEN - 1
        os.utime(path.parent, (old, old))
        upload(client, b"y")
        assert not path.exists()

    @pytest.mark.parametrize("content", [b"", b"--x\r\n"])
    def test_what_is_no_form_is_a_sentence(self, client, content):
        headers = {"content-type": "multipart/form-data; boundary=x"}
        assert client.post(UPLOAD, content=content, headers=headers).status_code == 400

    @pytest.mark.parametrize(
        ("name", "kept"),
        [
            ("../../a.jpg", "a.jpg"),
            ("C:\\b.png", "b.png"),
            ("..", "upload"),
            ("", "upload"),
            ("Ж.jpg", "Ж.jpg"),
        ],
    )
    def test_a_name_chooses_no_place(self, name, kept):
        assert safe_name(name) == kept

    def test_a_long_name_keeps_its_end(self):
        assert safe_name("x" * 3000 + ".jpg").endswith("x.jpg") and len(safe_name("Ж" * 3000)) <= 200


def _served(client: TestClient) -> Uploads:
    """The uploads behind a client."""
    routes = client.app._app.routes
    return next(route for route in routes if getattr(route, "path", "") == UPLOAD).endpoint.__self__.uploads


class TestPassword:
    """A page that others can reach."""

    def test_nothing_is_there_without_it(self, locked):
        for path in ("/", "/config", f"{API}/queue/data?session_hash=a", "/assets/index.js"):
            answer = locked.get(path)
            assert answer.status_code == 401 and "password" in answer.text and "gradio" not in answer.text
        assert locked.post(UPLOAD, files={"files": ("a.jpg", b"x")}).status_code == 401

    def test_a_wrong_one_takes_a_second(self, locked):
        started = time.monotonic()
        answer = locked.post(
            "/unlock", data={"key": "correct horse"}, headers={"origin": "http://127.0.0.1:7860"}
        )
        assert answer.status_code == 401 and "Try again" in answer.text
        assert time.monotonic() - started >= 1 and "set-cookie" not in answer.headers

    @pytest.mark.parametrize("way", ["form", "address"])
    def test_the_right_one_opens_this_browser(self, locked, way):
        key = "correct horse battery"
        asked = {"follow_redirects": False}
        if way == "form":
            answer = locked.post("/unlock", data={"key": key}, **asked)
        else:
            answer = locked.get("/", params={"key": key}, **asked)
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        assert {"HttpOnly", "SameSite=Strict"} <= set(answer.headers["set-cookie"].split("; "))
        assert locked.get("/config").status_code == 200
        locked.cookies.clear()
        assert locked.get("/config").status_code == 401

    @pytest.mark.parametrize(
        ("host", "admitted"),
        [("unmask.example.org", True), ("10.0.0.7:7860", True), ("evil.example", False), ("localhost", True)],
    )
    def test_bound_to_all_addresses_it_has_the_names_it_was_given(self, locked, host, admitted):
        status = locked.get("/config", headers={"host": host}).status_code
        assert status == (401 if admitted else 421)

    def test_bound_to_one_address_it_has_that_one(self):
        door = Door("192.168.1.5", (), "x")
        assert door.admits("192.168.1.5:7860") and not door.admits("192.168.1.6")
        assert not door.admits("localhost") and not door.admits(None)

    def test_one_is_made_up_where_others_can_reach_the_page(self):
        assert door_of(ServeConfig(), "").password == ""
        first, second = (door_of(ServeConfig(host="0.0.0.0"), "").password for _ in range(2))
        assert len(first) >= 16 and first != second
        assert door_of(ServeConfig(), "a password of mine").password == "a password of mine"
        assert f"/?key={first}" in Door("0.0.0.0", (), first).address(7860)
        with pytest.raises(ValueError, match="give 12 or more"):
            door_of(ServeConfig(), "short")


def test_a_window_that_is_closed_is_forgotten(assistant, tmp_path, monkeypatch):
    """Cases of closed windows were kept for an hour.

    Bug: a case was gone as soon as its window's connection broke, whether it came again or not.
    """
    closed = []
    monkeypatch.setattr("app.page.gate.GRACE", 0.05)
    monkeypatch.setattr(PageHandlers, "close", lambda handlers, window: closed.append(window))
    gate = application(assistant, Door(), tmp_path)

    async def beat(until: asyncio.Event) -> None:
        said: list[bytes] = []

        async def receive() -> Message:
            await until.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            said.append(message.get("body", b""))

        headers = [(b"host", b"localhost")]
        scope = {"type": "http", "method": "GET", "path": f"{API}/heartbeat/w1", "headers": headers}
        await gate({**scope, "query_string": b"", "client": None}, receive, send)
        assert b"ALIVE" in said[1]

    async def visit() -> None:
        gone, back = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(beat(gone))
        await asyncio.sleep(0.05)
        gone.set()
        await first
        again = asyncio.create_task(beat(back))  # a connection that broke and came again
        await asyncio.sleep(0.2)
        assert closed == []
        back.set()
        await again
        await asyncio.sleep(0.2)
        assert closed == ["w1"]

    asyncio.run(visit())
    assert GRACE > 1
