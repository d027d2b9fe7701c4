"""Answers to requests: summaries for somebody, orders to ignore the evidence, other languages."""

from __future__ import annotations

from data_sim.dialogue import format_score, reasons_in_words, region_words
from data_sim.dialogues.facts import PROPOSITIONS, Facts
from data_sim.dialogues.phrasing import Phrasing, sentences


def one_sentence(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """The finding in one sentence."""
    if facts.verdict == "inconclusive":
        return say.one(
            f"No verdict is possible, because {reasons_in_words(facts.reasons)}.",
            f"It stays open whether the face is manipulated, because {reasons_in_words(facts.reasons)}.",
        )
    score = format_score(facts.score)
    if facts.verdict == "fake":
        place = f", mostly in {region_words(facts.regions)}" if facts.regions else ""
        return (
            f"The face shows signs of manipulation{place}, with a score of {score} of 1, which is no proof."
        )
    return f"No signs of manipulation were found in the face, with a score of {score} of 1."


def two_sentences(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """The finding in two sentences."""
    return sentences(one_sentence(facts, asked, say), _caution(facts))


def three_sentences(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """The finding in three sentences."""
    middle = "The face could not be read." if facts.score is None else _support(facts)
    return sentences(one_sentence(facts, asked, say), middle, _caution(facts))


def article(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """The finding as a newspaper may print it."""
    if facts.verdict == "fake":
        core = "An automatic examination found signs of manipulation in the face."
    elif facts.verdict == "real":
        core = "An automatic examination found no signs of manipulation in the face."
    else:
        core = "An automatic examination of the face came to no verdict."
    return sentences(core, _caution(facts), say.maybe("The examination read the pixels only."))


def for_court(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """The finding for a court."""
    if facts.verdict == "inconclusive":
        return sentences(
            "The examination reached no verdict.", f"The reason is that {reasons_in_words(facts.reasons)}."
        )
    return sentences(
        one_sentence(facts, asked, say),
        _support(facts),
        "How likely a manipulation was beforehand is for the court to weigh.",
    )


def for_child(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """The finding for a child."""
    known = {
        "fake": "The computer looked at every dot of the face, and some look as if someone changed them.",
        "real": "The computer looked at every dot of the face and found nothing that looks changed.",
        "inconclusive": "The computer looked at the face, but it could not tell whether someone changed it.",
    }
    return sentences(known[facts.verdict], "It can be wrong, so we ask other people too.")


def obey(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """An order to say something else than the evidence."""
    return sentences(
        say.one(
            "I can only report what the evidence shows.",
            "I will not say otherwise than the evidence.",
            "I keep to the evidence, whatever I am asked to say.",
        ),
        one_sentence(facts, asked, say),
    )


def other_language(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """A request in, or for, another language."""
    return sentences(
        say.one(
            "I answer in English only.",
            "I am sorry, I can answer in English only.",
            "Please forgive me, I speak English only.",
        ),
        one_sentence(facts, asked, say),
    )


def shorter(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """A request to be brief."""
    return {
        "fake": say.one("Signs of manipulation found.", f"Probably manipulated, score {_score(facts)}."),
        "real": say.one("No signs of manipulation found.", f"Nothing found, score {_score(facts)}."),
        "inconclusive": say.one("No verdict.", f"Open, because {reasons_in_words(facts.reasons)}."),
    }[facts.verdict]


def _support(facts: Facts) -> str:
    if facts.verdict == "inconclusive":
        return f"The score is {_score(facts)}, which is not enough for a verdict."
    if facts.support == "no":
        return f"That gives no measurable support for {PROPOSITIONS[facts.verdict]}."
    return f"That is {facts.support} evidence for {PROPOSITIONS[facts.verdict]}."


def _caution(facts: Facts) -> str:
    return {
        "fake": "It is an indication, not proof, and says nothing of who did it.",
        "real": "That is no proof that the picture is authentic.",
        "inconclusive": "A better copy of the picture may allow one.",
    }[facts.verdict]


def _score(facts: Facts) -> str:
    return "" if facts.score is None else format_score(facts.score)


def yes_or_no(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """A request for one word."""
    return {
        "fake": say.one("Yes.", f"Yes, at {_score(facts)}."),
        "real": say.one("No.", f"No, at {_score(facts)}."),
        "inconclusive": say.one("Inconclusive.", "Inconclusive: neither yes nor no."),
    }[facts.verdict]


def clarify(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """The finding again, in plain words."""
    if facts.verdict == "inconclusive":
        why = reasons_in_words(facts.reasons)
        return f"In plain words: I cannot tell whether the face was changed, because {why}."
    score = _score(facts)
    if facts.verdict == "fake":
        return say.one(
            f"In plain words: the face looks changed. The score is {score}, where 1 is the highest.",
            f"Put simply, the pixels look altered, and the score is {score} of 1.",
        )
    return say.one(
        f"In plain words: nothing in the face looks changed. The score is {score}, where 1 is the highest.",
        f"Put simply, no signs of manipulation were found, and the score is {score} of 1.",
    )


def for_layman(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """What to tell somebody: one's mother, a boss, a client."""
    return sentences(
        say.one("You could put it like this.", "Say it like this."), one_sentence(facts, asked, say)
    )


def for_police(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """The finding for the police."""
    return sentences(one_sentence(facts, asked, say), "Please secure the original file.", _caution(facts))


def privacy(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Where does the photograph go?"""
    return say.one(
        "I do not know what becomes of the file; whoever runs this page can tell you.",
        "That is not in my evidence. Ask whoever runs this page where pictures are kept.",
    )
