"""Answers about the finding itself: the verdict, its strength, what speaks for and against it."""

from __future__ import annotations

from common.enfsi import NO_SUPPORT
from data_sim.dialogue import format_score, join_words, reasons_in_words, region_words
from data_sim.dialogues.facts import Facts, percent
from data_sim.dialogues.phrasing import Phrasing, at, capital, level, sentences, strength_line


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
        strength = say.maybe(strength_line(facts, say), often=0.2)
        return sentences(opening, say.maybe(place, often=0.7), strength)
    if facts.verdict == "real":
        return sentences(
            say.one(
                f"No, no signs of manipulation were found; the score is {format_score(facts.score)}.",
                f"No. The score is {format_score(facts.score)}, which is low.",
                f"No, nothing was found that speaks for a manipulation (score {format_score(facts.score)}).",
            ),
            say.maybe("That does not prove the photograph authentic.", often=0.5),
            say.maybe(strength_line(facts, say), often=0.15),
        )
    return sentences(
        say.one("Inconclusive.", "Inconclusive: I cannot say which.", "Inconclusive, there is no verdict."),
        say.one(f"The reason is that {reasons_in_words(facts.reasons)}.",
                f"That is because {reasons_in_words(facts.reasons)}."),
        _score_line(facts, say),
    )  # fmt: skip


def real_or_fake(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is it genuine? Real or fake? Which of the two comes first; a yes would be misread."""
    if facts.verdict == "inconclusive":
        return sentences(
            say.one(
                "Neither can be said.", "Inconclusive, neither the one nor the other.", "I cannot say which."
            ),
            f"The reason is that {reasons_in_words(facts.reasons)}.",
            _score_line(facts, say),
        )
    score = format_score(facts.score)
    if facts.verdict == "fake":
        return sentences(
            say.one(
                f"Manipulated, by what the pixels show: the score is {score} of 1.",
                f"Manipulated, probably, with a score of {score}.",
                f"Not genuine, as far as the pixels tell; the score is {score}.",
                f"I would not rely on it: there are signs of manipulation, with a score of {score}.",
            ),
            say.maybe(f"The map is highest over {at(*facts.parts[0])}.", often=0.5),
            say.maybe("That is an indication, not proof.", often=0.3),
        )
    return sentences(
        say.one(
            f"Genuine, by what the pixels show: the score is {score} of 1.",
            f"Genuine, as far as I can see, with a score of {score}.",
            f"No signs of manipulation were found, so rather genuine; the score is {score}.",
            f"Nothing speaks against it: no signs of manipulation were found, at a score of {score} of 1.",
        ),
        say.maybe("That is no certificate, since a forgery can be missed.", often=0.5),
    )


def score_meaning(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is that score high, and what does it mean?"""
    if facts.score is None:
        return say.one(
            f"There is no score to explain, because {reasons_in_words(facts.reasons)}.",
            f"No number was given, because {reasons_in_words(facts.reasons)}.",
        )
    score, much = format_score(facts.score), level(float(format_score(facts.score)))
    first, second = ("manipulated", "genuine") if float(score) > 0.5 else ("genuine", "manipulated")
    return sentences(
        say.one(
            f"It is {much}: {score} on a scale from 0 to 1, where 0 is the least suspicion.",
            f"{capital(much)}: {score} of 1, where 1 would be the clearest sign of a manipulation.",
            f"The score says how much the face reads like manipulated ones, from 0 to 1; {score} is {much}.",
            f"{score} means that the face reads more like {first} faces than like {second} ones.",
            f"The number stands for how suspicious the pixels are; with {score} of 1 that is {much}.",
        ),
        say.maybe("It is an estimate, not proof.", "Half way would be 0.50.", often=0.5),
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
                f"Because of two things: a score of {score}, and what the map shows.",
                f"The pixels gave it away, not the eye: they read at {score} of 1.",
                f"From the score of {score}, so high that the face counts as manipulated.",
            ),
            say.one(f"The map is highest over {top}.", f"On the map, {top} is highest."),
            say.maybe(strength_line(facts, say), often=0.15),
        )
    if facts.verdict == "real":
        return sentences(
            say.one(
                f"Because the score is only {score}, and nothing on the map changes that.",
                f"From the pixels: they read like those of genuine faces, with a score of {score}.",
                f"Because little in it reads like a manipulation: the score is {score}.",
                f"The score of {score} lies so low that few forged faces are found there.",
            ),
            say.maybe(f"Even the highest part of the map is {top}.", often=0.7),
        )
    return sentences(
        say.one(f"There is no verdict because {reasons_in_words(facts.reasons)}.",
                f"Because {reasons_in_words(facts.reasons)}, I give no verdict.",
                f"The reason is that {reasons_in_words(facts.reasons)}."),
        say.maybe(f"The score is {score}, and the map is highest over {top}.", often=0.7),
    )  # fmt: skip


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
