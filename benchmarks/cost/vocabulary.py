"""A SentencePiece vocabulary for models with random weights, trained on the dialogues' own language."""

from __future__ import annotations

import io
import random
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from data_sim.dialogue import TASK_DESCRIPTION, evidence_text, kfd_result, make_dialogue, random_case
from llm.prompt import IMAGE_CLOSE, IMAGE_OPEN, TURN_MARK

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def dialogue_texts(conversations: int, seed: int) -> Iterator[str]:
    """The texts of random conversations, in training wordings only."""
    rng = random.Random(seed)
    yield TASK_DESCRIPTION
    yield "Human: Assistant:"
    for _ in range(conversations):
        case = random_case(rng)
        yield kfd_result(case)
        yield evidence_text(case)
        for turn in make_dialogue(case, rng):
            yield turn.question
            yield turn.answer


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """A byte-pair vocabulary as a transformers tokenizer.

    vocab_size: number of tokens. Bytes stand in for unseen characters; digits stay apart, so that a score is
    read digit by digit. Raises ValueError when the texts are too few for so many tokens.
    """
    import sentencepiece
    from transformers import LlamaTokenizer

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=vocab_size,
            model_type="bpe",
            byte_fallback=True,
            split_digits=True,
            character_coverage=1.0,
            normalization_rule_name="identity",  # clean_question has folded what a user writes
            remove_extra_whitespaces=False,
            user_defined_symbols=[TURN_MARK, IMAGE_OPEN, IMAGE_CLOSE],
            num_threads=1,  # merges of equal count would depend on the threads
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(f"cannot train {vocab_size} tokens on these texts: {error}") from None
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.model").write_bytes(model.getvalue())
        return LlamaTokenizer.from_pretrained(folder)
