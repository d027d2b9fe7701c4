"""Which topic's training wordings a question is most like: a linear support vector machine on its words,
pairs of words and runs of letters (scikit-learn), fitted in about four seconds when it is first asked.

Cues find what somebody thought of; this also reads what is misspelt, or said in words of several topics. What
is said in words of none only a language model understands, see llm.questions.hearing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from data_sim.dialogues.conversation import FULL, wordings_of
from llm.questions.parts import PART
from llm.questions.spelling import plain_spelling

if TYPE_CHECKING:
    from scipy.sparse import spmatrix
    from sklearn.svm import LinearSVC

# By how much the likest topic leads the next, in margins, chosen on wordings that training sets aside and on
# the strangers' questions of tests/llm/questions/questions.yaml: below LIKELY it is a guess.
SURE = 1.0
LIKELY = 0.2
CUED = 1.25  # what a cue of cues.yaml adds to the margin of its topic
DRAWN = 8  # wordings of a pattern that are learnt
TOPICS_HEARD = tuple(sorted(FULL.topics))

# What hears a question: how far inside each of TOPICS_HEARD it is, (T,) float64 margins.
Ear = Callable[[str], np.ndarray]


def by_letters(question: str) -> np.ndarray:
    """The ear that goes by the letters alone.

    It takes milliseconds, and nothing is remembered: a question is gone with its visitor.
    """
    features, machine = _fitted()
    return machine.decision_function(features([question]))[0]


def likest_topic(question: str, ear: Ear = by_letters, cued: str | None = None) -> tuple[str, float]:
    """The topic whose training wordings a question is most like, and its lead over the next, at least 0.

    cued: the topic that its words cue, which counts for that one.
    """
    margins = ear(question)
    if cued is not None:
        margins = margins + CUED * (np.array(TOPICS_HEARD) == cued)
    second, first = np.argsort(margins)[-2:]
    return TOPICS_HEARD[first], float(margins[first] - margins[second])


def learnt(most: int = DRAWN) -> tuple[list[str], list[str]]:
    """The questions that ears are fitted on, in plain spelling, `most` of a pattern, and their topics."""
    rng = random.Random(0)
    texts = [
        (topic, text)
        for topic in TOPICS_HEARD
        for pattern in wordings_of(topic)
        for text in rng.sample(pattern, min(len(pattern), most))
    ]
    return [plain(text) for _, text in texts], [topic for topic, _ in texts]


def plain(text: str) -> str:
    """A question in plain spelling, every part of a face called a part."""
    return plain_spelling(PART.sub("part", text.lower()))


@lru_cache(maxsize=1)
def _fitted() -> tuple[Callable[[list[str]], spmatrix], LinearSVC]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union
    from sklearn.svm import LinearSVC

    texts, topics = learnt()
    common = {"preprocessor": plain, "sublinear_tf": True, "dtype": np.float32}
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", **common),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common),
    )
    return features.transform, LinearSVC(C=0.5, random_state=0).fit(features.fit_transform(texts), topics)
