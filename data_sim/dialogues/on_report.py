"""The narrative of a report: findings, what speaks for and against, limits, and what to do."""

from __future__ import annotations

from data_sim.dialogue import format_score, join_words, reasons_in_words, region_words
from data_sim.dialogues.facts import TRACES, Facts
from data_sim.dialogues.phrasing import Phrasing, at, capital, sentences, strength_line


def findings(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """The findings, in three to five sentences."""
    if facts.score is None:
        return sentences(
            say.one("There is no verdict and no score.", "The face was not scored, so there is no verdict."),
            f"The reason is that {reasons_in_words(facts.reasons)}.",
            _picture(facts),
        )
    score = format_score(facts.score)
    first = {
        "fake": say.one(f"Signs of manipulation were found in the face; the score is {score} of 1.",
                        f"The face reads as manipulated, with a score of {score} of 1."),
        "real": say.one(f"No signs of manipulation were found in the face; the score is {score} of 1.",
                        f"The face shows no signs of manipulation, with a score of {score} of 1."),
        "inconclusive": f"No verdict, because {reasons_in_words(facts.reasons)}; the score is {score}.",
    }[facts.verdict]  # fmt: skip
    support = "" if facts.verdict == "inconclusive" else strength_line(facts, say)
    return sentences(first, support, _places(facts, say), say.maybe(_picture(facts), often=0.8))


def for_and_against(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """What speaks for a manipulation, and what against it."""
    if facts.score is None:
        why = reasons_in_words(facts.reasons)
        return say.one(f"Nothing can be weighed: there is no score, because {why}.",
                       f"Neither side has anything to show, because {why}; there is no score.")  # fmt: skip
    towards, away = _points(facts)
    return say.one(
        f"On the one side: {join_words(towards)}. On the other side: {join_words(away)}.",
        f"What raises the suspicion: {join_words(towards)}. What lowers it: {join_words(away)}.",
    )


def _points(facts: Facts) -> tuple[list[str], list[str]]:
    """What raises and what lowers the suspicion; neither list is empty."""
    score, (top, bottom) = format_score(facts.score), (facts.parts[0], facts.parts[-1])
    high = float(score) > 0.5
    towards, away = ([], [f"the score of {score}"])[:: -1 if high else 1]
    towards.append(f"the map has {at(*top)}")
    away.append(f"the map has only {at(*bottom)}" if bottom[1] < 0.25 else "retouching can read alike")
    if facts.traces or facts.blurred:
        away.append("the copy is " + ("blurred" if facts.blurred else "compressed"))
    return towards, away


def recommendation(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """What should be done next, given this finding."""
    original = say.one(
        "Ask the source for the original file.",
        "Get the original file and have it examined too.",
        "Look for the original file, or an earlier copy.",
    )
    if facts.verdict == "inconclusive":
        return sentences(
            original, f"Until then treat it as not examined, because {reasons_in_words(facts.reasons)}."
        )
    score = format_score(facts.score)
    if facts.verdict == "fake":
        compared = region_words(facts.regions[:2]) or region_words([facts.parts[0][0]])
        return sentences(
            original,
            say.maybe(f"Compare {compared} with other photographs of the person.", often=0.7),
            say.one(
                f"Do not accuse anybody on a score of {score} alone.",
                f"A score of {score} is a reason to look closer, not to accuse.",
            ),
        )
    return sentences(
        say.one(
            f"Go on with the usual checks of source and date: a score of {score} is no certificate.",
            f"With a score of {score} nothing in the face speaks against it, but check the source as well.",
        ),
        say.maybe(original),
    )


def _places(facts: Facts, say: Phrasing) -> str:
    top = join_words(at(name, value) for name, value in facts.parts[:2])
    return say.one(
        f"On the map the highest values are {top}.", f"The map reaches its highest values with {top}."
    )


def _picture(facts: Facts) -> str:
    """Size and traces of the face, where they are known."""
    if not facts.face_pixels:
        return ""
    blur = " and is blurred" if facts.blurred else ""
    return capital(f"the face is {facts.face_pixels} pixels wide, shows {TRACES[facts.traces]}{blur}.")
