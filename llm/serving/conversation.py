"""A conversation whose words are written elsewhere, with the interface of llm.conversation.Conversation."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from data_sim.dialogue import Case
from llm.checks.plain import is_counted, plain_answer
from llm.checks.redraw import REDRAW_TEMPERATURE, Draft, agreed, sentence_length
from llm.conversation import FinishedTurn
from llm.serving.endpoint import EndpointError

RECALLED = 6  # turns of an earlier conversation that are sent again
DRAWS = 3  # wordings of a sentence that are asked for; fewer than locally, because they may cost money


class Writer(Protocol):
    """A writer of answers: llm.serving.endpoint.ChatWriter, llm.serving.prompt_embeds.EmbedsWriter.

    resumes: whether it can go on from the middle of an answer.
    """

    resumes: bool

    def clean(self, text: str) -> str: ...

    def room(self, history: Sequence[FinishedTurn], asked: str, limit: int) -> int: ...

    def write(
        self,
        history: Sequence[FinishedTurn],
        asked: str,
        said: str,
        limit: int,
        temperature: float,
        seed: int,
    ) -> Generator[str, None, None]: ...


class RemoteConversation:
    """Questions and answers about one face.

    history: the exchanges so far. A failed answer leaves no trace in it, so the conversation goes on as if
    the question had not been asked.
    """

    def __init__(self, writer: Writer, case: Case) -> None:
        self.writer = writer
        self.case = case
        self.history: list[FinishedTurn] = []
        self._open: _Answer | None = None  # the answer that is being written

    @property
    def said(self) -> list[str]:
        """The answers so far."""
        return [turn.answer for turn in self.history]

    @property
    def num_bytes(self) -> int:
        """What the cache of this conversation takes in memory here: it is kept elsewhere."""
        return 0

    def recall(self, turns: Sequence[FinishedTurn]) -> None:
        """Go on from an earlier conversation about the face, its last RECALLED turns."""
        self.history += turns[-RECALLED:]

    def ask(
        self,
        text: str,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        checked: bool = False,
    ) -> Iterator[str]:
        """Pieces of the answer as they arrive; with `checked` whole sentences, see Conversation.ask.

        Where the first sentence contradicts the case the answer is asked for anew; where a later one does,
        the writer goes on anew from there if it can, and the answer ends there if it cannot.
        An answer that is not read to its end counts as far as it was read; asking again ends it.
        Raises ValueError, before anything is sent, for an empty or too long question, for bad settings and
        when the conversation has no room left; EndpointError, while it is read, when the answer fails.
        """
        if max_new_tokens < 1 or temperature < 0:
            raise ValueError(
                f"expected max_new_tokens >= 1 and temperature >= 0, got {max_new_tokens} and {temperature}"
            )
        text = self.writer.clean(text)
        self._close()
        limit = self.writer.room(self.history, text, max_new_tokens)
        return self._write(_Answer(text, limit, temperature, seed, checked))

    def _write(self, answer: _Answer) -> Iterator[str]:
        self._close()
        self._open = answer
        try:
            with closing(self._pieces(answer)) as pieces:
                for piece in pieces:
                    answer.text += piece
                    yield piece
                    if self._open is not answer:
                        return
        except EndpointError:
            self._open = None if self._open is answer else self._open
            raise
        finally:
            if self._open is answer:
                self._close()
        if answer.checked and not answer.text:
            answer.text = plain_answer(self.case, answer.question, self.said)
            self.history.append(FinishedTurn(answer.question, answer.text, composed=True))
            yield answer.text

    def _pieces(self, answer: _Answer) -> Generator[str, None, None]:
        if answer.checked and is_counted(answer.question):
            return (piece for piece in ())  # composed when nothing was written
        return self._checked(answer) if answer.checked else self._plain(answer)

    def _plain(self, answer: _Answer) -> Iterator[str]:
        with closing(self._source(answer, draw=0)) as source:
            while piece := source.piece():
                yield piece

    def _checked(self, answer: _Answer) -> Iterator[str]:
        """The answer sentence by sentence, each held against the case before it is handed out."""
        source, said = self._source(answer, draw=0), ""
        try:
            while not source.ended:
                best = agreed(self._drafts(answer, source, said), self.case, answer.question, self.said)
                if best is None:
                    return
                yield best.text[len(said) :]
                said, source = best.text, best.state
        finally:
            for opened in answer.sources:
                opened.close()

    def _drafts(self, answer: _Answer, source: _Source, said: str) -> Iterator[Draft]:
        """Sentences that could come next, each with the stream that goes on from it."""
        yield source.sentence()
        if said and not self.writer.resumes:
            return
        for draw in range(1, DRAWS):
            yield self._source(answer, draw, said).sentence()

    def _source(self, answer: _Answer, draw: int, said: str = "") -> _Source:
        temperature = REDRAW_TEMPERATURE if draw else answer.temperature
        pieces = self.writer.write(
            self.history, answer.question, said, answer.limit, temperature, answer.seed + draw
        )
        answer.sources.append(_Source(pieces, said))
        return answer.sources[-1]

    def _close(self) -> None:
        """End the answer being written."""
        answer, self._open = self._open, None
        if answer is not None and answer.text.strip():
            self.history.append(FinishedTurn(answer.question, answer.text.strip()))


@dataclass
class _Answer:
    """An answer while it is being written. text: what was handed out. sources: every stream opened for it."""

    question: str
    limit: int
    temperature: float
    seed: int
    checked: bool
    text: str = ""
    sources: list[_Source] = field(default_factory=list)


class _Source:
    """The stream of an answer. ended: all of it was taken."""

    def __init__(self, pieces: Generator[str, None, None], said: str) -> None:
        """said: what of the answer was there before; a space stands between it and what comes."""
        self._pieces = pieces
        self._text = said
        self._taken = len(said)
        self._held = " " if said else ""  # spaces that are given out only when a word follows
        self._begun = False
        self.ended = False

    def piece(self) -> str:
        """The next piece, "" at the end. Raises EndpointError where the whole answer is empty."""
        for piece in self._pieces:
            piece = self._held + (piece if self._begun else piece.lstrip())
            ready = piece.rstrip()
            self._held = piece[len(ready) :]
            if ready:
                self._begun = True
                self._text += ready
                return ready
        if not self._begun and not self._text:
            raise EndpointError("the language model's endpoint gave an empty answer")
        return ""

    def sentence(self) -> Draft:
        """Take the next sentence; the draft holds the whole answer up to its end."""
        while (length := sentence_length(self._text[self._taken :])) is None:
            if not self.piece():
                length = len(self._text) - self._taken
                self.ended = True
                break
        first, self._taken = self._taken == 0, self._taken + length
        return Draft(self._text[: self._taken], self.ended, self, first)

    def close(self) -> None:
        self._pieces.close()
