"""Verdicts and reasons: plain words in every file, with a text for people, and answers for each."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
import yaml

from common.verdicts import FACE_REASONS, SCORE_REASONS, Reason, Verdict
from data_sim.dialogue import Case, answers
from data_sim.dialogues.wordings import GROUPS
from llm.checks.claims import FIRST_WORDS


def test_files_hold_the_plain_words():
    """The wire format stays: JSON, CSV and f-strings get the code, and the code is found again."""
    text = json.dumps([Verdict.FAKE, Reason.BLURRED])
    assert text == '["fake", "blurred"]' and [Verdict("fake"), Reason("blurred")] == json.loads(text)
    assert (
        f"{Verdict.REAL}" == "real" and "|".join(SCORE_REASONS & {Reason.NOT_CALIBRATED}) == "not_calibrated"
    )
    assert {Verdict.REAL: 1}["real"] == 1


def test_the_codes_of_stored_files_do_not_change():
    assert [*map(str, Verdict)] == ["fake", "real", "inconclusive"]
    assert [*map(str, Reason)] == [
        "face_too_small", "face_uncertain", "not_a_photograph", "blurred", "heavy_compression",
        "unfamiliar", "score_between_thresholds",
        "views_disagree", "frames_disagree", "systems_disagree", "not_calibrated", "interlaced", "damaged",
        "too_many_faces", "no_face",
    ]  # fmt: skip


@pytest.mark.parametrize("term", [*Verdict, *Reason])
def test_every_word_has_a_text(term):
    assert term.words and term.words[-1] != "." and "_" not in term.words


@pytest.mark.parametrize("reason", FACE_REASONS)
def test_every_reason_of_a_face_can_be_told_in_an_answer(reason):
    """wordings.yaml puts the clause into its sentences; the report and the page use the same one."""
    case = Case(Verdict.INCONCLUSIVE, None, reasons=(reason,))
    told = answers("verdict", case)
    assert told and any(reason.words in text for text in told)


def test_the_wordings_know_every_verdict_and_nothing_else():
    """The states of a case that wordings.yaml has answers for, by what the code of a state begins with."""
    intents = yaml.safe_load((files("data_sim.dialogues") / "wordings.yaml").read_text(encoding="utf-8"))[
        "intents"
    ]
    states = {state for intent in intents.values() for state in intent["answers"]}
    undecided = {"weak", "undecided", "unscored", Verdict.INCONCLUSIVE}
    known = {*Verdict} | undecided | {"any", "scored"}
    assert {state.split("_")[0] for state in states} <= known
    assert {*Verdict} <= {*GROUPS, *(group for groups in GROUPS.values() for group in groups)}
    assert set(FIRST_WORDS.values()) == {*Verdict}
