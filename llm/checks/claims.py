"""Find where an answer contradicts the case it speaks of.

A text is read clause by clause: which claim it makes (manipulated, not manipulated, undecided), whether the
claim is negated, and whether it is a claim about this face at all ("if it were fake" and "deepfakes are
pictures whose ..." are not). The reading is that of a careful examiner, not of a search for words; it knows
English of the kind the assistant writes and lets pass what it cannot place.

    contradictions("No sign of manipulation.", Case("fake", 0.93, ("nose",)))
    -> ["polarity: says real, the verdict is fake"]
"""

from __future__ import annotations

import re

from common.enfsi import VERBAL_SCALE
from common.verdicts import Verdict
from data_sim.dialogue import (
    ASKABLE,
    DISTANCES,
    Case,
    distance_from_even,
    evidential_strength,
    format_score,
)
from data_sim.dialogues.facts import Facts
from llm.checks.clauses import FIRST, NEGATION, OPEN, Clause, first_word, split_clauses
from llm.checks.values import value_faults
from media.regions import WHOLE_FACE

NO_FAULT, MINOR, SEVERE = 0, 1, 2  # of an answer; see `fault`

FIRST_WORDS = {
    "yes": Verdict.FAKE,
    "no": Verdict.REAL,
    "inconclusive": Verdict.INCONCLUSIVE,
}  # of an answer about the verdict

_FAKE = re.compile(
    r"\b(?:deep ?fakes?|fakes?|faked|manipulat\w+|forged|forgery|alter(?:ed|ation)s?|tamper\w+|doctored"
    r"|edited|synthetic|swapped|falsified|fabricated|photoshopped|artificial|suspicious)\b"
    r"|(?<=\bno )(?:signs?|traces?)\b"
    r"|\blooks? changed\b|(?<=\bnothing )changed\b|\blook as if someone changed\b"
)
_REAL = re.compile(r"\b(?:genuine|authentic|real|pristine|untouched|unaltered|unmanipulated|unedited)\b")
_UNDECIDED = re.compile(
    r"\b(?:inconclusive|undecided|stays open"
    r"|(?:cannot|can't|could(?: not|n't)|unable to|impossible to) (?:decide\b|(?:tell|say) (?:whether|if)\b))"
)
_POSSIBLE = re.compile(r"\b(?:could|can|might|may|would|possible|ever|chance|mean)\b")
_NOT_FOUND = re.compile(r"\b(?:was|were|is|are)(?: not|n't) (?:found|detected|seen|visible|present)\b")
_VERDICT_IS = re.compile(r"\bverdict (?:is|was|reads?)(?: clearly)? (fake|real|inconclusive)\b")

_SCALE = re.compile(r"\b(?:0(?:\.0+)?) (?:to|and) (?:1(?:\.0+)?)\b")
_NUMBER = re.compile(r"(?<![\w.])(\d+(?:[.,]\d+)?)(\s*(?:%|percent\b|per cent\b))?")
_MEAN = re.compile(r"\b(?:mean|average|overall)\b")
_SCORE_IS = re.compile(r"\bscore(?: of)?(?: (?:the|this) face)?\W*(?:(?:is|was|of|reads|equals)\W*)?$")
_SPELLED = re.compile(r"\b(?:(?:ten|twen|thir|for|fif|six|seven|eigh|nine)ty?|hundred)(?:-\w+)? per ?cent\b")

_CERTAIN = re.compile(
    r"\b(?:definite(?:ly)?|certain(?:ly|ty)?(?! possible)|undoubtedly|doubtless|unquestionabl[ey]"
    r"|undeniabl[ey]|indisputabl[ey]|absolutely|conclusive(?:ly)?|prove[sn]?|proved|proof|guarantee[sd]?|established"
    r"|(?<!make )(?<!as )sure)\b"
)
_MODEST = re.compile(NEGATION.pattern + r"|\b(?:if|whether|than|would)\b")
_DOUBTLESS = re.compile(
    r"\b(?:no|without(?: any| a)?|beyond(?: any| all| a)?(?: reasonable)?) doubt\b|\b100 ?(?:%|percent)"
)
_DEGREES = "|".join(word for _, word in VERBAL_SCALE)  # "very strong" before "strong"
_STRENGTH = re.compile(
    rf"\b({_DEGREES}) (?:evidence|indication|support)\b|\bevidence\b[^,.;]* is ({_DEGREES})\b"
)
_DISTANCE = re.compile(rf"\b({'|'.join(words for _, words in DISTANCES)}) the (?:uncertain )?middle\b")

_MAKER = re.compile(r"\b(?:made|created|generated|produced|forged|manipulated|altered) (?:by|with|using)\b")
_OWN_WORK = re.compile(r"\b(?:examination|finding|analysis|result|report|map|score|model)\b")
_NAME = re.compile(
    r"\b(?:[Tt]his|[Ii]t|[Hh]e|[Ss]he|[Tt]he (?:person|man|woman|face|image|photo\w*|picture))\b[^.;]{0,20}?"
    r"\b(?:is|shows|depicts|belongs to)\s+[A-Z][a-z]+ [A-Z][a-z]+"
)
_GUILT = re.compile(
    r"\b(?:guilty|criminals?|crimes?|committed|illegal|unlawful|deliberately|intended to|in order to deceive"
    r"|liar|lied|(?<!abstain )(?<!missing )on purpose)\b"
)

_PLACES = {f"both {words}": names for words, names in ASKABLE.items() if len(names) > 1} | ASKABLE
_PLACE = re.compile(r"\b(" + "|".join(sorted(_PLACES, key=len, reverse=True)) + r")\b")
_FACE = re.compile(r"\bface (\d+)\b")
_DENIED_AFTER = re.compile(r"^[^,;]*?\b(?:do|does|did|is|are|was|were|has|have)(?: not\b|n't\b)")


def contradictions(
    answer: str, case: Case, question: str | None = None, check_regions: bool = True
) -> list[str]:
    """List what in an answer does not agree with the case.

    question: the question answered, if known; it tells whether a leading Yes or No speaks of the verdict or
        of a region. Without it a leading Yes or No in a sentence about a region is not read as a verdict.
    check_regions: compare the regions named with case.regions. Without it regions are still not to be named
        for a real or unscored face, nor without "weakly" for an inconclusive one.
    A case that is all facts (data_sim.dialogues.facts) is held against their values: any region may be named.
    Returns messages "polarity: ...", "number: ...", "region: ...", "certainty: ..." or "identity: ...", in
    that order, none twice; empty when nothing was found.
    """
    clauses = split_clauses(answer)
    values = (
        value_faults(answer, case, question)
        if isinstance(case, Facts)
        else [*_numbers(answer, case), *_regions(answer, clauses, case, question, check_regions)]
    )
    found = [
        *_polarity(answer, clauses, case, question),
        *values,
        *_certainty(clauses, case),
        *_identity(clauses),
    ]
    return list(dict.fromkeys(found))


def strengths_named(answer: str) -> list[str]:
    """The words of common.enfsi.VERBAL_SCALE by which an answer calls the evidence itself."""
    return [m[1] or m[2] for clause in split_clauses(answer) for m in _STRENGTH.finditer(clause.words)]


def fault(answer: str, case: Case, question: str | None = None) -> int:
    """Grade how badly an answer contradicts its case.

    Returns NO_FAULT, MINOR when it only names other regions than the heat map does, or one twice,
    SEVERE when it contradicts verdict or score, claims certainty, or names persons.
    """
    if contradictions(answer, case, question, check_regions=False):
        return SEVERE
    return MINOR if contradictions(answer, case, question) else NO_FAULT


def _about_region(answer: str, question: str | None) -> re.Match[str] | None:
    """Tell whether a leading Yes or No of this answer speaks of a region."""
    if question is not None:
        return _PLACE.search(question.lower())
    sentence = re.split(r"(?<=[.!?])\s+", FIRST.sub("", answer.strip()), maxsplit=1)[0].lower()
    return re.search(r"\b(?:regions?|map|marks?|in particular)\b", sentence) or _PLACE.search(sentence)


def _asks_verdict(question: str) -> bool:
    """Whether Yes or No to a question says whether this face was manipulated."""
    words = question.lower()
    return not _POSSIBLE.search(words) and bool(_FAKE.search(words) or _REAL.search(words))


def _claim(clause: Clause) -> Verdict | None:
    """The verdict that a clause claims for this face, if any."""
    stated = _VERDICT_IS.search(clause.words)
    if stated and clause.asserted(stated.start()) and not clause.negated(stated.start()):
        return Verdict(stated[1])
    undecided = _UNDECIDED.search(clause.words)
    if undecided and not clause.negated(undecided.start()):
        return Verdict.INCONCLUSIVE
    terms = [
        (m.start(), verdict)
        for pattern, verdict in ((_FAKE, Verdict.FAKE), (_REAL, Verdict.REAL))
        if (m := pattern.search(clause.words))
    ]
    if not terms:
        return None
    start, verdict = min(terms)
    if not clause.asserted(start):
        return None
    if not clause.negated(start) and not _NOT_FOUND.search(clause.words[start:]):
        return verdict
    if _PLACE.search(clause.words):  # "no sign of manipulation in the nose" leaves the rest of the face open
        return None
    return Verdict.REAL if verdict == Verdict.FAKE else Verdict.FAKE


def _polarity(answer: str, clauses: list[Clause], case: Case, question: str | None) -> list[str]:
    of_all_facts = isinstance(case, Facts)  # then a sentence about a place speaks of the map there
    if of_all_facts and case.others:
        clauses, others = _by_face(clauses, case)
    else:
        others = []
    claims = [_claim(c) for c in clauses if not (of_all_facts and _PLACE.search(c.words))]
    first = first_word(answer)
    about_region = _about_region(answer, question)
    if of_all_facts and question is not None:
        about_region = about_region or _about_region(answer, None) or not _asks_verdict(question)
    if first and not about_region:
        claims.insert(0, FIRST_WORDS[first])
    return [
        f"polarity: says {claim}, the verdict is {case.verdict}"
        for claim in claims
        if claim not in (None, case.verdict)
    ] + others


def _by_face(clauses: list[Clause], facts: Facts) -> tuple[list[Clause], list[str]]:
    """The clauses about the face of this conversation, and what is wrong with those about other faces.

    A clause is about the face that it names by number, or that the clause before it ends with: "face 2: ...".
    """
    verdicts = {str(other.number): other.verdict for other in facts.others}
    own, found, announced = [], [], None
    for clause in clauses:
        named = _FACE.findall(clause.words)
        about = announced or (named[0] if named else None)
        announced = named[-1] if named and clause.text.rstrip().endswith(":") else None
        if about not in verdicts:
            own.append(clause)
            continue
        claim = _claim(clause)
        if claim not in (None, verdicts[about]):
            found.append(f"polarity: says {claim} of face {about}, its verdict is {verdicts[about]}")
    return own, found


def _numbers(answer: str, case: Case) -> list[str]:
    text = _SCALE.sub("", answer.lower())
    score = _written([] if case.score is None else [case.score])
    heat = _written([mean for _, mean in case.told_heat])
    quoted = [
        m[0].strip()
        for m in _NUMBER.finditer(text)
        if (m[1], bool(m[2])) not in (score if _SCORE_IS.search(text[: m.start()]) else score | heat)
    ]
    quoted += _SPELLED.findall(text)
    shown = "there is no score" if case.score is None else f"the score is {format_score(case.score)}"
    return [f"number: quotes {number}, {shown}" for number in quoted]


def _written(values: list[float]) -> set[tuple[str, bool]]:
    """The ways of writing numbers of [0, 1]: (digits, whether a percentage)."""
    percent = {(words, True) for v in values for words in (format_score(100 * v), f"{100 * v:.0f}")}
    return percent | {(format_score(value), False) for value in values}


def _regions(
    answer: str, clauses: list[Clause], case: Case, question: str | None, check_regions: bool
) -> list[str]:
    found = []
    for clause in clauses:
        places = [place[1] for place in _PLACE.finditer(clause.words)]
        if check_regions:
            found += [f"region: names the {words} twice" for words in places if places.count(words) > 1]
        for place in _PLACE.finditer(clause.words):
            if OPEN.search(clause.words[: place.start()].replace("cannot", "")):
                continue
            if case.told_heat and WHOLE_FACE in _PLACES[place[1]] and _MEAN.search(clause.words):
                continue  # the mean over the whole face is a figure, not a place the map points at
            denied = clause.negated(place.start()) or _DENIED_AFTER.match(clause.words[place.end() :])
            weakly = re.search(r"\bweak", clause.words) is not None
            found += _region_fault(place[1], not denied, weakly, case, check_regions)
    asked = _PLACE.search(question.lower()) if question and check_regions else None
    first = first_word(answer)
    if asked and case.regions and first in ("yes", "no"):
        found += _region_fault(asked[1], first == "yes", False, case, check_regions)
    return found


def _region_fault(words: str, marked: bool, weakly: bool, case: Case, check_regions: bool) -> list[str]:
    """List what is wrong with saying that the map marks, or does not mark, a place."""
    if marked and (case.verdict == Verdict.REAL or case.score is None):
        return [f"region: names the {words} for a face whose map marks nothing"]
    if marked and case.verdict == Verdict.INCONCLUSIVE and not weakly:
        return [f"region: names the {words} without saying that the map points weakly"]
    if not check_regions:
        return []
    held = [name in case.regions or WHOLE_FACE in case.regions for name in _PLACES[words]]
    some_of_pair = marked and any(held) and not words.startswith("both")
    if marked and not all(held) and not some_of_pair:
        return [f"region: names the {words}, the map marks {', '.join(case.regions) or 'no region'}"]
    if not marked and any(held):
        return [f"region: denies the {words}, the map marks {', '.join(case.regions)}"]
    return []


def _certainty(clauses: list[Clause], case: Case) -> list[str]:
    decided = case.verdict != Verdict.INCONCLUSIVE
    deserved = evidential_strength(case) if decided else "inconclusive"
    distance = distance_from_even(case) if decided else "in"
    found = []
    for clause in clauses:
        words = clause.words
        sure = _CERTAIN.search(words)
        if sure and not _MODEST.search(words[: sure.start()]):
            found.append(f"certainty: claims {sure[0]!r}")
        if boast := _DOUBTLESS.search(words):
            found.append(f"certainty: claims {boast[0]!r}")
        found += [
            f"certainty: calls the evidence {m[1] or m[2]}, it is {deserved}"
            for m in _STRENGTH.finditer(words)
            if (m[1] or m[2]) != deserved and not clause.negated(m.start())
        ]
        found += [
            f"certainty: calls the score {m[1]} the middle, it is {distance} it"
            for m in _DISTANCE.finditer(words)
            if m[1] != distance and not clause.negated(m.start())
        ]
    return found


def _identity(clauses: list[Clause]) -> list[str]:
    found = []
    for clause in clauses:
        if _NAME.search(clause.text):
            found.append(f"identity: names a person in {clause.text!r}")
        maker, guilt = _MAKER.search(clause.words), _GUILT.search(clause.words)
        if (
            maker
            and clause.asserted(maker.start())
            and not clause.negated(maker.start())
            and not _OWN_WORK.search(clause.words)
        ):
            found.append(f"identity: names a maker or tool in {clause.text!r}")
        if guilt and clause.asserted(guilt.start()) and not clause.negated(guilt.start()):
            found.append(f"identity: speaks of guilt or intent in {clause.text!r}")
    return found
