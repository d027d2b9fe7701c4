"""Facts of the file around a judged face, drawn at random, so that a model reads rather than recalls them.

A training set has crops: nobody knows how large the face was in its photograph, how often the detector errs
on such photographs, or who else was in it. In a chat all of that is told, and answers must follow it.
"""

from __future__ import annotations

import random

from common.verdicts import Verdict
from data_sim.dialogue import Case
from data_sim.dialogues.facts import TRACES, Clip, ErrorRates, Facts, OtherFace

PLACES = ("on the left", "in the middle", "on the right", "at the top", "at the bottom", "at the top left",
          "at the top right", "at the bottom left", "at the bottom right")  # fmt: skip
_ALONE, _PHOTOGRAPH, _MEASURED = 0.7, 0.75, 0.8  # shares of files with one face, without frames, with rates


def draw_facts(case: Case, rng: random.Random) -> Facts:
    """The case in a file of random quality, with random neighbours, error rates and, at times, frames.

    The same `rng` state gives the same facts. What the case says of the face is kept as it is.
    """
    number, place, others = 1, "", ()
    if rng.random() >= _ALONE:
        places = rng.sample(PLACES, rng.choice((2, 2, 3, 4)))
        number = rng.randint(1, len(places))
        place = places[number - 1]
        others = tuple(
            OtherFace(k, where, rng.choice([*Verdict]))
            for k, where in enumerate(places, start=1)
            if k != number
        )
    return Facts.of(
        case,
        face_pixels=round(40 * 25 ** rng.random()),
        traces=rng.randrange(len(TRACES)),
        blurred=rng.random() < 0.2,
        rates=_rates(rng) if rng.random() < _MEASURED else None,
        number=number,
        place=place,
        others=others,
        clip=None if rng.random() < _PHOTOGRAPH else _clip(case, rng),
    )


def _rates(rng: random.Random) -> ErrorRates:
    found = rng.betavariate(1.5, 1.5) if rng.random() < 0.8 else None
    return ErrorRates(0.3 * rng.betavariate(1, 4), found)


def _clip(case: Case, rng: random.Random) -> Clip:
    """A video; only one that is not called genuine may have stretches that read as manipulated."""
    seconds = round(rng.uniform(2, 180), 1)
    runs = 0 if case.verdict == Verdict.REAL else rng.choice((0, 1, 1, 2))
    ends = sorted(round(rng.uniform(0, seconds), 1) for _ in range(2 * runs))
    return Clip(seconds, rng.randint(4, 64), tuple(zip(ends[::2], ends[1::2], strict=True)))
