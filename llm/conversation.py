"""A conversation about one face: streamed, with the KV cache kept between turns.

    conversation = Conversation(model, case, detection)
    for piece in conversation.ask("Is this a deepfake image?"):
        print(piece, end="")

The model is shared, the conversation is not: every case and every user has its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from data_sim.dialogue import FIRST_QUESTION, Case
from data_sim.dialogues.facts import Facts
from kfd.detection import Detection
from llm.checks.plain import is_counted, plain_answer
from llm.checks.redraw import DRAWS, FIRST_DRAWS, REDRAW_TEMPERATURE, Draft, agreed, ends_sentence
from llm.model import ForgeryLLM
from llm.prompt import Segment, clean_question, opening, question
from llm.tokens import NO_SOFT, PromptTokenizer, Tokens

# The name that every transformers 5 knows; newer ones warn of it on the user's screen.
warnings.filterwarnings("ignore", message=".*past_key_values. is deprecated", category=FutureWarning)

MIN_ANSWER = 32  # tokens that must be left for an answer, else the conversation is full
UNFINISHED = "\ufffd"  # what a decoder writes for a character whose last byte is still to come


@dataclass(frozen=True)
class FinishedTurn:
    """A question as the model read it, and the answer as far as it was written."""

    question: str
    answer: str
    composed: bool = False  # by rules: none of the model's words agreed with the facts and was to the point


class ConversationFull(ValueError):
    """There is no room left for a question and its answer; a new conversation may have it."""


def checked_room(model: ForgeryLLM, used: int) -> int:
    """Tokens left for an answer where `used` stand before it; ConversationFull when they are too few."""
    room = model.max_tokens - used - len(model.prompter.end_ids)
    if room < MIN_ANSWER:
        raise ConversationFull(
            f"the conversation is full: with this question it has {used} of {model.max_tokens} tokens, and "
            f"an answer needs {MIN_ANSWER}. Start a new one, or ask a shorter question"
        )
    return room


class Conversation:
    """Questions and answers about one face.

    history: the exchanges so far. input_ids: every token in the KV cache.
    """

    def __init__(self, model: ForgeryLLM, case: Case, detection: Detection | None = None) -> None:
        """detection: of this one face (B = 1); needed by a model that reads soft prompts, unless the case
        has no score; refused by others.

        Raises ValueError when the detection is missing, superfluous or of several faces.
        """
        from transformers import DynamicCache

        soft_mode = model.prompter.style.has_soft_prompts
        scored = case.score is not None  # without a score there is no map: the prompts stay blank
        if soft_mode and scored and (detection is None or detection.score.shape[0] != 1):
            got = "none" if detection is None else f"one of {detection.score.shape[0]} faces"
            raise ValueError(f"this model reads soft prompts: expected the detection of one face, got {got}")
        if not soft_mode and detection is not None:
            raise ValueError("this model reads evidence as text: expected no detection, got one")
        if model.prompter.style.told == "facts" and not isinstance(case, Facts):
            case = Facts.of(case)  # what the prompt tells is what answers are held against
        self.model = model
        self.case = case
        self.detection = detection
        self.history: list[FinishedTurn] = []
        self.input_ids: list[int] = []
        self._pending: list[int] = []  # belong behind input_ids; read together with the next question
        self._cache = DynamicCache()
        self._logits: Tensor | None = None  # (V,) after the last cached token
        self._open: _Answer | None = None  # the answer that is being written
        self._ear = lru_cache(maxsize=8)(model.ear)  # every draft of an answer is held against its question

    @property
    def said(self) -> list[str]:
        """The answers so far."""
        return [turn.answer for turn in self.history]

    @property
    def num_bytes(self) -> int:
        """What the cache of this conversation takes in memory."""
        filled = (layer for layer in self._cache.layers if layer.is_initialized)
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in filled)

    def recall(self, turns: Sequence[FinishedTurn]) -> None:
        """Go on from an earlier conversation about the face: as if its last turns had been held here.

        Of the turns those are taken that fill no more than half of the model's window.
        """
        room = self.model.max_tokens // 2 - len(self.model.prompter.tokenise(self._opening()))
        kept: list[FinishedTurn] = []
        for turn in reversed(turns):
            room -= len(self._told(turn, first=False))
            if room < 0:
                break
            kept.insert(0, turn)
        if kept:
            self._read_opening()
        for turn in kept:
            self._pending = self._pending + self._told(turn, first=not self.history)
            self.history.append(turn)

    def _told(self, turn: FinishedTurn, first: bool) -> list[int]:
        """The tokens of a finished turn, as they stand in the cache when it was held here."""
        prompter = self.model.prompter
        asked = prompter.tokenise(question(prompter.markers, turn.question, first=first))
        return [*asked.input_ids, *prompter.encode(prompter.markers.lead + turn.answer), *prompter.end_ids]

    def ask(
        self,
        text: str,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        checked: bool = False,
    ) -> Iterator[str]:
        """Pieces of the answer as they are written.

        temperature: 0 takes the likeliest token each time; above 0 samples, with `seed`.
        checked: hold every sentence against the case before it is handed out, and word it anew where it
            contradicts (llm.checks.claims), is beside the point (llm.checks.on_topic) or repeats an earlier
            answer. A sentence that fails every time ends the answer; where it is the first, a plain answer
            out of the facts (llm.checks.plain) stands in its place.
        An answer that is not read to its end counts as far as it was written (a question without a single
        written token is forgotten); asking again ends it.
        Raises ValueError, before anything is written, for an empty or too long question, for bad settings
        and when the conversation has no room left.
        """
        if max_new_tokens < 1 or temperature < 0:
            raise ValueError(
                f"expected max_new_tokens >= 1 and temperature >= 0, got {max_new_tokens} and {temperature}"
            )
        text = clean_question(text, self.model.prompter.marks)
        self._close()
        self._check_room(self._question(text))
        return self._write(_Answer(text, max_new_tokens, temperature, seed, checked))

    def yes_probability(self, text: str = FIRST_QUESTION) -> float:
        """P(Yes | Yes or No) as the first word of the answer to `text`.

        The conversation is left as it was, except that an answer still being written is ended.
        Raises ValueError like `ask`.
        """
        text = clean_question(text, self.model.prompter.marks)
        self._close()
        segments = self._question(text)
        self._check_room(segments)
        self._read_opening()
        length, pending, logits = len(self.input_ids), self._pending, self._logits
        try:
            self._read(self.model.prompter.tokenise(segments))
            prompter = self.model.prompter
            margin = self._logits[prompter.yes_id].float() - self._logits[prompter.no_id].float()
            return float(torch.sigmoid(margin))
        finally:
            self._forget(length)
            self._pending, self._logits = pending, logits

    def _write(self, writing: _Answer) -> Iterator[str]:
        """Read the question, then write until the end mark, the limit, or the next question."""
        self._close()
        segments = self._question(writing.question)
        room = self._check_room(segments)
        self._read_opening()
        writing.length, writing.pending = len(self.input_ids), self._pending
        self._open = writing
        try:
            self._read(self.model.prompter.tokenise(segments))
            writing.start = len(self.input_ids)
            writing.limit = min(writing.limit, room)
            if writing.checked and is_counted(writing.question, self._ear):
                self._say_plainly(writing)
            while self._open is writing and writing.goes_on:
                if writing.checked:
                    self._write_sentence(writing)
                else:
                    self._write_token(writing)
                yield from writing.news()
            if writing.checked and not writing.text and self._open is writing:
                self._say_plainly(writing)
        finally:
            if self._open is writing:
                self._close()
        yield from writing.news(final=True)

    def _say_plainly(self, writing: _Answer) -> None:
        """Put a plain answer out of the facts in the place of one that was never agreed upon."""
        prompter = self.model.prompter
        writing.composed = writing.ended = True
        writing.text = plain_answer(self.case, writing.question, self.said, self._ear)
        writing.ids = prompter.encode(prompter.markers.lead + writing.text)[: writing.limit]

    def _write_token(self, writing: _Answer) -> None:
        unread = writing.ids[len(self.input_ids) - writing.start :]
        if unread:
            self._read_ids(unread)
        writing.add(self._logits, self.model.prompter)

    def _write_sentence(self, writing: _Answer) -> None:
        """Write to the end of a sentence that agrees with the case; of several tries keep the best."""
        before = (writing.ids, writing.text)
        best = agreed(self._drafts(writing), self.case, writing.question, self.said, self._ear)
        if best is None:
            writing.ids, writing.text = before
        else:
            writing.ids, writing.text = best.state, best.text
        writing.ended = best is None or best.ended
        writing.temperature = writing.first_temperature

    def _drafts(self, writing: _Answer) -> Iterator[Draft]:
        """Sentences that could come next; the cache holds the last one drawn, and none when all are drawn."""
        before = (writing.ids, writing.text)
        for draw in range(DRAWS if before[1] else FIRST_DRAWS):
            writing.temperature = REDRAW_TEMPERATURE if draw else writing.first_temperature
            self._write_token(writing)
            while writing.goes_on and not ends_sentence(writing.text):
                self._write_token(writing)
            yield Draft(writing.text, writing.ended, writing.ids, first=not before[1])
            self._rewind(writing, before)  # not reached when the draft just given is taken

    def _rewind(self, writing: _Answer, before: tuple[list[int], str]) -> None:
        """Take an answer back to an earlier state of it; the cache and its logits go with it."""
        writing.ids, writing.text = before
        writing.ended = False
        kept = min(len(self.input_ids), writing.start + len(writing.ids))
        last = self.input_ids[kept - 1]  # read again for its logits: never a soft prompt
        self._forget(kept - 1)
        self._read_ids([last])

    def _close(self) -> None:
        """End the answer being written; the end mark will stand where training puts it."""
        writing, self._open = self._open, None
        if writing is None:
            return
        if not writing.ids:
            self._forget(writing.length)
            self._pending = writing.pending
            return
        unread = writing.ids[len(self.input_ids) - writing.start :]
        self._forget(min(len(self.input_ids), writing.start + len(writing.ids)))
        self._pending = unread + self.model.prompter.end_ids
        self.history.append(FinishedTurn(writing.question, writing.text, writing.composed))

    def _question(self, text: str) -> list[Segment]:
        return question(self.model.prompter.markers, text, first=not self.history)

    def _opening(self) -> list[Segment]:
        return opening(self.model.prompter.style, self.model.prompter.markers, self.case)

    def _check_room(self, segments: Sequence[Segment]) -> int:
        """Tokens left for the answer to a question; ValueError when they are too few."""
        prompter = self.model.prompter
        head = [] if self.input_ids else self._opening()
        used = len(self.input_ids) + len(self._pending) + len(prompter.tokenise([*head, *segments]))
        return checked_room(self.model, used)

    def _read_opening(self) -> None:
        """Read the evidence once; every question of the conversation shares it."""
        if not self.input_ids:
            self._read(self.model.prompter.tokenise(self._opening()))

    def _read(self, tokens: Tokens) -> None:
        """Put what is pending and then `tokens` into the cache."""
        self._read_ids(self._pending + tokens.input_ids, [NO_SOFT] * len(self._pending) + tokens.soft_index)
        self._pending = []

    @torch.inference_mode()
    def _read_ids(self, ids: list[int], soft_index: list[int] | None = None) -> None:
        """Put tokens into the cache. On any error the cache is as it was before."""
        soft_index = [NO_SOFT] * len(ids) if soft_index is None else soft_index
        device = self.model.device
        soft = None
        if self.detection is not None and any(row != NO_SOFT for row in soft_index):
            soft = torch.cat(self.model.soft_prompts(self.detection), dim=1)
        embeds = self.model.embed(
            torch.tensor([ids], device=device), torch.tensor([soft_index], device=device), soft
        )
        try:
            output = self.model.llm(
                inputs_embeds=embeds, past_key_values=self._cache, use_cache=True, logits_to_keep=1
            )
        except BaseException:  # also KeyboardInterrupt: half the layers may have read the tokens
            self._forget(len(self.input_ids))
            raise
        self._logits = output.logits[0, -1]
        self.input_ids += ids

    def _forget(self, length: int) -> None:
        """Cut the conversation back to its first `length` tokens."""
        for layer in self._cache.layers:  # one by one: after an error they may differ in length
            surplus = layer.get_seq_length() - length if layer.is_initialized else 0
            if surplus > 0:
                layer.crop(-surplus)
        del self.input_ids[length:]


@dataclass
class _Answer:
    """An answer while it is being written.

    limit: tokens it may have. checked: see Conversation.ask. length, pending: the conversation before
    its question. start: number of cached tokens before its first token. ids: its tokens. text: its
    words. ended: the model closed it. composed: it is not the model's.
    """

    question: str
    limit: int
    temperature: float
    seed: int
    checked: bool = False
    length: int = 0
    pending: list[int] = field(default_factory=list)
    start: int = 0
    ids: list[int] = field(default_factory=list)
    text: str = ""
    ended: bool = False
    composed: bool = False
    given: int = 0  # characters of `text` handed out

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        self.first_temperature = self.temperature

    @property
    def goes_on(self) -> bool:
        """Whether there is more to write, and room for it."""
        return not self.ended and len(self.ids) < self.limit

    def add(self, logits: Tensor, prompter: PromptTokenizer) -> None:
        """Choose the next token; on an end mark, drop what belongs to the mark."""
        token = self._choose(logits)
        if token in prompter.stop_ids:
            self.ended = True
            return
        ids = [*self.ids, token]
        words, mark, _ = prompter.decode(ids).partition(prompter.markers.end.strip())
        self.text = words.strip()
        if not mark:
            self.ids = ids
            return
        self.ended = True
        end = prompter.end_ids
        if ids[-len(end) :] == end:
            ids = ids[: -len(end)]
        else:  # spelt in other tokens than training spells it
            while ids and len(prompter.decode(ids).strip()) > len(self.text):
                ids = ids[:-1]
        self.ids = ids

    def _choose(self, logits: Tensor) -> int:
        if self.temperature == 0:
            return int(logits.argmax())
        probs = torch.softmax(logits.float().cpu() / self.temperature, dim=-1)
        return int(torch.multinomial(probs, 1, generator=self.generator))

    def news(self, final: bool = False) -> Iterator[str]:
        """The words not handed out yet, without half characters and without what may become an end mark."""
        ready = self.text if final else self.text.rstrip(UNFINISHED + "#").rstrip()
        if len(ready) > self.given:
            piece, self.given = ready[self.given :], len(ready)
            yield piece
