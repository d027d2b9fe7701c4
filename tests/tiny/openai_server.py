"""A small OpenAI-compatible server on a real socket, for tests: streams what it is told to, or misbehaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "tiny-instruct"
Reply = Callable[[dict[str, Any]], Sequence[str]]


class OpenAIServer:
    """url: what to pass as --llm-url. requests: (path, headers, raw body) of every POST, in order.

    script: what to do with the next requests, one word each: a status such as "503", "hang" (says nothing),
    "trickle" (only keeps the connection alive), "cut" (ends the answer after its first piece), "error" (an
    error in the middle of the stream) or "plain" (JSON, no stream). An empty script answers.
    """

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.script: list[str] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.closing = threading.Event()
        server = self

        class Handler(_Handler):
            owner = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The JSON of every POST."""
        return [json.loads(body) for _, _, body in self.requests]

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def serving(reply: Reply) -> Iterator[OpenAIServer]:
    """A server for the time of the block."""
    server = OpenAIServer(reply)
    try:
        yield server
    finally:
        server.close()


class _Handler(BaseHTTPRequestHandler):
    owner: OpenAIServer

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            return self._status(404, {"detail": "Not Found"})
        return self._status(200, {"object": "list", "data": [{"id": MODEL}]})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        self.owner.requests.append((self.path, dict(self.headers), raw))
        act = self.owner.script.pop(0) if self.owner.script else "answer"
        body = json.loads(raw)
        if act.isdigit():
            return self._status(
                int(act), {"error": {"message": f"told to fail {self.headers['authorization']}"}}
            )
        if act == "hang":
            self.owner.closing.wait(20)
            return None
        if body["model"] != MODEL:
            return self._status(404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
        if act == "plain":
            return self._status(200, {"choices": [{"message": {"content": "Yes."}}]})
        return self._stream(body, act)

    def _status(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, body: dict[str, Any], act: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        try:
            while act == "trickle" and not self.owner.closing.wait(0.02):
                self.wfile.write(b": still here\n\n")
            for number, piece in enumerate(self.owner.reply(body)):
                self._event({"choices": [self._choice(piece)]})
                if number == 0 and act == "cut":
                    return
                if number == 0 and act == "error":
                    return self._event({"error": {"message": "the engine died"}})
            self._event({"choices": [self._choice("") | {"finish_reason": "stop"}]})
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has heard enough

    def _choice(self, piece: str) -> dict[str, Any]:
        chat = self.path.endswith("chat/completions")
        return {"index": 0, "delta": {"content": piece}} if chat else {"index": 0, "text": piece}

    def _event(self, content: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode())
        self.wfile.flush()
