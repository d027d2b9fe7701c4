"""Which topic's training wordings a question is most like: a linear support vector machine on its words,
pairs of words and runs of letters (scikit-learn), fitted in about three seconds when it is first asked.

Cues find what somebody thought of; this also reads what is misspelt, or said in words of several topics.
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
# the strangers' questions of tests/llm/questions/questions.yaml: from SURE on it is right more often than a
# cue that says otherwise, below LIKELY it is a guess.
SURE = 1.0
LIKELY = 0.15
DRAWN = 8  # wordings of a pattern that are learnt


def likest_topic(question: str) -> tuple[str, float]:
    """The topic whose training wordings a question is most like, and its lead over the next, at least 0.

    It takes milliseconds, and nothing is remembered: a question is gone with its visitor.
    """
    features, machine = _fitted()
    margins = machine.decision_function(features([question]))[0]
    second, first = np.argsort(margins)[-2:]
    return str(machine.classes_[first]), float(margins[first] - margins[second])


@lru_cache(maxsize=1)
def _fitted() -> tuple[Callable[[list[str]], spmatrix], LinearSVC]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union
    from sklearn.svm import LinearSVC

    rng = random.Random(0)
    learnt = [
        (topic, text)
        for topic in sorted(FULL.topics)
        for pattern in wordings_of(topic)
        for text in rng.sample(pattern, min(len(pattern), DRAWN))
    ]
    topics, texts = zip(*learnt, strict=True)
    common = {"preprocessor": _plain, "sublinear_tf": True, "dtype": np.float32}
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", **common),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common),
    )
    return features.transform, LinearSVC(C=0.5, random_state=0).fit(features.fit_transform(texts), topics)


def _plain(text: str) -> str:
    return plain_spelling(PART.sub("part", text.lower()))
