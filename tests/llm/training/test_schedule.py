"""The order and wording of what a language model is trained on."""

import random

from data_sim.dialogue import Turn
from llm.training.schedule import bucketed, drop_word


def test_a_dropped_word_is_never_the_part_asked_about() -> None:
    """Bug: "Is the manipulated, would you say" was answered with the value of a region nobody named."""
    rng, turn = random.Random(0), Turn("Is the left eye, or the lips, manipulated?", "No.", "region_check")
    shorter = {drop_word(turn, rng).question for _ in range(100)}
    assert len(shorter) == 5 and all("left eye," in text and "lips," in text for text in shorter)


def test_buckets_hold_everything_once_and_like_with_like() -> None:
    items = [range(length) for length in (9, 1, 8, 2, 7, 3)]
    groups = bucketed(items, 2)
    assert sorted(i for group in groups for i in group) == list(range(6))
    assert [sorted(len(items[i]) for i in group) for group in groups] == [[1, 2], [3, 7], [8, 9]]
