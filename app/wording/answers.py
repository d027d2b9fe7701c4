"""Sentences about the language model's answers: who writes them, what is sent, where one goes wrong."""

from __future__ import annotations

from collections.abc import Sequence

from app.analysis import ChatRecord
from common.verdicts import Verdict
from data_sim.dialogue import Case, join_words, region_words
from kfd.calibration.likelihood_ratio import Evidence
from llm.checks.claims import contradictions, strengths_named

ANSWERS_CAN_BE_WRONG = (
    "Answers are written by a language model and can be wrong or beside the point. Where one differs from "
    "the finding above, the finding holds."
)
COMPOSED = (
    "This part was put together out of the findings by fixed rules. It adds nothing to them; where it "
    "differs, they hold."
)
NARRATED = (
    "{some} by a machine, the language model “{name}”, from the evidence, each sentence held against it."
    "{rest} It adds nothing to the findings; where it differs, they hold."
)


def answered_by(chat: ChatRecord) -> str:
    """The language model that answers, and where it runs, without a full stop."""
    tuned = "fine-tuned to read this detector" if chat.tuned else "not tuned for this task"
    return f"“{chat.name}”, {tuned}, {f'behind the endpoint {chat.host}' if chat.host else 'on this machine'}"


def narrated_by(chat: ChatRecord, by_model: Sequence[bool]) -> str:
    """Who wrote the passages of a narrative: for each whether the language model did."""
    if not any(by_model):
        return COMPOSED
    some = "Written" if all(by_model) else f"{sum(by_model)} of {len(by_model)} passages written"
    rest = "" if all(by_model) else " The other passages were composed out of the findings."
    return NARRATED.format(some=some, name=chat.name, rest=rest)


def sent_away(chat: ChatRecord) -> str:
    """The data that an answer sends elsewhere, in one sentence."""
    if not chat.host:
        return "Nothing is sent anywhere else."
    if chat.tuned:
        return (
            f"Questions go to {chat.host}, and with them the findings and a summary of the face as numbers "
            "(prompt embeddings); the picture does not."
        )
    if chat.face_sent:
        return f"Questions go to {chat.host}, and with them the findings as text and the picture of the face."
    return f"Questions go to {chat.host}, and with them the findings as text; the picture does not."


def taken_over_words(chat: ChatRecord) -> str:
    """The language model behind answers that a saved case brought, and what they sent elsewhere."""
    sent = sent_away(chat)
    return (
        f"Answers taken over from a saved case are by {answered_by(chat)}; for those it holds that "
        f"{sent[:1].lower()}{sent[1:]}"
    )


def remark(case: Case, evidence: Evidence | None, question: str, answer: str) -> str:
    """A remark on an answer that names other regions, or another strength, than the finding; else ""."""
    said = []
    if any("marks" in found for found in contradictions(answer, case, question) if "region:" in found):
        said.append(f"the heat map points at {region_words(case.regions) if case.regions else 'no region'}")
    if case.verdict == Verdict.INCONCLUSIVE:
        if strengths_named(answer):
            said.append("no strength is stated without a verdict")
    elif evidence is not None and any(word != evidence.verbal for word in strengths_named(answer)):
        said.append(f"the likelihood ratio gives {evidence.verbal} support")
    return f"Note: by the finding, {join_words(said)}." if said else ""


def answer_words(answer: str, failure: str = "", remark: str = "", author: str = "") -> str:
    """An answer, followed in brackets by the reason why it failed, by what Unmask remarks on it, and by whose
    it is; "" leaves any of these out."""
    added = (
        f"[failed: {failure}]" if failure else "",
        f"[{remark}]" if remark else "",
        f"[by {author}]" if author else "",
    )
    return " ".join(part for part in (answer, *added) if part)
