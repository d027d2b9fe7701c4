"""Answers about the finding itself: the verdict, its strength, what speaks for and against it."""

from __future__ import annotations

from common.enfsi import NO_SUPPORT
from data_sim.dialogue import format_score, join_words, reasons_in_words, region_words
from data_sim.dialogues.facts import PROPOSITIONS, Facts, percent
from data_sim.dialogues.on_file import rates_line
from data_sim.dialogues.phrasing import Phrasing, at, capital, sentences


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
        return sentences(opening, say.maybe(place, often=0.7), say.maybe(_strength(facts, say), often=0.6))
    if facts.verdict == "real":
        return sentences(
            say.one(
                f"No, no signs of manipulation were found; the score is {format_score(facts.score)}.",
                f"No. The score is {format_score(facts.score)}, which is low.",
                f"No, nothing was found that speaks for a manipulation (score {format_score(facts.score)}).",
            ),
            say.maybe("That does not prove the photograph authentic.", often=0.5),
            say.maybe(_strength(facts, say), often=0.5),
        )
    return sentences(
        say.one("Inconclusive.", "Inconclusive: I cannot say which.", "Inconclusive, there is no verdict."),
        say.one(f"The reason is that {reasons_in_words(facts.reasons)}.",
                f"That is because {reasons_in_words(facts.reasons)}."),
        _score_line(facts, say),
    )  # fmt: skip


def leaning(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is it rather real or rather fake?"""
    if facts.score is None:
        return sentences(
            "Neither: there is no score.", f"The reason is that {reasons_in_words(facts.reasons)}."
        )
    score = format_score(facts.score)
    side = "manipulated" if float(score) > 0.5 else "genuine"
    if facts.verdict == "inconclusive":
        return say.one(
            f"The score of {score} leans towards {side}, but not enough for a verdict.",
            f"If anything {side}, with a score of {score}; but that is too little to decide.",
        )
    return say.one(
        f"Rather {side}: the score is {score}, where 0.50 would be even.",
        f"More likely {side}, with a score of {score}.",
        f"{capital(side)}, by a score of {score}.",
    )


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


def how_sure(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How sure is this?"""
    if facts.verdict == "inconclusive":
        return sentences(
            say.one("Not sure at all: there is no verdict.", "Not enough for a verdict."),
            f"{capital(reasons_in_words(facts.reasons))}.",
        )
    return sentences(_strength(facts, say), say.maybe(rates_line(facts)), say.maybe("It is not proof."))


def could_be_wrong(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Could the finding be wrong?"""
    rates = rates_line(facts)
    if facts.verdict == "fake":
        first = say.one(
            "Yes, it could be wrong.", "Certainly possible.", "It can be wrong, like any detector."
        )
        doubt = "Retouching, filters or a poor copy can look like a manipulation."
    elif facts.verdict == "real":
        first = say.one("A forgery can be missed.", "It can be wrong, like any detector.")
        doubt = "A careful forgery may leave no trace that is found."
    else:
        first, doubt = (
            "There is no verdict that could be wrong.",
            f"{capital(reasons_in_words(facts.reasons))}.",
        )
    return sentences(first, rates, say.maybe(doubt, often=0.8))


def change_mind(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """What would change the finding?"""
    needed = say.one(
        "The original file, straight from the camera, would help most.",
        "A larger, less compressed copy of the same picture could read differently.",
        "Another picture from the same moment would be worth examining.",
    )
    if facts.verdict == "inconclusive":
        return sentences(f"There is no verdict yet, because {reasons_in_words(facts.reasons)}.", needed)
    here = ""
    if facts.traces or facts.blurred:
        here = "This copy is " + ("blurred." if facts.blurred else "compressed.")
    return sentences(needed, say.maybe(here, often=0.8), say.maybe("So would a witness or a known source."))


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
            say.maybe(_strength(facts, say)),
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


def strength(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How strong is the evidence, and what does the word mean?"""
    if facts.verdict == "inconclusive":
        return f"There is no verdict to support, because {reasons_in_words(facts.reasons)}."
    return sentences(
        _strength(facts, say),
        say.maybe(
            "The word comes from the scale that forensic institutes use for likelihood ratios.", often=0.6
        ),
    )


def _strength(facts: Facts, say: Phrasing) -> str:
    towards = PROPOSITIONS[facts.verdict]
    if facts.support == NO_SUPPORT:
        return f"The evidence gives no measurable support for {towards}."
    return say.one(
        f"The evidence for {towards} is {facts.support}.",
        f"That is {facts.support} evidence for {towards}.",
    )


def _score_line(facts: Facts, say: Phrasing) -> str:
    if facts.score is None:
        return "There is no score."
    return say.maybe(f"The score is {format_score(facts.score)}.", often=0.7)


def maker(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Who made it?"""
    if facts.verdict == "inconclusive":
        why = reasons_in_words(facts.reasons)
        return say.one(
            f"That cannot be read from pixels. There is not even a verdict, because {why}.",
            "I cannot tell who handled the picture, and here there is no verdict either.",
        )
    score = format_score(facts.score)
    if facts.verdict == "real":
        return say.one(
            f"There is no forger to name: no signs of manipulation were found, with a score of {score}.",
            f"I do not know who made the picture. The finding is only that its score is low, {score}.",
        )
    return say.one(
        f"Who did it cannot be read from pixels. The score of {score} tells of the face, not of a person.",
        f"I do not know who made it. I know what the face reads like: its score is {score}.",
        f"The evidence names no maker; it is a score of {score} and a map, nothing else.",
    )


def proof(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is that proven, can it be stated as a fact?"""
    if facts.verdict == "inconclusive":
        return sentences(
            say.one("Nothing is proven here: there is no verdict.", "It is not proof of anything."),
            f"The reason is that {reasons_in_words(facts.reasons)}.",
        )
    score = format_score(facts.score)
    return sentences(
        say.one(
            f"It is not proof. A score of {score} is an indication.",
            f"A score of {score} is an indication, not proof.",
            f"Do not call it proven: all there is is a score of {score}.",
        ),
        _strength(facts, say),
    )


def verdict_meaning(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """What does the verdict mean?"""
    if facts.verdict == "inconclusive":
        return say.one(
            f"It means neither yes nor no, because {reasons_in_words(facts.reasons)}.",
            f"The verdict is inconclusive: it stays open, because {reasons_in_words(facts.reasons)}.",
        )
    score = format_score(facts.score)
    if facts.verdict == "fake":
        return say.one(
            f"The verdict is fake: the score of {score} lies above the limit for calling it so.",
            f"The verdict is fake. The pixels read like those of manipulated faces, with a score of {score}.",
        )
    return say.one(
        f"The verdict is real: the score of {score} lies below the limit. It is no certificate.",
        f"The verdict is real, which says that no signs of manipulation were found; the score is {score}.",
    )
