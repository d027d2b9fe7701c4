"""Answers about the photograph or video: quality, faces, times, and what is not read from pixels."""

from __future__ import annotations

from common.verdicts import Verdict
from data_sim.dialogue import join_words
from data_sim.dialogues.facts import TRACES, Facts, clock
from data_sim.dialogues.phrasing import Phrasing, rates_line, sentences


def quality(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is the picture good enough?"""
    blur = "It is blurred." if facts.is_blurred else ""
    size = f"The face is {facts.face_pixels} pixels wide"
    poor = facts.is_blurred or facts.traces or facts.face_pixels < 96
    opening = say.one("It could be better.", "Not ideal.") if poor else say.one("It is good enough.", "Good.")
    return sentences(opening, f"{size} and shows {TRACES[facts.traces]}.", blur, say.maybe(rates_line(facts)))


def size(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How large is the face?"""
    return sentences(
        say.one(
            f"The face is {facts.face_pixels} pixels wide.",
            f"{facts.face_pixels} pixels across the face.",
        ),
        say.maybe("Larger faces show more; below 48 pixels no face is judged.", often=0.6),
    )


def compression(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is it compressed, and does that matter?"""
    return sentences(
        say.one(f"It shows {TRACES[facts.traces]}.", f"The pixels show {TRACES[facts.traces]}."),
        say.maybe("Compression wipes out the fine traces that the detector reads.", often=0.7)
        if facts.traces
        else say.maybe("So the fine detail is still there to be read.", often=0.7),
        say.maybe(rates_line(facts), often=0.4),
    )


def blur(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is the face sharp enough?"""
    if facts.is_blurred:
        return say.one("The face is blurred, which hides traces.", "No, it is blurred.")
    return say.one("Yes, the face is sharp enough to be read.", "It is not blurred.")


def which_face(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Which of the faces is manipulated?"""
    if not facts.others:
        return sentences(
            "There is only one face here.", f"For it the finding is: {Verdict(facts.verdict).words.lower()}."
        )
    everyone = sorted(
        [(facts.number, facts.place, facts.verdict)]
        + [(other.number, other.place, other.verdict) for other in facts.others]
    )
    fake = [f"face {number} {place}" for number, place, verdict in everyone if verdict == "fake"]
    listed = join_words(
        f"face {number} {place}: {Verdict(verdict).words.lower()}" for number, place, verdict in everyone
    )
    if fake:
        verb = "reads" if len(fake) == 1 else "read"
        return sentences(
            f"{join_words(fake).capitalize()} {verb} as manipulated.", say.maybe(f"In full, {listed}.")
        )
    if {verdict for _, _, verdict in everyone} == {"real"}:
        return say.one(f"None of them reads as manipulated: {listed}.", f"None: {listed}.")
    return f"Face by face: {listed}."


def how_many_faces(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How many faces were found, and which one is this?"""
    if not facts.others:
        return say.one("One face was found.", "One, the face we are talking about.")
    return say.one(
        f"{len(facts.others) + 1} faces were found; this is face {facts.number}, {facts.place}.",
        f"{len(facts.others) + 1}. We are talking about face {facts.number}, {facts.place}.",
    )


def when(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """When in the video does it read as manipulated?"""
    if facts.clip is None:
        return say.one(
            "This is a photograph, so there are no times.", "There is no time in it: it is a single picture."
        )
    runs = join_words(f"{clock(first)} to {clock(last)}" for first, last in facts.clip.stretches)
    if not runs:
        return say.one(
            "No stretch of the video reads as manipulated.",
            f"At no time: of the {facts.clip.frames} frames read, none stands out.",
        )
    return say.one(
        f"From {runs}.",
        f"The frames from {runs} read as manipulated.",
        f"Look at {runs}: there the frames stand out.",
    )


def frames(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How much of the video was read?"""
    if facts.clip is None:
        return "This is a photograph; there are no frames."
    return say.one(
        f"{facts.clip.frames} frames, spread over {clock(facts.clip.seconds)}.",
        f"The video is {clock(facts.clip.seconds)} long, and {facts.clip.frames} frames of it were read.",
    )
