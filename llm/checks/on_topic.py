"""Does an answer speak of what was asked?

An answer is of a topic if it opens like something that the dialogues say of that topic about the same face,
by the cosine of their weighted words and pairs of words.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from data_sim.dialogue import format_score
from data_sim.dialogues.conversation import AFTER_REGIONS, answer_to
from data_sim.dialogues.facts import Facts
from data_sim.dialogues.phrasing import Phrasing, level, marked
from llm.questions.likeness import Ear, by_letters
from llm.questions.parts import PART, names_extreme, names_of, parts_spoken_of
from llm.questions.spelling import plain_spelling
from llm.questions.topics import asks_whether_fake, asks_whether_real, of_parts, plain_topics

OF_TOPIC = 0.3  # cosine from which an answer is like one that the dialogues would give
COMPOSED = 12  # answers that are composed for comparison
# Topics of which an answer to one is an answer to the others.
KIN = (
    {"verdict", "authentic", "leaning"},
    {"verdict", "authentic", "yes_or_no"},
    {"limits", "limits_here"},
    {"limits", "could_be_wrong", "rates"},
    {"strength", "how_sure"},
    {"how_sure", "proof"},
    {"score_meaning", "likelihood"},
    {"dispute", "broken"},
    {"identity", "person"},
)
_END = re.compile(r"(?<=[^\d\s][.!?])\s+|(?<=\d\d[.!?])\s+")
_STEM = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|ly)$")
_STRENGTH_ALONE = re.compile(  # opens with how strong the evidence is, whatever was asked
    r"^\W*(?:the evidence for [^.,;]* is|that is) (?:no|weak|moderate|\w+ strong|strong)\b", re.IGNORECASE
)
_YES_OR_NO = re.compile(r"^\W*(?:yes|no)\b", re.IGNORECASE)
_SAYS_WHICH = re.compile(r"^\W*(?:yes|no|inconclusive)\b", re.IGNORECASE)


@dataclass(frozen=True)
class _Texts:
    """Texts of several kinds. weights: of their terms; postings: term -> (text, its share of the text)."""

    kinds: tuple[str, ...]
    weights: Mapping[str, float]
    postings: Mapping[str, list[tuple[int, float]]]

    @classmethod
    def of(cls, texts: Iterable[tuple[str, str]]) -> _Texts:
        """texts: (kind, text) pairs."""
        kinds, terms = [], []
        for kind, text in texts:
            kinds.append(kind)
            terms.append(_terms(text))
        number = Counter(term for one in terms for term in one)
        weights = {term: math.log(1 + len(terms) / count) for term, count in number.items()}
        postings = defaultdict(list)
        for place, one in enumerate(terms):
            length = _length(one, weights)
            for term in one:
                postings[term].append((place, weights[term] / length))
        return cls(tuple(kinds), weights, postings)

    def likeness(self, text: str) -> dict[str, float]:
        """The cosine of a text with the likest text of each kind, in [0, 1]."""
        terms = _terms(text)
        length, cosines = _length(terms, self.weights), defaultdict(float)
        for term in terms:
            for place, share in self.postings.get(term, ()):
                cosines[place] += share * self.weights[term] / length
        likest: dict[str, float] = {}
        for place, cosine in cosines.items():
            kind = self.kinds[place]
            likest[kind] = max(cosine, likest.get(kind, 0.0))
        return likest


def _terms(text: str) -> set[str]:
    plain = plain_spelling(PART.sub("part", text.lower())).split()
    words = ["^", *(_STEM.sub("", word) for word in plain), "$"]
    return set(words[1:-1]) | {" ".join(pair) for pair in pairwise(words)}


def _length(terms: set[str], weights: Mapping[str, float]) -> float:
    unknown = max(weights.values(), default=1.0)
    return math.sqrt(sum(weights.get(term, unknown) ** 2 for term in terms)) or 1.0


def beside_the_point(
    answer: str, facts: Facts, question: str, said: Collection[str] = (), ear: Ear = by_letters
) -> bool:
    """Does an answer not open with what was asked for?

    Of parts asked about it names one or its value; a plain yes or no opens with one, and "is it genuine?" is
    not answered "No" because nothing was found; the strongest and the weakest part are named, and a
    strongest one that is low is called that; what is of a plain topic opens like an answer of that topic.

    said: earlier answers of the conversation. ear: what hears which topic a question is most like.
    """
    if facts.score is not None and (asked := of_parts(question, ear)):
        text = answer.lower()
        named = {word for part in asked for word in (part, *names_of(part))}
        return not any(
            word in text for word in (*named, *(format_score(facts.value(names_of(p, False))) for p in asked))
        )
    topics = plain_topics(question, said, ear)
    if not topics:
        return False
    if topics[0] in ("verdict", "yes_or_no") and asks_whether_fake(question):
        return _SAYS_WHICH.search(answer) is None
    if topics[0] == "verdict" and asks_whether_real(question) and (opening := _YES_OR_NO.search(answer)):
        return facts.verdict != ("real" if "yes" in opening[0].lower() else "fake")
    if topics[0] in ("strongest", "weakest") and facts.score is not None:
        named = names_extreme(answer, facts, highest=topics[0] == "strongest")
        return not named or (topics[0] == "strongest" and not _says_how_low(answer, facts))
    if " or " in question.lower() and topics[0] in ("verdict", "leaning") and _YES_OR_NO.search(answer):
        return True  # which of two was asked for
    if _STRENGTH_ALONE.search(answer):
        return not {"strength", "how_sure"} & set(topics)
    kin = set(topics).union(*(group for group in KIN if group & set(topics)))
    return not is_of(answer, facts, sorted(kin), parts_spoken_of(said), opening=True)


def _says_how_low(answer: str, facts: Facts) -> bool:
    """Is a highest part that the map does not mark called low, or as it is? "The strongest" accuses it."""
    name, value = facts.parts[0]
    return marked(facts, [name]) or level(value) in answer


def is_of(
    answer: str, facts: Facts, topics: Iterable[str], spoken: tuple[str, ...] = (), opening: bool = False
) -> bool:
    """Is an answer like one that the dialogues give to any of these topics, about the same face?

    spoken: the parts that were spoken of before. opening: compare first sentences, which answer the question.
    """
    composed = _Texts.of(
        (topic, first_sentence(text) if opening else text)
        for topic in topics
        if len(spoken) >= AFTER_REGIONS.get(topic, 0)
        for seed in range(COMPOSED)
        for text in [answer_to(topic, facts, spoken, Phrasing(random.Random(seed)))]
    )
    text = first_sentence(answer) if opening else answer
    return max(composed.likeness(text).values(), default=0.0) >= OF_TOPIC


def first_sentence(text: str) -> str:
    """A text up to the end of its first sentence."""
    return _END.split(text, maxsplit=1)[0]
