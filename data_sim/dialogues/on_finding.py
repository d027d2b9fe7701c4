"""Answers about the finding itself: the verdict, its strength, what speaks for and against it."""

from __future__ import annotations

from common.enfsi import NO_SUPPORT
from data_sim.dialogue import format_score, join_words, reasons_in_words, region_words
from data_sim.dialogues.facts import Facts, percent
from data_sim.dialogues.phrasing import Phrasing, at, capital, sentences, strength_line


def verdict(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is it a deepfake?"""
    if facts.verdict == "fake":
        opening = say.one(
            f"Yes, signs of manipulation were found; the score is {format_score(facts.score)}.",
            f"Yes. The face reads as manipulated, with a score of {format_score(facts.score)}.",
            f"Yes, probably: the score is {format_score(facts.score)}.",
            "Yes, the detector finds signs of manipulation.",
        )
        place = (
            f"The map points at {region_words(facts.regions)}."
            if facts.regions
            else "No single part stands out."
        )
        strength = say.maybe(strength_line(facts, say), often=0.6)
        return sentences(opening, say.maybe(place, often=0.7), strength)
    if facts.verdict == "real":
        return sentences(
            say.one(
                f"No, no signs of manipulation were found; the score is {format_score(facts.score)}.",
                f"No. The score is {format_score(facts.score)}, which is low.",
                f"No, nothing was found that speaks for a manipulation (score {format_score(facts.score)}).",
            ),
            say.maybe("That does not prove the photograph authentic.", often=0.5),
            say.maybe(strength_line(facts, say), often=0.5),
        )
    return sentences(
        say.one("Inconclusive.", "Inconclusive: I cannot say which.", "Inconclusive, there is no verdict."),
        say.one(f"The reason is that {reasons_in_words(facts.reasons)}.",
                f"That is because {reasons_in_words(facts.reasons)}."),
        _score_line(facts, say),
    )  # fmt: skip


def likelihood(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How likely, in per cent?"""
    if facts.score is None:
        return sentences(
            "I have no figure: there is no score.", f"{capital(reasons_in_words(facts.reasons))}."
        )
    score, share = format_score(facts.score), percent(facts.score)
    rounded = share in ("0 %", "100 %")  # by rounding, which would sound like certainty
    return sentences(
        f"The score is {score} of 1."
        if rounded
        else say.one(
            f"The score is {score} of 1, that is {share}.",
            f"{share}, if genuine and manipulated faces were equally frequent.",
        ),
        say.maybe(
            "It assumes that both were equally likely beforehand, which is for you to judge.", often=0.7
        ),
        say.maybe("A score is an indication, not proof."),
    )


def why(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """What is the finding based on?"""
    if facts.score is None:
        return f"Because {reasons_in_words(facts.reasons)}, so the face was not read."
    top = at(*facts.parts[0])
    score = format_score(facts.score)
    if facts.verdict == "fake":
        return sentences(
            say.one(
                f"Because the pixels read like those of manipulated faces: the score is {score}.",
                f"The score of {score} is above the threshold from which a face counts as manipulated.",
            ),
            say.one(f"The map is highest over {top}.", f"On the map, {top} is highest."),
            say.maybe(strength_line(facts, say)),
        )
    if facts.verdict == "real":
        return sentences(
            say.one(
                f"Because little in it reads like a manipulation: the score is {score}.",
                f"The score of {score} lies so low that few forged faces are found there.",
            ),
            say.maybe(f"Even the highest part of the map is {top}.", often=0.7),
        )
    return sentences(
        f"There is no verdict because {reasons_in_words(facts.reasons)}.",
        say.maybe(f"The score is {score}, and the map is highest over {top}.", often=0.7),
    )


def against(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """What speaks against the finding?"""
    if facts.score is None:
        return f"There is nothing to argue against: no verdict, because {reasons_in_words(facts.reasons)}."
    points = []
    if facts.verdict != "inconclusive" and facts.support in (NO_SUPPORT, "weak"):
        points.append("the evidence is weak")
    if facts.traces:
        points.append("the copy shows traces of compression")
    if facts.blurred:
        points.append("the face is blurred")
    if facts.verdict == "fake" and facts.even:
        points.append("the map singles out no part of the face")
    if facts.verdict == "fake":
        points.append(f"{at(*facts.parts[-1])} reads as untouched" if facts.parts[-1][1] < 0.25 else
                      "a filter or retouching can read alike")  # fmt: skip
    else:
        points.append(f"the map still has {at(*facts.parts[0])}")
    return say.one(f"Mainly that {join_words(points)}.", f"Against it: {join_words(points)}.")


def _score_line(facts: Facts, say: Phrasing) -> str:
    if facts.score is None:
        return "There is no score."
    return say.maybe(f"The score is {format_score(facts.score)}.", often=0.7)
