"""What a question is plainly about, and whether an answer speaks of that.

A question is of the topic whose training wordings are most like it, by the cosine of their weighted words and
pairs of words; where another topic is nearly as like, or none is, it is of none. An answer is of a topic if
it is like something that the dialogues would say of that topic about the same face. Both know the dialogues
(data_sim.dialogues) and nothing else.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from data_sim.dialogue import ASKABLE, format_score
from data_sim.dialogues.conversation import AFTER_REGIONS, FULL, OF_REGIONS, wordings_of
from data_sim.dialogues.facts import Facts
from data_sim.dialogues.phrasing import Phrasing

LIKE = 0.45  # cosine from which a question is like a wording
AHEAD = 0.2  # by how much the likest topic must lead
NEAR = 3  # topics that an answer may be of: the likest, and what is easily meant by the same words
OF_TOPIC = 0.3  # cosine from which an answer is like one that the dialogues would give
COMPOSED = 12  # answers that are composed for comparison
_PLACE = re.compile(r"\b(" + "|".join(sorted(ASKABLE, key=len, reverse=True)) + r")\b")
_WORD = re.compile(r"[^\W\d_]+")
# The words of parts, by their letters in order: "mouht" has those of "mouth".
_SPELT = {"".join(sorted(word)): word for part in ASKABLE for word in part.split() if len(word) > 3}
# Topics that cannot be told by a question alone, or whose answer is held against the parts it names.
_UNTOLD = {*AFTER_REGIONS, *OF_REGIONS, "other_part"}


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
    words = ["^", *_WORD.findall(_PLACE.sub("part", text.lower())), "$"]
    return set(words[1:-1]) | {" ".join(pair) for pair in pairwise(words)}


def _length(terms: set[str], weights: Mapping[str, float]) -> float:
    unknown = max(weights.values(), default=1.0)
    return math.sqrt(sum(weights.get(term, unknown) ** 2 for term in terms)) or 1.0


@lru_cache(maxsize=1)
def _wordings() -> _Texts:
    rng = random.Random(0)
    return _Texts.of(
        (topic, text)
        for topic in FULL.topics
        for pattern in wordings_of(topic)
        for text in rng.sample(pattern, min(len(pattern), 6))
    )


def plain_topics(question: str) -> list[str]:
    """The topics that a question may be of, the likest first; empty where it is not plainly of the first.

    Nor is it where the answer depends on what was said before, or on the parts that are asked about.
    """
    ranked = sorted(_wordings().likeness(question).items(), key=lambda one: -one[1])[:NEAR]
    if not ranked or ranked[0][1] < LIKE or ranked[0][0] not in FULL.composed or ranked[0][0] in _UNTOLD:
        return []
    if len(ranked) > 1 and ranked[0][1] - ranked[1][1] < AHEAD:
        return []
    return [topic for topic, _ in ranked if topic in FULL.composed and topic not in _UNTOLD]


def parts_asked(question: str) -> tuple[str, ...]:
    """The parts of the face that a question names, keys of ASKABLE, also with two letters swapped."""
    words = _WORD.sub(lambda word: _SPELT.get("".join(sorted(word[0])), word[0]), question.lower())
    return tuple(dict.fromkeys(_PLACE.findall(words)))


def beside_the_point(answer: str, facts: Facts, question: str) -> bool:
    """Does an answer name none of the parts asked about, or is it of none of the facts of a plain topic?"""
    if facts.score is not None and (asked := parts_asked(question)):
        said = answer.lower()
        return not any(part in said or format_score(facts.value(ASKABLE[part])) in said for part in asked)
    likest = plain_topics(question)
    return bool(likest) and not is_of(answer, facts, likest)


def is_of(answer: str, facts: Facts, topics: Iterable[str]) -> bool:
    """Is an answer like one that the dialogues give to any of these topics, about the same face?"""
    composed = _Texts.of(
        (topic, FULL.composed[topic][1](facts, (), Phrasing(random.Random(seed))))
        for topic in topics
        for seed in range(COMPOSED)
    )
    return max(composed.likeness(answer).values(), default=0.0) >= OF_TOPIC
