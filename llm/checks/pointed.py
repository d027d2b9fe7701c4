"""Is an answer to the point? Rules for the conversations of docs/conversations.yaml, made to be read.

A rule tells words of which an answer to that kind of question has at least one. They are generous to wording
and strict on facts: an answer about a part names it or its value, one for the score gives the score. Whether
what is said is true is not asked here but in llm.checks.claims.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import yaml

from common.verdicts import Verdict
from data_sim.dialogue import ASKABLE, format_score, reasons_in_words
from data_sim.dialogues.facts import Facts, percent, told
from llm.questions.parts import names_extreme
from media.regions import REGION_NAMES

_NEXT = r"original|source|copy|examin|expert|check|compare|accuse|second opinion|save|keep|treat"
_UNKNOWN = r"cannot|do not|not know|no evidence|not (?:in|among)|nothing|only|outside|never|no statement"
RULES = {
    "verdict": r"^yes|^no\b|inconclusive|verdict|manipulat|sign|genuine|rely|caution",
    "why": r"because|score|pixels|map",
    "where": r"map|region|nowhere|part|eye|nose|mouth|chin|cheek|forehead",
    "strength": r"weak|moderate|strong|support|no verdict|not (?:sure|certain)|proof|indication|no weight",
    "meaning": r"means?\b|stands? for|scale|limit|threshold|\b(?:high|low|above|below)\b|middle|certificate",
    "leaning": r"genuine|manipulated|neither|real|fake|score",
    "spread": r"range|stand|close together|differ|singles|map",
    "quality": r"pixels|compress|blur|traces|sharp|copy",
    "blur": r"blur|sharp",
    "size": r"pixels",
    "rates": r"\d %|not measured|wrong|error|false alarm",
    "faces": r"\b(?:one|only|\d|two|three|four) faces?\b|\bface \d|none of them|^one\b",
    "time": r"photograph|frames?|\d:\d\d|stretch|single picture",
    "against": r"against|weak|compress|blur|wrong|filter|retouch|false alarm|miss|untouched|because",
    "weigh": r"suspicion|side|against|weighed|because",
    "wrong": r"wrong|miss|false alarm|mistake|error|\d %|doubt|not measured",
    "change": r"original|copy|larger|(?:better|another) picture|witness|source",
    "dispute": r"measured|wrong|original|accuse|what you know|decided|disput|disagree|right\b|false alarm",
    "proof": r"proof|proven|prove|indication|no verdict|not (?:sure|certain)",
    "maker": r"who\b|maker|forger|author|person|" + _UNKNOWN,
    "identity": r"identi|recogni|name|who\b|person",
    "technique": r"technique|tool|software|method|swap|program",
    "metadata": r"metadata|camera|dates?\b|(?:face|pixels)[^.]* (?:alone|only)|only the face|not checked",
    "legal": r"law|legal|judge|guilt|court|motive|intent|competent|conduct",
    "method": r"detector|compare|pixels|score",
    "limits": r"limit|miss|wrong|only|cannot|not (?:tell|proof|see|say|examined)|no proof",
    "next": _NEXT,
    "findings": r"(?:score|verdict).*\.\s.*\.",
    "court": r"court|evidence|score|verdict|examination",
    "article": r"examination|signs|verdict|score|proof",
    "layman": r"put it|say it|signs|manipulat|verdict|changed",
    "child": r"computer|someone|changed|simply|plain|puzzle",
    "clarify": r"plain|simply|changed|altered|means|cannot tell|think of",
    "short": r"^.{1,140}$",
    "obey": r"evidence shows|only report|cannot|not (?:say|call|write)|keep to|stands|stays|no order",
    "language": r"English",
    "privacy": r"runs (?:this|the|it)\b|stored|\bkept\b|keeps? (?:nothing|a file)|\bsent\b|delete|forget",
    "offtopic": r"outside|cannot help|no help|one task|not my field|not know|only speak|subject",
    "greeting": r"hello|\bhi\b|good day|welcome|good to meet|help (?:you|with)|at your service",
    "thanks": r"welcome|glad|pleasure",
}
OF_PARTS = ("part", "compare", "double", "which", "difference", "high", "whythere", "sure", "otherside")
_SENTENCE = re.compile(r"[.!?](?=\s|$)")
_VERDICT = re.compile(r"^(?:yes|no|inconclusive)\b|signs? of manip|no verdict|the verdict is")
_NO_SIDE = re.compile(r"\b(?:cannot|can't|could not) (?:say|tell|decide)\b", re.IGNORECASE)
_REFUSED = re.compile(r"no (?:score|map|reading|value)|could not be read|not scored", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """A question, and what an answer to the point speaks of: a rule, and parts of the face or a count."""

    rule: str
    detail: str
    question: str


def read_conversations(path: str | Path) -> list[list[Asked]]:
    """The conversations of a file like docs/conversations.yaml; ValueError names an unknown rule."""
    raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    conversations = [[_asked(key, text) for turn in turns for key, text in turn.items()] for turns in raw]
    known = {*RULES, *OF_PARTS, "score", "likelihood", "top", "bottom", "ranking", "sentences"}
    stray = {asked.rule for asked in chain.from_iterable(conversations)} - known
    if stray:
        raise ValueError(f"{path}: expected rules out of {sorted(known)}, got {sorted(stray)}")
    return conversations


def _asked(key: str, question: str) -> Asked:
    rule, _, detail = key.partition(" ")
    return Asked(rule, detail, str(question))


def to_the_point(asked: Asked, answer: str, facts: Facts) -> bool:
    """Does the answer speak of what was asked?"""
    if asked.rule == "verdict" and facts.verdict == Verdict.INCONCLUSIVE and _NO_SIDE.search(answer):
        return True
    if asked.rule in RULES:
        return re.search(RULES[asked.rule], answer, re.IGNORECASE) is not None
    if asked.rule == "sentences":
        return len(_SENTENCE.findall(answer)) == int(asked.detail)
    if facts.score is None:
        return _REFUSED.search(answer) is not None
    if asked.rule in ("score", "likelihood"):
        return format_score(facts.score) in answer or percent(facts.score) in answer
    if asked.rule == "ranking":
        return sum(format_score(value) in answer for _, value in facts.parts) >= 5
    if asked.rule in ("top", "bottom"):
        return names_extreme(answer, facts, highest=asked.rule == "top")
    return _parts(asked, answer, facts)


def _parts(asked: Asked, answer: str, facts: Facts) -> bool:
    """Are the parts asked about named, or their values given?"""
    words = answer.lower()
    parts = [name for name in sorted(ASKABLE, key=len, reverse=True) if name in asked.detail]
    if asked.rule == "otherside":
        parts = [part.replace("right", "l/").replace("left", "right").replace("l/", "left") for part in parts]
    if not parts:  # what has no value on the map
        return asked.detail in words
    found = [part in words or format_score(facts.value(ASKABLE[part])) in words for part in parts]
    return any(found) if asked.rule in ("which", "difference") else all(found[:2])


def states_a_fact(answer: str, facts: Facts) -> bool:
    """Does the answer hold anything of this case: its verdict, a reason, a number, a part of the face?"""
    numbers = set(re.findall(r"\d+(?:[.:]\d+)*", told(facts))) - {"1", "0"}
    if numbers & set(re.findall(r"\d+(?:[.:]\d+)*", answer)):
        return True
    words = answer.lower()
    if any(reasons_in_words([reason]) in words for reason in facts.reasons):
        return True
    if any(name.replace("_", " ") in words for name in REGION_NAMES):
        return True
    return _VERDICT.search(words) is not None
