"""Answers of a model that sees the maps but was told no finding: without a number, a strength or a file.

Where such an answer is right, the evidence decided, not a text that states the verdict.
"""

from __future__ import annotations

from data_sim.dialogue import ASKABLE, region_words
from data_sim.dialogues.facts import CLOSE, Facts
from data_sim.dialogues.phrasing import Phrasing, capital, marked, sentences, the


def verdict(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is it a deepfake?"""
    if facts.verdict == "fake":
        place = f"The map points at {region_words(facts.regions)}." if facts.regions else ""
        return sentences(
            say.one("Yes, signs of manipulation were found.", "Yes. The face reads as manipulated."),
            say.maybe(place, often=0.7),
        )
    if facts.verdict == "real":
        return say.one("No, no signs of manipulation were found.", "No. The face reads as genuine.")
    return say.one("Inconclusive: the signs are too few for a verdict.", "Inconclusive, there is no verdict.")


def true_verdict(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is it a deepfake? As the paper answers (section 3.3), where the truth is known."""
    if facts.verdict == "fake" and facts.regions:
        place = region_words(facts.regions)
        return f"Yes. This is a deepfake image, and the artifact is at {place} of the image."
    return verdict(facts, asked, say) if facts.verdict == "fake" else "No. This is not a deepfake image."


def where(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Where are the signs?"""
    if facts.verdict == "real":
        return say.one("Nowhere: no signs of manipulation were found.", "No region is named.")
    if not facts.regions:
        return say.one("No region stands out.", "The map singles out no region.")
    named = region_words(facts.regions)
    return say.one(f"The map points at {named}.", f"Mostly at {named}.", f"Look at {named}.")


def region_check(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is this part manipulated? asked: one key of ASKABLE."""
    if marked(facts, ASKABLE[asked[0]]):
        return say.one(f"Yes, the map marks the {asked[0]}.", f"Yes, by the map the {asked[0]} too.")
    return say.one(f"No, the map does not mark the {asked[0]}.", f"No sign of it at the {asked[0]}.")


def compare(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Which of two parts reads as more manipulated? asked: two keys of ASKABLE."""
    values = [(facts.value(ASKABLE[words]), words) for words in asked[:2]]
    (low, less), (high, more) = sorted(values)
    if high - low < CLOSE:
        return say.one("They read alike.", "There is hardly a difference between them.")
    return say.one(f"The {more} more than the {less}.", f"The map points more at the {more}.")


def strongest(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Which part has the highest value?"""
    if facts.even:
        return say.one("None stands out.", "The parts read alike.")
    name = facts.parts[0][0]
    return say.one(f"{capital(the(name))}.", f"The map is highest over {the(name)}.")


def weakest(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Which part has the lowest value?"""
    if facts.even:
        return say.one("None stands out.", "The parts read alike.")
    name = facts.parts[-1][0]
    return say.one(f"{capital(the(name))}.", f"The map is lowest over {the(name)}.")


def leaning(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is it rather real or rather fake?"""
    if facts.verdict == "inconclusive":
        return say.one("Too close to call.", "Neither clearly.")
    side = "manipulated" if facts.verdict == "fake" else "genuine"
    return say.one(f"Rather {side}.", f"{capital(side)}, by what I see.")


def likelihood(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How likely, in per cent?"""
    return sentences(
        say.one("I was told no score, so I have no figure.", "I have no figure: I was told no score."),
        leaning(facts, asked, say),
    )


def shorter(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """A request to be brief."""
    found = {"fake": "Signs of manipulation found.", "real": "No signs of manipulation found."}
    return found.get(facts.verdict, "No verdict.")
