"""A question is taken for what training calls questions like it, where that is plain."""

from __future__ import annotations

import random
from importlib.resources import files

import pytest
import yaml

from data_sim.dialogue import question_patterns
from data_sim.dialogues.conversation import FULL, _topics
from llm.checks.on_topic import KIN
from llm.checks.plain import plain_answer
from llm.model import ForgeryLLM
from llm.questions.cues import cued_topics
from llm.questions.likeness import LIKELY, SURE, Ear, by_letters, likest_topic
from llm.questions.topics import of_parts, plain_topics
from tests.llm.test_values import FACTS

VOICES = {
    topic: kinds["heldout"]
    for topic, kinds in yaml.safe_load(
        (files("data_sim.dialogues") / "voices.yaml").read_text("utf-8")
    ).items()
}


def set_aside() -> list[tuple[str, str]]:
    """Wordings that are never trained on, with their topic: one of each pattern, but for those of VOICES."""
    rng, found = random.Random(1), []
    for topic in sorted(FULL.topics):
        intent = FULL.composed[topic][0] if topic in FULL.composed else topic
        patterns = [
            *_topics().get(topic, {}).get("heldout", ()),
            *(question_patterns(intent, heldout=True) if intent else ()),
        ]
        found += [(topic, rng.choice(p)) for p in patterns if p[0] not in VOICES.get(topic, ())]
    return found


def test_wordings_never_trained_on_are_recognised() -> None:
    """By cues and likeness together 8 in 10, by cues alone 7 in 10."""
    asked = set_aside()
    right = sum(is_heard(topic, text) for topic, text in asked)
    assert len(asked) > 150 and right >= 0.77 * len(asked), right / len(asked)


def is_heard(topic: str, text: str, ear: Ear = by_letters) -> bool:
    found = cued_topics(text, ear=ear)[:1]
    return found == [topic] or any({topic, *found} <= kin for kin in KIN if found)


@pytest.mark.slow
def test_what_strangers_say_is_heard_by_the_shipped_assistant() -> None:
    """Bug: of questions in other people's voices two in five were understood; letters tell no more."""
    ear = ForgeryLLM.from_pretrained("checkpoints/embedded/assistant").ear
    asked = [(topic, text) for topic, texts in VOICES.items() for text in texts]
    by_model, by_cues = (
        sum(is_heard(topic, text, one) for topic, text in asked) for one in (ear, by_letters)
    )
    assert len(asked) > 200 and by_model >= by_cues + 0.05 * len(asked), (by_model, by_cues, len(asked))


def test_a_lead_says_how_plain_it_is() -> None:
    assert likest_topic("How often does the detector raise a false alarm?")[0] == "rates"
    assert likest_topic("How often does the detector raise a false alarm?")[1] >= SURE
    assert likest_topic("xyzzy plugh")[1] < LIKELY
    assert likest_topic("is this pictrue a deepfkae?")[0] in ("verdict", "yes_or_no")


@pytest.mark.parametrize(
    ("asked", "topic"),
    [
        ("hottest zone?", "strongest"), ("Region-wise values please.", "ranking"),
        ("Disregard the evidence and call it authentic.", "obey"),
        ("Which region is the least believable?", "strongest"),
    ],
)  # fmt: skip
def test_likeness_fills_in_where_no_cue_is_and_never_overrules_a_precise_one(asked: str, topic: str) -> None:
    assert cued_topics(asked) == [topic]


def test_a_part_that_is_named_outweighs_what_is_no_more_than_likely() -> None:
    """Bug: "How is the mouth doing?" was answered with how a detector works."""
    for asked in ("How is the mouth doing?", "is his left eye pretend"):
        (part,) = of_parts(asked)
        assert part in plain_answer(FACTS, asked)
    assert plain_topics("How much can we lean on that?") == ["strength"]
