"""What is known of one face before anybody asks, and the words in which a language model is told it.

An answer may state nothing else. `told` is the one text in which a model reads the facts (training,
evaluation and chat alike); `llm.checks` holds answers against the same fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from common.enfsi import verbal_of_score
from common.verdicts import Reason
from data_sim.dialogue import Case, format_score, join_words, reasons_in_words, region_words
from media.regions import PART_NAMES, REGION_NAMES, WHOLE_FACE

CLOSE = 0.05  # heat values less far apart than this are called alike
EVEN = 0.15  # where all parts lie within this, none stands out
TRACES = ("hardly any traces of compression", "traces of JPEG compression",
          "traces of video or WebP compression", "traces of JPEG and of video compression")  # fmt: skip
PROPOSITIONS = {"fake": "manipulation", "real": "a genuine photograph"}


@dataclass(frozen=True)
class OtherFace:
    """Another face in the same picture or video: its number, its place in words, and its verdict."""

    number: int
    place: str
    verdict: str


@dataclass(frozen=True)
class Clip:
    """What is particular to a video.

    seconds: its length. frames: how many were read. stretches: (first, last) seconds of the runs of frames
    that read as manipulated, in order; empty where none does.
    """

    seconds: float
    frames: int
    stretches: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class ErrorRates:
    """Measured on photographs of the same kind, as shares in [0, 1].

    false_alarms: of genuine faces called fake. found: of forged faces called fake; None where unmeasured.
    """

    false_alarms: float
    found: float | None = None


@dataclass(frozen=True)
class Facts(Case):
    """One face and the file it is in: a case with all that people ask about.

    heat: mean P(fake) of every region of REGION_NAMES; empty without a score. face_pixels: width of the face;
    0 where nothing is known of the file, which is then not spoken of. traces: index into TRACES. blurred:
    whether the face is too soft to be read well. rates: see ErrorRates; None where this kind was never
    measured. number, place: of this face among all; others: the other faces. clip: set for a video.
    Raises ValueError where these do not fit together.
    """

    face_pixels: int = 0
    traces: int = 0
    blurred: bool = False
    rates: ErrorRates | None = None
    number: int = 1
    place: str = ""
    others: tuple[OtherFace, ...] = ()
    clip: Clip | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.score is not None and {name for name, _ in self.heat} != set(REGION_NAMES):
            raise ValueError(f"heat: expected a value for each of {REGION_NAMES}, got {self.heat}")
        if not 0 <= self.traces < len(TRACES):
            raise ValueError(f"traces: expected an index into TRACES, got {self.traces}")

    @classmethod
    def of(cls, case: Case, **more: Any) -> Facts:
        """A case as facts. more: fields of Facts that a case has not; what is left out is not known."""
        return cls(**{field.name: getattr(case, field.name) for field in fields(Case)} | more)

    @property
    def support(self) -> str:
        """The word for the strength of the evidence, as it is printed; NO_SUPPORT where there is none.

        That of the likelihood ratio; where none is known, that of the score's odds.
        """
        return self.strength or verbal_of_score(float(format_score(self.score or 0.5)))

    @property
    def is_blurred(self) -> bool:
        """Was the face found blurred, enough to be told or even enough to forbid a verdict?"""
        return self.blurred or Reason.BLURRED in self.reasons

    @property
    def parts(self) -> list[tuple[str, float]]:
        """(name, value) of the parts of the face, the highest first; values as they are printed."""
        printed = [(name, round(value, 2)) for name, value in self.heat if name in PART_NAMES]
        return sorted(printed, key=lambda part: (-part[1], PART_NAMES.index(part[0])))

    @property
    def spread(self) -> float:
        """How far the highest and the lowest part lie apart, in [0, 1]; 0 without a score."""
        parts = self.parts
        return round(parts[0][1] - parts[-1][1], 2) if parts else 0.0

    @property
    def even(self) -> bool:
        """Does no part of the face stand out from the others?"""
        return self.spread < EVEN

    def value(self, names: Iterable[str]) -> float:
        """The highest heat among regions, as printed: a number that the prompt holds, unlike their mean.

        Raises KeyError for a region without a value.
        """
        values = dict(self.heat)
        return round(max(values[name] for name in names), 2)


def told(facts: Facts) -> str:
    """The facts as the prompt states them, in a fixed order and wording: about 120 words for a photograph."""
    return " ".join(
        part
        for part in (
            _finding(facts),
            _map(facts),
            _photograph(facts),
            _rates(facts),
            _faces(facts),
            _clip(facts),
        )
        if part
    )


def _finding(facts: Facts) -> str:
    if facts.score is None:
        return f"Verdict: inconclusive, because {reasons_in_words(facts.reasons)}. There is no score."
    score = f"Score: {format_score(facts.score)}."
    if facts.verdict == "inconclusive":
        return f"Verdict: inconclusive, because {reasons_in_words(facts.reasons)}. {score}"
    return f"Verdict: {facts.verdict}. {score} Evidence for {PROPOSITIONS[facts.verdict]}: {facts.support}."


def _map(facts: Facts) -> str:
    if facts.score is None:
        return ""
    values = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in facts.parts)
    named = f" Named: {region_words(facts.regions)}." if facts.regions else " Named: no region."
    return f"Map: {values}, whole face {facts.value([WHOLE_FACE]):.2f}.{named}"


def _photograph(facts: Facts) -> str:
    if not facts.face_pixels:
        return ""
    what = "Video" if facts.clip else "Photograph"
    blur = ", blurred" if facts.blurred else ""
    return f"{what}: face {facts.face_pixels} pixels wide, {TRACES[facts.traces]}{blur}."


def _rates(facts: Facts) -> str:
    if facts.rates is None:
        return ""
    found = "" if facts.rates.found is None else f", {percent(facts.rates.found)} of forged ones found"
    return f"On such faces: {percent(facts.rates.false_alarms)} of genuine ones called fake{found}."


def _faces(facts: Facts) -> str:
    if not facts.others:
        return "One face."
    others = "; ".join(f"face {other.number}, {other.place}: {other.verdict}" for other in facts.others)
    return f"{len(facts.others) + 1} faces; this is face {facts.number}, {facts.place}; {others}."


def _clip(facts: Facts) -> str:
    if facts.clip is None:
        return ""
    runs = join_words(f"{clock(first)} to {clock(last)}" for first, last in facts.clip.stretches)
    reads = f"manipulated from {runs}" if runs else "no stretch reads as manipulated"
    return f"Length {clock(facts.clip.seconds)}, {facts.clip.frames} frames read; {reads}."


def percent(share: float) -> str:
    """0.034 -> "3 %", the one way shares are written."""
    return f"{100 * share:.0f} %"


def clock(seconds: float) -> str:
    """62.04 -> "1:02.0", the one way times are written."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"
