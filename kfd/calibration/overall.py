"""From the faces of a file to what is said of the whole file: the one rule of command, page and report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from common.verdicts import Reason, Verdict
from kfd.detection import FaceFinding
from media.faces import finder_name

# Faces that were found but not judged; too small to be read, or perhaps no face at all.
LEFT_OUT = frozenset({Reason.FACE_TOO_SMALL, Reason.FACE_UNCERTAIN})


@dataclass(frozen=True)
class FaceCount:
    """How many faces a photograph shows, of a video how many people.

    found: of which no more are told apart than media.face_detector.MOST_FACES. judged: those that could be
    judged, with whatever verdict. left_out: the others, by the first reason.
    finder: what looked for them, "CenterFace" or "dlib".
    """

    found: int
    judged: int
    left_out: dict[Reason, int]
    finder: str

    @property
    def words(self) -> str:
        """The count in words, such as "2 faces found, all judged"."""
        if not self.found:
            return "no face found"
        faces = "1 face found" if self.found == 1 else f"{self.found} faces found"
        if not self.left_out:
            return faces if self.found == 1 else f"{faces}, all judged"
        rest = [f"{count} not, because {reason.words}" for reason, count in self.left_out.items()]
        return ", ".join([faces, f"{self.judged or 'none'} judged", *rest])

    def as_json(self) -> dict[str, object]:
        """The count as output lines and reports hold it."""
        left_out = {str(reason): count for reason, count in self.left_out.items()}
        return {"found": self.found, "judged": self.judged, "left_out": left_out, "finder": self.finder}


def count_faces(faces: Sequence[FaceFinding], more: int = 0) -> FaceCount:
    """Count the faces of a photograph, or the people of a video. more: places passed over, see FaceSearch."""
    reasons = Counter(next(r for r in face.reasons if r in LEFT_OUT) for face in faces if is_left_out(face))
    judged = len(faces) - reasons.total()
    left_out = dict(reasons) | ({Reason.TOO_MANY_FACES: more} if more else {})
    return FaceCount(len(faces) + more, judged, left_out, finder_name())


def overall_verdict(
    faces: Sequence[FaceFinding], more: int = 0, damaged: bool = False
) -> tuple[Verdict, tuple[Reason, ...]]:
    """The verdict of a photograph or video and, where it is inconclusive, the reasons.

    more: faces that were passed over, see media.faces.FaceSearch. damaged: the file did not decode whole.
    It follows from all faces that could be judged, never from the first: one manipulated face makes the
    whole `fake`; otherwise one face without a verdict makes it `inconclusive`; only when every one is `real`
    is the whole `real`, and of a crowd too large to be judged whole not even then. Faces left out (see
    FaceCount) decide only where there is no other; no face: inconclusive.
    """
    if not faces:
        return Verdict.INCONCLUSIVE, (Reason.NO_FACE, *([Reason.DAMAGED] if damaged else []))
    judged = [face for face in faces if not is_left_out(face)] or faces
    verdicts = {face.verdict for face in judged}
    if Verdict.FAKE in verdicts:
        return Verdict.FAKE, ()
    if Verdict.INCONCLUSIVE in verdicts:
        reasons = (reason for face in judged for reason in face.reasons)
        return Verdict.INCONCLUSIVE, tuple(dict.fromkeys(reasons))
    return (Verdict.INCONCLUSIVE, (Reason.TOO_MANY_FACES,)) if more else (Verdict.REAL, ())


def is_left_out(face: FaceFinding) -> bool:
    """Whether a face was found but not judged."""
    return not LEFT_OUT.isdisjoint(face.reasons)
