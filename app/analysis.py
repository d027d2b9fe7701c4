"""One examined photograph or video: findings, where they come from, and what was said about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from common.verdicts import SCORE_REASONS, Reason, Verdict
from data_sim.dialogue import Case
from kfd.calibration.overall import FaceCount, count_faces, is_left_out
from kfd.detection import FaceFinding

if TYPE_CHECKING:
    from kfd.calibration.error_rates import Robustness
    from kfd.config import Decision
    from kfd.scoring.opinions import Opinion
    from kfd.video import VideoAnalysis
    from llm.conversation import Conversation
    from media.provenance.ask import Provenance


@dataclass(frozen=True)
class SourceFile:
    """The examined file.

    name: without its folder. file_format: read from the content ("JPEG"), or "pixels" where the
    caller gave an array. num_bytes and sha256 are of the file; None where there was none.
    pixels_sha256: of the decoded (H, W, 3) uint8 RGB array, or of all frames examined: equal for copies that
        differ in metadata only.
    """

    name: str
    file_format: str
    num_bytes: int | None
    sha256: str | None
    pixels_sha256: str


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights that took part: its name in the checkpoint folder and its SHA-256."""

    name: str
    sha256: str


@dataclass(frozen=True)
class ChatRecord:
    """The language model that answers the questions.

    name: of the language model. tuned: it was fine-tuned to read this detector; otherwise it is told the
    findings as text. host: host and port of the endpoint behind which it runs, "" for this machine.
    face_sent: the picture of the face goes there too.
    """

    name: str
    tuned: bool
    host: str = ""
    face_sent: bool = False


@dataclass(frozen=True)
class ModelRecord:
    """The models behind a finding.

    name: of the checkpoint folder. good_for: one paragraph out of the model card.
    decision: the detector's way from a logit to a score to a verdict. chat: what answers the questions.
    robustness: measured error rates by kind of photograph, None where they were not measured. reader: what a
    detector that is not the KFD does, as a clause with its full stop; "" for the KFD.
    """

    name: str
    good_for: str
    decision: Decision
    files: tuple[WeightsFile, ...]
    chat: ChatRecord
    robustness: Robustness | None = None
    reader: str = ""

    @property
    def thresholds(self) -> tuple[float, float]:
        """(real, fake) scores in [0, 1]: at or below the first the verdict is real, at or above the second
        fake, between them inconclusive."""
        return self.decision.real_below, self.decision.fake_above

    @property
    def fitted_on(self) -> str:
        """The images that thresholds and calibration were fitted on, in words, or "not fitted"."""
        return self.decision.fitted_on


@dataclass(frozen=True)
class Exchange:
    """A question about one face and the answer given; `complete` is False where it was broken off.

    failure: why there is no (whole) answer, where the language model could not be reached; else "".
    remark: what Unmask has to say of an answer that differs from the finding; else "".
    author: the language model of an answer that was taken over from a saved case; None where it is that of
    the analysis.
    """

    face: int
    question: str
    answer: str
    complete: bool
    asked: datetime
    failure: str = ""
    remark: str = ""
    author: ChatRecord | None = None


@dataclass(frozen=True)
class Passage:
    """A part of the narrative of a report on a face.

    by_model: written by the language model, and held against the evidence; else composed out of the facts.
    """

    heading: str
    text: str
    by_model: bool


@dataclass
class Session:
    """The questions and answers about one analysis; by face the maps computed when asked for, and narratives.

    It belongs to that analysis alone, so users cannot meet in it. writing: held while an answer is written.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    grad_cams: dict[int, np.ndarray] = field(default_factory=dict)
    conversations: dict[int, Conversation] = field(default_factory=dict)
    narratives: dict[int, tuple[Passage, ...]] = field(default_factory=dict)
    writing: Lock = field(default_factory=Lock)

    @property
    def answering(self) -> bool:
        """Is an answer being written?"""
        return self.writing.locked()

    @property
    def authors(self) -> tuple[ChatRecord, ...]:
        """The other language models whose answers were taken over, each once."""
        return tuple(dict.fromkeys(said.author for said in self.exchanges if said.author is not None))

    def about(self, face: int) -> list[Exchange]:
        """The exchanges about one face, in order."""
        return [exchange for exchange in self.exchanges if exchange.face == face]


@dataclass(frozen=True, eq=False)
class Analysis:
    """One photograph or video, examined.

    image: (H, W, 3) uint8 RGB, upright; of a video the first frame examined. faces: from left to
        right; of a video one for each person, see kfd.video; empty when none was found.
    verdict: of the whole file, see kfd.calibration.overall. reasons: machine-readable, for an
    inconclusive verdict. warnings: sentences on what weakens the finding. created: UTC.
    explain: a face's crop, (S, S, 3) uint8 RGB -> its Grad-CAM, (S, S) float32 in [0, 1]; see grad_cam_of.
    video: the frames behind the faces of a video; None of a photograph. opinions: of other systems, a tuple
        for each face; empty where none was asked. provenance: what the file tells of its origin, see
        media.provenance.read; None of a video and of what is no file. more: places that may be faces and
        were passed over, see media.faces.FaceSearch.
    """

    image: np.ndarray
    source: SourceFile
    faces: tuple[FaceFinding, ...]
    verdict: Verdict
    reasons: tuple[Reason, ...]
    models: ModelRecord
    warnings: tuple[str, ...] = ()
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    session: Session = field(default_factory=Session, repr=False)
    explain: Callable[[np.ndarray], np.ndarray] | None = field(default=None, repr=False)
    video: VideoAnalysis | None = field(default=None, repr=False)
    opinions: tuple[tuple[Opinion, ...], ...] = field(default=(), repr=False)
    provenance: Provenance | None = field(default=None, repr=False)
    more: int = 0

    @property
    def medium(self) -> str:
        """The kind of file, in a word."""
        return "photograph" if self.video is None else "video"

    @property
    def most_suspicious(self) -> int:
        """The face to look at first, 0 without any: signs before no verdict before none, then by score."""
        return self.ranked[0] if self.faces else 0

    @property
    def ranked(self) -> list[int]:
        """The faces, the most suspicious first; of equals the one further left."""
        return sorted(range(len(self.faces)), key=lambda face: _suspicion(self.faces[face]), reverse=True)

    @property
    def count(self) -> FaceCount:
        """How many faces were found, judged and left out."""
        return count_faces(self.faces, self.more)

    def opinions_of(self, face: int) -> tuple[Opinion, ...]:
        """What other systems say of a face; kfd.scoring.opinions.agreement compares them with the finding."""
        return self.opinions[face] if self.opinions else ()

    def image_of(self, face: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, the picture that the box of a face is about."""
        return self.image if self.video is None else self.video.tracks[face].image

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.shape[1], self.image.shape[0]


def _suspicion(face: FaceFinding) -> tuple[bool, bool, bool, float]:
    """What ranks faces; a score that a flaw makes worthless ranks below one that lies between thresholds."""
    telling = SCORE_REASONS | {Reason.FRAMES_DISAGREE, Reason.SYSTEMS_DISAGREE}
    undecided = bool(face.reasons)
    return (
        face.verdict == Verdict.FAKE,
        undecided and telling.issuperset(face.reasons),
        undecided and not is_left_out(face),
        face.score or 0.0,
    )


def grad_cam_of(analysis: Analysis, face: int) -> np.ndarray | None:
    """The places that the score of a face rests on, (S, S) float32 in [0, 1]; see kfd.gradcam.

    Computed when first asked for, then kept. None where the face was not scored.
    """
    finding, kept = analysis.faces[face], analysis.session.grad_cams
    if finding.detection is None or analysis.explain is None:
        return None
    if face not in kept:
        kept[face] = analysis.explain(finding.crop.pixels)
    return kept[face]


def case_of(analysis: Analysis, face: int) -> Case:
    """The facts about one face in the form the language model is told them.

    Raises ValueError when there is no face at all, IndexError when there is no such face.
    """
    if not analysis.faces:
        raise ValueError(f"no face was found in this {analysis.medium}, so there is nothing to ask about")
    if not 0 <= face < len(analysis.faces):
        raise IndexError(
            f"face {face}: this {analysis.medium} has {len(analysis.faces)} faces, counted from 0"
        )
    finding = analysis.faces[face]
    decided = finding.evidence is not None and finding.verdict != Verdict.INCONCLUSIVE
    strength = finding.evidence.verbal if decided else ""
    heat = tuple(finding.region_scores.items())
    return Case(finding.verdict, finding.score, finding.regions, finding.reasons, heat, strength)
