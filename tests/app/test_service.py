"""The service over real HTTP: uvicorn on a port of the loopback, models at a tiny size."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from app.assistant import Assistant
from app.intake.door import Door
from app.intake.examples import EXAMPLE
from app.report.sealed import Report
from app.serve import ServiceConfig, check_keys
from app.service.access import ApiKeys, digest_of_key
from app.service.application import application
from app.service.desk import Limits
from app.signing import SigningKey
from app.wording.translated import sentences
from tests.tiny.checkpoint import save_tiny_checkpoint
from tests.tiny.video import write_video

KEYS = {name: f"key-of-{name}-0123456789abcdef" for name in ("ann", "bob")}
KEY = SigningKey.new()


@pytest.fixture(scope="module")
def assistant(tmp_path_factory) -> Assistant:
    found = Assistant.from_pretrained(save_tiny_checkpoint(tmp_path_factory.mktemp("tiny")))
    found.key = KEY
    return found


@contextmanager
def served(assistant: Assistant, folder: Path, limits: Limits | None = None) -> Iterator[str]:
    """The address of a service with two keys, until the block ends."""
    keys = ApiKeys({name: digest_of_key(key) for name, key in KEYS.items()})
    app = application(assistant, Door(), folder, keys, limits)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


def client_of(address: str, name: str | None = "ann") -> httpx.Client:
    headers = {} if name is None else {"Authorization": f"Bearer {KEYS[name]}"}
    return httpx.Client(base_url=address, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def address(assistant, folder) -> Iterator[str]:
    with served(assistant, folder) as address:
        yield address


@pytest.fixture(scope="module")
def ann(address) -> Iterator[httpx.Client]:
    with client_of(address) as client:
        yield client


@pytest.fixture(scope="module")
def bob(address) -> Iterator[httpx.Client]:
    with client_of(address, "bob") as client:
        yield client


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with Image.open(EXAMPLE) as example:
        still = np.asarray(example.convert("RGB").resize((320, 320)))
    write_video(path, [still] * 20)
    return path.read_bytes()


def send(client: httpx.Client, content: bytes | None = None, name: str = "photo.jpg") -> httpx.Response:
    return client.post("/v1/findings", files={"file": (name, content or EXAMPLE.read_bytes())})


def events(client: httpx.Client, finding: str, question: str) -> list[tuple[str, dict]]:
    answer = client.post(f"/v1/findings/{finding}/questions", json={"question": question})
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    blocks = [block.splitlines() for block in answer.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def problem(answer: httpx.Response, status: int, code: str) -> dict:
    """Check that an answer is an error as promised: JSON, with what to do and without a score."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store" and "score" not in answer.text
    assert len(answer.json()["detail"]) > 20
    return answer.json()


def test_a_file_becomes_a_finding_with_the_fields_of_the_report(ann, assistant):
    answer = send(ann)
    assert answer.status_code == 200, answer.text
    finding, analysis = answer.json()["finding"], assistant.analyse(EXAMPLE)
    report = ann.get(f"/v1/findings/{answer.json()['id']}/report.json").json()
    assert finding["verdict"] == analysis.verdict
    assert finding["faces"][0]["score"] == round(analysis.faces[0].score, 4)
    assert (
        finding["file"]["name"] == "photo.jpg" and finding.keys() <= report.keys() | report["files"][0].keys()
    )
    for face, told in zip(finding["faces"], report["files"][0]["faces"], strict=True):
        assert face == {name: value for name, value in told.items() if name not in ("pictures", "narrative")}
    assert ann.get(f"/v1/findings/{answer.json()['id']}").json() == answer.json()


def test_uploads_are_deleted_once_examined(ann, folder):
    send(ann)
    send(ann, b"bread, milk")
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_an_answer_is_streamed_and_stands_in_the_signed_report(ann):
    name = send(ann).json()["id"]
    told = events(ann, name, "Where?")
    kinds = [kind for kind, _ in told]
    assert kinds[-1] == "answer" and set(kinds[:-1]) <= {"waiting", "piece"}
    said = "".join(data["text"] for kind, data in told if kind == "piece").strip()
    assert told[-1][1]["answer"] == said and told[-1][1]["question"] == "Where?"
    report = Report.from_json(ann.get(f"/v1/findings/{name}/report.json").text)
    assert report.files[0]["transcript"] == [told[-1][1]]
    assert report.is_signed and report.signer == KEY.public


@pytest.mark.parametrize(("form", "start"), [("pdf", b"%PDF"), ("html", b"<!doctype html>")])
def test_the_report_comes_in_each_form(ann, form, start):
    name = send(ann).json()["id"]
    answer = ann.get(f"/v1/findings/{name}/report.{form}", params={"case_number": "3 O 12/26"})
    assert answer.status_code == 200 and answer.content.lower().startswith(start.lower())
    problem(ann.get(f"/v1/findings/{name}/report.docx"), 422, "invalid")
    long = ann.get(f"/v1/findings/{name}/report.json", params={"examiner": "x" * 501})
    assert "shorten" in problem(long, 422, "invalid")["detail"]


def test_summary_and_report_come_in_the_language_asked_for(ann):
    sent = {"file": ("example.jpg", EXAMPLE.read_bytes())}
    found = ann.post("/v1/findings", files=sent, params={"language": "de"}).json()
    summary, place = found["summary"], f"/v1/findings/{found['id']}"
    assert summary["language"] == "de" and len(summary["faces"]) == len(found["finding"]["faces"])
    assert summary["verdict"] in sentences("de")["verdict"].values()
    assert ann.get(place).json()["summary"]["verdict"] in sentences("en")["verdict"].values()
    entries = {"language": "de", "case_number": "3 O 12/26", "examiner_opinion": "It was.", "annex": False}
    page = ann.get(f"{place}/report.html", params=entries).text
    assert '<html lang="de">' in page and "Aktenzeichen" in page and "It was." in page
    for path in (place, f"{place}/report.html"):
        problem(ann.get(path, params={"language": "xx"}), 422, "invalid")


def test_a_finding_is_its_clients_alone(ann, bob):
    name = send(ann).json()["id"]
    for path in (f"/v1/findings/{name}", f"/v1/findings/{name}/report.json"):
        problem(bob.get(path), 404, "no_finding")
    problem(bob.post(f"/v1/findings/{name}/questions", json={"question": "Where?"}), 404, "no_finding")
    problem(bob.delete(f"/v1/findings/{name}"), 404, "no_finding")
    assert ann.delete(f"/v1/findings/{name}").status_code == 204
    problem(ann.get(f"/v1/findings/{name}"), 404, "no_finding")


def test_a_failure_is_a_problem_and_never_a_score(ann, folder):
    told = problem(send(ann, b"bread, milk", "list.jpg"), 422, "not_an_image")
    assert "expected JPEG" in told["detail"] and str(folder) not in told["detail"]
    problem(ann.post("/v1/findings", files={"photo": ("a.jpg", b"x")}), 400, "bad_request")
    problem(ann.get("/v1/nothing"), 404, "not_found")
    problem(ann.put("/v1/findings"), 405, "method_not_allowed")


def test_a_picture_without_a_face_has_a_finding_without_a_score(ann):
    from io import BytesIO

    data = BytesIO()
    Image.new("RGB", (300, 200), "navy").save(data, "PNG")
    told = send(ann, data.getvalue(), "sea.png").json()
    assert told["finding"]["verdict"] == "inconclusive" and told["finding"]["faces"] == []
    asked = ann.post(f"/v1/findings/{told['id']}/questions", json={"question": "Where?"})
    problem(asked, 422, "no_such_face")


@pytest.mark.parametrize(
    "body", [{"question": ""}, {"question": "x" * 501}, {"question": "Where?", "face": 0}, {"ask": "Where?"}]
)
def test_what_is_no_question_is_named(ann, body):
    name = send(ann).json()["id"]
    problem(ann.post(f"/v1/findings/{name}/questions", json=body), 422, "invalid")


def finished(client: httpx.Client, name: str) -> dict:
    """A job when it is over."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        job = client.get(f"/v1/jobs/{name}").json()
        if job["state"] == "finished":
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def test_a_job_examines_a_video_and_a_photograph_and_names_what_failed(ann, bob, clip, folder):
    content = {"clip.mp4": clip, "photo.jpg": EXAMPLE.read_bytes(), "list.txt": b"bread, milk"}
    begun = ann.post("/v1/jobs", files=[("files", item) for item in content.items()])
    assert begun.status_code == 202 and begun.headers["location"] == f"/v1/jobs/{begun.json()['id']}"
    job = finished(ann, begun.json()["id"])
    assert [file["state"] for file in job["files"]] == ["done", "done", "failed"]
    video, photo, failed = job["files"]
    assert video["result"]["finding"]["file"]["video"] and video["progress"]["frames"] > 1
    assert photo["result"]["finding"]["faces"] and photo["progress"]["frames"] == 0
    assert failed["result"] is None and failed["error"]["code"] == "not_an_image"
    assert job["progress"] == {"files_over": 3, "files": 3}
    assert ann.get(f"/v1/findings/{video['result']['id']}/report.pdf").content.startswith(b"%PDF")
    problem(bob.get(begun.headers["location"]), 404, "no_job")
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_a_job_that_is_cancelled_examines_no_more(ann, clip, folder):
    begun = ann.post("/v1/jobs", files=[("files", (f"{n}.mp4", clip)) for n in range(20)]).json()
    problem(ann.get("/v1/jobs/none"), 404, "no_job")
    assert ann.delete(f"/v1/jobs/{begun['id']}").status_code == 200
    job = finished(ann, begun["id"])
    states = [file["state"] for file in job["files"]]
    assert states[-1] == "cancelled" and job["files"][-1]["error"]["code"] == "cancelled"
    assert not [path for path in folder.rglob("*") if path.is_file()]


class TestDoor:
    """Who may ask, and how much."""

    def test_without_a_key_nothing_is_told_but_health_and_documentation(self, address):
        with client_of(address, None) as nobody:
            answer = nobody.get("/metrics")
            problem(answer, 401, "key")
            assert answer.headers["www-authenticate"] == "Bearer"
            problem(send(nobody), 401, "key")
            assert nobody.get("/healthz").json()["status"] == "ok"
            assert nobody.get("/docs").status_code == 200
            wrong = {"Authorization": "Bearer key-of-ann"}
            problem(nobody.get("/v1/findings/x", headers=wrong), 401, "key")

    def test_the_documentation_asks_nobody_else(self, address):
        """FastAPI's own page fetches its scripts from a content network."""
        page = httpx.get(f"{address}/docs")
        assert "://" not in page.text and "/openapi.json" in page.text
        assert httpx.get(f"{address}/static-offline-docs/swagger-ui-bundle.js").status_code == 200
        paths = httpx.get(f"{address}/openapi.json").json()["paths"]
        assert {"/v1/findings", "/v1/jobs", "/v1/findings/{id}/questions", "/healthz"} <= paths.keys()
        assert "multipart/form-data" in paths["/v1/jobs"]["post"]["requestBody"]["content"]

    def test_a_foreign_name_and_another_sites_page_are_turned_away(self, ann):
        problem(ann.get("/healthz", headers={"host": "evil.example"}), 421, "wrong_host")
        problem(ann.get("/healthz", headers={"origin": "http://evil.example"}), 403, "foreign_page")

    def test_metrics_count_and_name_nobody(self, ann):
        send(ann)
        text = ann.get("/metrics").text
        assert 'unmask_requests_total{route="/v1/findings",status="200"}' in text
        assert 'unmask_state{of="findings kept"}' in text and "unmask_findings_total" in text
        assert "photo" not in text and "ann" not in text.replace("scanned", "")

    def test_too_long_a_body_is_refused(self, ann):
        name = send(ann).json()["id"]
        long = ann.post(f"/v1/findings/{name}/questions", json={"question": "x" * 100_000})
        problem(long, 413, "too_large")

    def test_a_file_has_a_size_and_a_client_a_rate(self, assistant, tmp_path):
        limits = Limits(file_mb=1, rate=3)
        with served(assistant, tmp_path, limits) as address, client_of(address) as client:
            problem(send(client, b"x" * 2**21), 413, "too_large")
            problem(client.get("/v1/jobs/x"), 404, "no_job")
            client.get("/v1/jobs/x")
            answer = client.get("/v1/jobs/x")
            problem(answer, 429, "rate")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            with client_of(address, "bob") as other:
                problem(other.get("/v1/jobs/x"), 404, "no_job")

    def test_a_finding_is_kept_for_the_stated_time(self, assistant, tmp_path):
        with served(assistant, tmp_path, Limits(keep=0.3)) as address, client_of(address) as client:
            name = send(client).json()["id"]
            time.sleep(0.4)
            problem(client.get(f"/v1/findings/{name}"), 404, "no_finding")

    def test_others_are_let_in_with_keys_alone(self):
        check_keys(Door("127.0.0.1"), ApiKeys({}))
        with pytest.raises(ValueError, match=r"app\.service\.access NAME"):
            check_keys(Door("0.0.0.0"), ApiKeys({}))
        with pytest.raises(ValueError, match="above 0"):
            ServiceConfig(keep=0)


class Slow:
    """The assistant, except that an examination waits until it is let go on."""

    def __init__(self, assistant: Assistant):
        self._assistant, self.models = assistant, assistant.models
        self.go_on, self.order = threading.Event(), []
        self.begun = threading.Semaphore(0)

    def analyse(self, path: Path, watch=None):
        self.order.append(path.name)
        self.begun.release()
        assert self.go_on.wait(30)
        return self._assistant.analyse(path, watch=watch)


def test_a_full_line_says_when_to_come_back_and_nobody_starves(assistant, tmp_path, monkeypatch):
    monkeypatch.setattr("app.service.desk.EXAMINED_AT_ONCE", 1)
    slow = Slow(assistant)
    with (
        served(slow, tmp_path, Limits(each=2)) as address,
        client_of(address) as ann,
        client_of(address, "bob") as bob,
    ):
        waiting = [threading.Thread(target=send, args=(ann, None, "a0.jpg"))]
        waiting[0].start()
        assert slow.begun.acquire(timeout=30)
        for client, name in ((ann, "a1.jpg"), (ann, "a2.jpg"), (bob, "b0.jpg")):
            waiting.append(threading.Thread(target=send, args=(client, None, name)))
            waiting[-1].start()
            while bob.get("/healthz").json()["waiting"] < len(waiting) - 1:
                time.sleep(0.01)
        answer = send(ann, None, "a3.jpg")
        problem(answer, 503, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        slow.go_on.set()
        for thread in waiting:
            thread.join(60)
    assert slow.order == ["a0.jpg", "b0.jpg", "a1.jpg", "a2.jpg"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_service_needs_no_gradio():
    code = "import app.serve, app.service.application, sys; sys.exit('gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
