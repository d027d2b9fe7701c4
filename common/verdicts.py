"""Verdicts, and the reasons for giving none: their codes, and the words that people read."""

from __future__ import annotations

from enum import StrEnum


class _Term(StrEnum):
    """A code as files hold it, which is the value, and the `words` that people read."""

    words: str

    def __new__(cls, code: str, words: str) -> _Term:
        member = str.__new__(cls, code)
        member._value_, member.words = code, words
        return member


class Verdict(_Term):
    """The finding about a face, a photograph or a video; `words` is its headline."""

    FAKE = "fake", "Signs of manipulation"
    REAL = "real", "No signs of manipulation found"
    INCONCLUSIVE = "inconclusive", "No verdict"


class Reason(_Term):
    """A reason why a verdict is inconclusive; `words` is a clause that follows "because"."""

    FACE_TOO_SMALL = "face_too_small", "the face is too small in the picture"
    FACE_UNCERTAIN = "face_uncertain", "it is not certain that this is a face"
    NOT_A_PHOTOGRAPH = "not_a_photograph", "this is drawn or painted, not photographed"
    BLURRED = "blurred", "the face is too blurred"
    HEAVY_COMPRESSION = "heavy_compression", "the image is too heavily compressed"
    UNFAMILIAR = "unfamiliar", "the picture is unlike those that the detector knows"
    BETWEEN_THRESHOLDS = "score_between_thresholds", "the score lies between the two decision thresholds"
    VIEWS_DISAGREE = "views_disagree", "the face and its mirror image read differently"
    FRAMES_DISAGREE = "frames_disagree", "the frames of the video read differently"
    SYSTEMS_DISAGREE = "systems_disagree", "a second system reads the face otherwise"
    NOT_CALIBRATED = "not_calibrated", "the detector is not calibrated"
    INTERLACED = "interlaced", "the frames are interlaced, woven of two moments"
    DAMAGED = "damaged", "the file is damaged and did not decode whole"
    TOO_MANY_FACES = "too_many_faces", "the picture shows more faces than are judged"
    NO_FACE = "no_face", "no face was found"


# Those of a single face; the others are of a whole file.
FACE_REASONS = tuple(reason for reason in Reason if reason not in (Reason.NO_FACE, Reason.TOO_MANY_FACES))
# They lie in the score; all others forbid a verdict whatever the score.
SCORE_REASONS = frozenset({Reason.BETWEEN_THRESHOLDS, Reason.NOT_CALIBRATED})
