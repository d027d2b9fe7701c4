"""Prompt segments become token ids, labels and batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.verdicts import Verdict
from data_sim.dialogue import Case
from llm.prompt import (
    PromptStyle,
    SaidTurn,
    Segment,
    TemplateMarkers,
    make_markers,
    render_conversation,
    render_general,
    special_marks,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # label of a token that is not trained
NO_SOFT = -1  # soft_index of a token that is an ordinary word
NO_VERDICT = -1.0  # yes_target of a token that is not the first word of a verdict


@dataclass(frozen=True)
class Tokens:
    """One conversation of T tokens; four lists of length T.

    input_ids: token ids, 0 where a soft prompt stands.
    labels: the id where the token is a target, else IGNORED.
    soft_index: which row of (E_visual, E_forgery) stands here, else NO_SOFT.
    yes_targets: P(Yes) to be learnt where the token is the first of a verdict, else NO_VERDICT.
    """

    input_ids: list[int]
    labels: list[int]
    soft_index: list[int]
    yes_targets: list[float]

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True)
class Batch:
    """B conversations, padded on the right to T tokens.

    There is no attention mask: in a causal model no token looks to its right, where the padding is, and
    without a mask the attention takes its fastest path.

    input_ids, labels, soft_index: (B, T) int64. yes_targets: (B, T) float32.
    """

    input_ids: Tensor
    labels: Tensor
    soft_index: Tensor
    yes_targets: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Copy the batch to another device."""
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class Counts:
    """Numbers that losses are means over: target tokens and scored verdicts.

    A step that is computed in parts, one after another or on several processes, gives the counts of the whole
    step to every part. The parts' losses then add up to the loss of the whole, whatever the parts' sizes.
    """

    tokens: int
    verdicts: int


_SIDE_OF = {Verdict.FAKE: 1.0, Verdict.REAL: 0.0}


def verdict_target(case: Case) -> float:
    """The P(Yes | Yes or No) to learn for a case: halfway between its score and its verdict.

    The score alone would contradict a verdict whose threshold is not 0.5; the verdict alone would lose the
    order of the cases, and with it the ROC curve. Halfway keeps both: never on the wrong side of 0.5, and
    as ordered as the score. NO_VERDICT when the case has no score.
    """
    if case.score is None:
        return NO_VERDICT
    return 0.5 * case.score + 0.5 * _SIDE_OF.get(case.verdict, case.score)


class PromptTokenizer:
    """A transformers tokenizer that knows the template.

    markers: the template's marks. marks: reserved texts that a question must not contain.
    yes_id, no_id: first token of "Yes" and "No" behind the assistant's mark.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, style: PromptStyle, num_prompts: int) -> None:
        """num_prompts: n_f, how many tokens E_forgery takes.

        Raises ValueError when "Yes" and "No" begin with the same token.
        """
        self.tokenizer = tokenizer
        self.style = style
        self.num_prompts = num_prompts
        self._sentinel = self._plain("\n")
        self.markers: TemplateMarkers = make_markers(style.template, tokenizer, style.system)
        self.marks = special_marks(tokenizer)
        self.yes_id, self.no_id = (self.encode(self.markers.lead + word)[0] for word in ("Yes", "No"))
        if self.yes_id == self.no_id:
            raise ValueError(
                f"'Yes' and 'No' both begin with token {self.yes_id} "
                f"({tokenizer.convert_ids_to_tokens(self.yes_id)!r}): use a tokenizer that tells them apart"
            )
        self.end_ids = self.encode(self.markers.end)
        self.stop_ids = {self.end_ids[-1]} if len(self.end_ids) == 1 else set()
        if tokenizer.eos_token_id is not None:
            self.stop_ids.add(tokenizer.eos_token_id)

    def _plain(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as they are in the middle of a longer text.

        SentencePiece tokenizers put a space before the first word of whatever they are given; a segment
        would then begin with a space that the whole text does not have. A line break in front takes that
        space, and is cut off again.
        """
        ids = self._plain("\n" + text)
        head = len(self._sentinel)
        if ids[:head] == self._sentinel:
            return ids[head:]
        return self._plain(text)  # the break melted into the first token, as in byte-level vocabularies

    def tokenise(self, segments: Sequence[Segment], yes_target: float = NO_VERDICT) -> Tokens:
        """Each segment on its own, so that no token crosses a boundary.

        yes_target: what the first token of verdict answers shall teach, see `verdict_target`.
        """
        ids: list[int] = []
        labels: list[int] = []
        soft: list[int] = []
        yes: list[float] = []
        for segment in segments:
            if segment.kind == "text":
                new = self.encode(segment.text)
                soft += [NO_SOFT] * len(new)
            else:
                rows = [0] if segment.kind == "visual" else list(range(1, 1 + self.num_prompts))
                new = [0] * len(rows)
                soft += rows
            ids += new
            labels += new if segment.target else [IGNORED] * len(new)
            yes += [yes_target if segment.verdict and i == 0 else NO_VERDICT for i in range(len(new))]
        return Tokens(ids, labels, soft, yes)

    def conversation(
        self,
        case: Case,
        turns: Sequence[SaidTurn],
        told: str | None = None,
        yes_target: float | None = None,
    ) -> Tokens:
        """A rendered and tokenised training conversation.

        told: instead of what the style tells, see PromptStyle. yes_target: instead of `verdict_target`.
        """
        style = self.style if told is None else replace(self.style, told=told)
        segments = render_conversation(style, self.markers, case, turns, self.marks)
        return self.tokenise(segments, verdict_target(case) if yes_target is None else yes_target)

    def general(self, turns: Sequence[tuple[str, str]], pictured: bool) -> Tokens:
        """A rendered and tokenised conversation of general instruction data, see `render_general`."""
        return self.tokenise(render_general(self.markers, turns, pictured, self.marks))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, reserved tokens left out."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def collate(items: Sequence[Tokens], max_tokens: int | None = None) -> Batch:
    """Pad conversations on the right into one batch.

    max_tokens: longer conversations are cut there, at the end, where the last turns are.
    """
    length = max(len(item) for item in items)
    length = length if max_tokens is None else min(length, max_tokens)

    def pad(rows: list[list], value: float, dtype: torch.dtype) -> Tensor:
        return torch.tensor([row[:length] + [value] * (length - len(row)) for row in rows], dtype=dtype)

    return Batch(
        input_ids=pad([item.input_ids for item in items], 0, torch.long),
        labels=pad([item.labels for item in items], IGNORED, torch.long),
        soft_index=pad([item.soft_index for item in items], NO_SOFT, torch.long),
        yes_targets=pad([item.yes_targets for item in items], NO_VERDICT, torch.float32),
    )


def count_targets(items: Sequence[Tokens], max_tokens: int | None = None) -> Counts:
    """Count target tokens and scored verdicts of conversations once `collate` has cut them.

    The first token is no target: nothing stands before it.
    """
    return Counts(
        tokens=sum(label != IGNORED for item in items for label in item.labels[1:max_tokens]),
        verdicts=sum(target >= 0 for item in items for target in item.yes_targets[1:max_tokens]),
    )
