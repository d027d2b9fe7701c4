"""A language model behind an OpenAI-compatible endpoint (vLLM, llama.cpp, Ollama, hosted services).

    endpoint = Endpoint("http://127.0.0.1:8000/v1", "Qwen/Qwen2.5-7B-Instruct")
    conversation = RemoteConversation(ChatWriter(endpoint, case), case)
    for piece in conversation.ask("Is this a deepfake image?"):
        print(piece, end="")

Here is the HTTP side and the writer that tells the evidence as text. The face itself is sent only where the
caller hands it over. Conversations are in conversation.py, prompt embeddings in prompt_embeds.py.
"""

from __future__ import annotations

import base64
import json
import os
import random
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from data_sim.dialogue import Case, untuned_task
from llm.prompt import PromptStyle, TemplateMarkers, clean_question, opening, question

if TYPE_CHECKING:
    from llm.conversation import FinishedTurn

KEY_VARIABLE = "UNMASK_LLM_KEY"
OPENAI_HOST, OPENAI_KEY_VARIABLE = "api.openai.com", "OPENAI_API_KEY"
PASSING = frozenset({408, 429, 500, 502, 503, 504})  # answers that may differ a moment later
LONGEST_PAUSE = 30.0  # seconds; a server may ask for more patience than a user has
LONGEST_REASON = 300  # characters of a server's own words that are passed on

_NO_MARKERS = TemplateMarkers(
    "", "", "", "", ""
)  # the server puts its own marks around questions and answers
# Marks of common chat templates, which a server might read as its own when they stand in a question.
_MARKS = (
    "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|endoftext|>",
    "<|begin_of_text|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<start_of_turn>",
    "<end_of_turn>", "[INST]", "[/INST]", "<s>", "</s>",
)  # fmt: skip


class EndpointError(ConnectionError):
    """An answer that an endpoint did not give, in words for the user."""


class _PassingError(Exception):
    """A failure worth another attempt. pause: seconds the server asked for, or None."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(frozen=True)
class Patience:
    """Patience: how long to wait, in seconds, and how often to try.

    connect: for the connection. silence: for the next piece of an answer. whole: for all of it.
    attempts: until the first piece arrives; none after it. pause: before the second attempt; doubles.
    """

    connect: float = 5.0
    silence: float = 60.0
    whole: float = 300.0
    attempts: int = 4
    pause: float = 0.5


class Endpoint:
    """One model of one OpenAI-compatible server.

    url: its base, usually ending in /v1. model: the name the server knows it by. key: sent as bearer token,
    and never written anywhere.
    Raises ValueError for an address that is none.
    """

    def __init__(self, url: str, model: str, key: str = "", patience: Patience | None = None) -> None:
        import httpx

        self.url = checked_url(url)
        self.model = model
        self.patience = patience or Patience()
        self._key = key
        limits = httpx.Timeout(self.patience.silence, connect=self.patience.connect)
        headers = {"User-Agent": "unmask"} | ({"Authorization": f"Bearer {key}"} if key else {})
        # Redirects are not followed: what is said of a case goes to the host that was named, and no other.
        self._client = httpx.Client(timeout=limits, headers=headers, follow_redirects=False)

    @property
    def host(self) -> str:
        """Host and port."""
        return urlsplit(self.url).netloc

    def models(self) -> list[str]:
        """The names of the models it serves. Raises EndpointError."""
        import httpx

        try:
            response = self._client.get(f"{self.url}/models")
            self._check(response)
            return [str(model["id"]) for model in response.json()["data"]]
        except (httpx.HTTPError, _PassingError) as error:
            raise self._error(f"did not name its models ({_named(error)})") from None
        except (ValueError, KeyError, TypeError):
            raise self._error("gave no list of models; does the address end in /v1?") from None

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of an answer as they arrive.

        path: "chat/completions" or "completions". body: of the request, without model and stream.
        Closing the generator closes the connection, at which servers stop writing.
        Raises EndpointError when there is no answer or it breaks off.
        """
        body = {"model": self.model, **body, "stream": True}
        for attempt in range(1, self.patience.attempts + 1):
            begun = False
            try:
                for event in self._events(path, body):
                    begun = True
                    yield event
                return
            except _PassingError as failure:
                if begun:
                    raise self._error(f"broke off in the middle of its answer ({failure})") from None
                if attempt == self.patience.attempts:
                    raise self._error(f"did not answer in {attempt} attempts ({failure})") from None
                pause = failure.pause or self.patience.pause * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)
            time.sleep(min(pause, LONGEST_PAUSE))

    def _events(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """One attempt at `stream`."""
        import httpx

        finished = False
        try:
            with self._client.stream("POST", f"{self.url}/{path}", json=body) as response:
                self._check(response)
                for data in _event_data(self._in_time(response.iter_bytes())):
                    if data == b"[DONE]":
                        return
                    event = self._event(data)
                    finished = finished or any(c.get("finish_reason") for c in event["choices"])
                    yield event
        except httpx.ReadTimeout:
            raise self._error(f"sent nothing for {self.patience.silence:g} s") from None
        except httpx.TransportError as error:
            if not finished:
                raise _PassingError(_named(error)) from None
        if not finished:
            raise _PassingError("the stream ended early")

    def _in_time(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks, also those that only keep the connection alive, until the time for all is up."""
        deadline = time.monotonic() + self.patience.whole
        for chunk in chunks:
            if time.monotonic() > deadline:
                raise self._error(f"was still writing after {self.patience.whole:g} s")
            yield chunk

    def _event(self, data: bytes) -> dict[str, Any]:
        try:
            event = json.loads(data)
            error = event.get("error")
        except (ValueError, AttributeError):
            raise self._error(f"sent something that is no event: {self._quote(data)}") from None
        if error:
            raise self._error(f"reports: {self._quote(data)}")
        return event if isinstance(event.get("choices"), list) else {**event, "choices": []}

    def _check(self, response: Any) -> None:
        """Raise what the status of a response calls for."""
        status = response.status_code
        if status == 200:
            kind = response.headers.get("content-type", "")
            if response.request.method == "POST" and not kind.startswith("text/event-stream"):
                raise self._error(f"sent {kind or 'something'} where a stream of events was expected")
            return
        reason = self._quote(response.read())
        if status in PASSING:
            asked = response.headers.get("retry-after", "")
            raise _PassingError(f"{status}: {reason}", float(asked) if asked.isdigit() else None)
        if status in (401, 403):
            raise self._error(f"refused the key ({status}): set {KEY_VARIABLE} in the environment")
        if status == 404 and response.request.method == "POST":
            raise self._error(f"knows no model {self.model!r} or no such address (404){self._served()}")
        raise self._error(f"refused the request ({status}): {reason}")

    def _served(self) -> str:
        try:
            return f"; it serves {', '.join(self.models())}"
        except EndpointError:
            return "; does the address end in /v1?"

    def _quote(self, body: bytes) -> str:
        """A server's own words, short, on one line, and never with the key in them."""
        text = body.decode("utf-8", "replace")
        try:
            values = json.loads(text)
            error = values.get("error", values)
            text = str(error.get("message", error) if isinstance(error, dict) else error)
        except (ValueError, AttributeError):
            pass
        text = text.replace(self._key, "[key]") if self._key else text
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text[:LONGEST_REASON] or "no reason given"

    def _error(self, what: str) -> EndpointError:
        return EndpointError(f"the language model's endpoint at {self.host} {what}")


class ChatWriter:
    """Words about one face from a chat endpoint, which is told the evidence as text.

    resumes: such an endpoint cannot go on from the middle of an answer.
    """

    resumes = False

    def __init__(self, endpoint: Endpoint, case: Case, face: np.ndarray | None = None) -> None:
        """face: (S, S, 3) uint8 RGB, to be sent along; None: no pixel leaves this machine."""
        self.endpoint = endpoint
        self._face = None if face is None else _data_url(face)
        style = PromptStyle("chat", "evidence_text", untuned_task(sees_face=face is not None))
        self._head = "".join(segment.text for segment in opening(style, _NO_MARKERS, case))

    def clean(self, text: str) -> str:
        """A user's question without marks of chat templates; ValueError where nothing is left."""
        return clean_question(text, _MARKS)

    def room(self, history: Sequence[FinishedTurn], asked: str, limit: int) -> int:
        """Return the tokens asked for: only the server knows how many an answer may have."""
        return limit

    def write(
        self,
        history: Sequence[FinishedTurn],
        asked: str,
        said: str,
        limit: int,
        temperature: float,
        seed: int,
    ) -> Generator[str, None, None]:
        """The pieces of an answer. said: "" always, see `resumes`. Raises EndpointError."""
        body: dict[str, Any] = {
            "messages": self.messages(history, asked),
            "max_tokens": limit,
            "temperature": temperature,
        }
        if temperature > 0:
            body["seed"] = seed
        for event in self.endpoint.stream("chat/completions", body):
            for choice in event["choices"][:1]:
                content = (choice.get("delta") or {}).get("content")
                yield content if isinstance(content, str) else ""

    def messages(self, history: Sequence[FinishedTurn], asked: str) -> list[dict[str, Any]]:
        """The conversation as the protocol wants it; the evidence stands in the first message only."""
        questions = [*(exchange.question for exchange in history), asked]
        answers = [exchange.answer for exchange in history]
        messages: list[dict[str, Any]] = []
        for turn, text in enumerate(questions):
            words = question(_NO_MARKERS, text, first=turn == 0)[0].text
            messages.append({"role": "user", "content": words if turn else self._first(words)})
            if turn < len(answers):
                messages.append({"role": "assistant", "content": answers[turn]})
        return messages

    def _first(self, words: str) -> str | list[dict[str, Any]]:
        text = self._head + words
        if self._face is None:
            return text
        return [
            {"type": "image_url", "image_url": {"url": self._face}},
            {"type": "text", "text": text},
        ]


def checked_url(url: str) -> str:
    """The address without a slash at its end. Raises ValueError for one that is not http(s)://host."""
    parts = urlsplit(url)
    try:
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        valid = False
    if not valid:
        raise ValueError(f"expected the address of an endpoint such as http://127.0.0.1:8000/v1, got {url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            f"expected an address without password, query or fragment for the endpoint at {parts.hostname}: "
            f"put a key into the environment variable {KEY_VARIABLE}"
        )
    return url.rstrip("/")


def key_for(url: str) -> str:
    """The key for an endpoint, out of the environment, or "".

    OpenAI's own key goes to OpenAI only: it must not reach another host because it happens to be set.
    """
    if urlsplit(url).hostname == OPENAI_HOST and KEY_VARIABLE not in os.environ:
        return os.environ.get(OPENAI_KEY_VARIABLE, "")
    return os.environ.get(KEY_VARIABLE, "")


def connect(url: str, model: str = "", patience: Patience | None = None) -> Endpoint:
    """An endpoint with its key; without `model` the only model that it serves.

    Raises ValueError when it serves several, EndpointError when it does not say.
    """
    key = key_for(url)
    if model:
        return Endpoint(url, model, key, patience)
    served = Endpoint(url, "", key, patience).models()
    if len(served) != 1:
        names = ", ".join(served) or "none"
        raise ValueError(f"expected the name of a model that {url} serves ({names}): pass it as --llm-model")
    return Endpoint(url, served[0], key, patience)


def _event_data(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The data of server-sent events. Lines end in a line feed alone: JSON may hold other separators."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def _named(error: Exception) -> str:
    """An error of the connection in words; httpx leaves some without any."""
    return str(error) or type(error).__name__


def _data_url(face: np.ndarray) -> str:
    buffer = BytesIO()
    Image.fromarray(face).save(buffer, "JPEG", quality=95)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
