"""Which language a question is in: the assistant answers in English alone, and must know what it cannot.

A script decides by itself. In Latin letters py3langid (Lui and Baldwin, 2012) decides, and only where English
is far behind: a short English question with typos is asked as it stands.
"""

from __future__ import annotations

import re
from functools import lru_cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from app.wording.translated import ENGLISH, Stated, finding_sentences, sentences

SCRIPTS = {"zh": "\u4e00-\u9fff", "ar": "\u0600-\u06ff", "ru": "\u0400-\u04ff", "hi": "\u0900-\u097f"}
LATIN = (ENGLISH, "de", "es", "fr", "pt")
LEAST_LETTERS = 0.5  # of all letters; a name in another script does not make a question foreign
MOST_ENGLISH = 0.05  # probability of English among LATIN; of sixty English questions the lowest is 0.08
ENGLISH_ONLY = "Questions can be answered in English only; please ask this one again in English."


def foreign_language(question: str) -> str | None:
    """The code of the language other than English that a question is in; None where it may be English."""
    letters = re.findall(r"[^\W\d_]", question)
    for language, script in SCRIPTS.items():
        if len(re.findall(f"[{script}]", question)) > LEAST_LETTERS * max(len(letters), 1):
            return language
    chances = dict(_identifier().rank(question.lower()))
    likeliest = max(chances, key=chances.__getitem__)
    return likeliest if letters and chances[ENGLISH] < MOST_ENGLISH else None


def foreign_answer(language: str, face: Stated) -> str:
    """That only English is answered, and the finding in the fixed words of the other language."""
    said = f"{sentences(language)['verdict'][face.verdict]}. {finding_sentences(language, face)}"
    return f"{ENGLISH_ONLY} The finding in the fixed words of the report:\n\n{said}"


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LATIN))
    return identifier
