"""The analyst behind the page, the report command, and your own code.

assistant = Assistant.from_pretrained("checkpoints/embedded")
analysis = assistant.analyse("photo.jpg")
for piece in assistant.ask(analysis, "Is this a deepfake image?"):
    print(piece, end="")
assistant.report(analysis).save("report.pdf")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.analysis import (
    Analysis,
    Exchange,
    ModelRecord,
    Session,
    SourceFile,
    case_of,
    overall_verdict,
)
from app.chat_backends import ChatBackend
from app.model_choice import DEFAULT_CHECKPOINT, ModelChoice
from app.models import load_models
from app.report.sealed import Report
from app.wording import answers
from app.wording import findings as wording
from common.storage import digest_of
from data_sim.dialogue import FIRST_QUESTION
from kfd.detection import FaceFinding
from kfd.detector import Detector, NoFaceError, to_batch
from kfd.quality import jpeg_quality
from kfd.video import examine_video
from llm.conversation import ConversationFull
from llm.serving.endpoint import EndpointError
from media.images import (
    ImageSource,
    format_of,
    frame_count,
    is_video_file,
    pixels_digest,
    read_bytes,
    read_image,
    sha256_of,
)

if TYPE_CHECKING:
    from llm.conversation import Conversation
    from llm.serving.conversation import RemoteConversation

OPENING_QUESTION = FIRST_QUESTION


class Assistant:
    """Detector and language model, loaded once, for any number of photographs, videos and users.

    It holds no case: what is found and said lives in the Analysis.
    """

    def __init__(self, detector: Detector, llm: ChatBackend, models: ModelRecord):
        """llm: see app.chat_backends."""
        self.detector = detector
        self.llm = llm
        self.models = models

    @classmethod
    def from_pretrained(cls, folder: str | Path = DEFAULT_CHECKPOINT, device: str = "cpu") -> Assistant:
        """Load a checkpoint folder that holds `kfd`, `llm` and `assistant`. Raises like `load`."""
        return cls.load(ModelChoice(checkpoint=Path(folder), device=device))

    @classmethod
    def load(cls, choice: ModelChoice) -> Assistant:
        """Load other models than those of one checkpoint folder; see app.model_choice.

        Raises FileNotFoundError naming the parts that are missing, ValueError for models that do not fit one
        another, llm.serving.endpoint.EndpointError for an endpoint that does not name its model.
        """
        return cls(*load_models(choice))

    def analyse(self, source: ImageSource, name: str | None = None) -> Analysis:
        """Examine a photograph: a path, the bytes of a file, a PIL image or an array; or a video: a path.

        name: what the report calls it; the file's own name by default.
        A photograph without a face gives an analysis with no faces and the verdict `inconclusive`.
        Raises ImageError for a source that gives no photograph, VideoError for a video that gives no frame.
        """
        is_path = isinstance(source, str | Path)
        if is_path and is_video_file(source):
            return self._analyse_video(Path(source), name or Path(source).name)
        data = read_bytes(source) if is_path else source
        image = read_image(data)
        origin = source_file(data, image, name or (Path(source).name if is_path else "unnamed"))
        quality = jpeg_quality(data) if isinstance(data, bytes) else None
        try:
            faces = tuple(self.detector.examine(image, quality))
        except NoFaceError:
            faces = ()
        verdict, reasons = overall_verdict(faces)
        warnings = tuple(_warnings(data, image, faces, self.detector.image_size))
        return Analysis(image, origin, faces, verdict, reasons, self.models, warnings, explain=self._grad_cam)

    def _analyse_video(self, path: Path, name: str) -> Analysis:
        footage = examine_video(self.detector, path)
        faces = tuple(person.finding for person in footage.people)
        form = f"video, {footage.codec}"
        origin = SourceFile(name, form, path.stat().st_size, digest_of(path), footage.pixels_sha256)
        pictures = [person.image for person in footage.people] or [footage.still]
        warnings = [
            *wording.video_warnings(footage),
            *_picture_warnings(pictures, faces, self.detector.image_size),
        ]
        return Analysis(
            footage.still,
            origin,
            faces,
            *overall_verdict(faces),
            self.models,
            tuple(warnings),
            explain=self._grad_cam,
            footage=footage,
        )

    def ask(self, analysis: Analysis, question: str, face: int = 0) -> Iterator[str]:
        """Answer a question about one face, piece by piece, and note both in the analysis.

        face: index into `analysis.faces`. The conversation about it goes on where it stood; where the
            language model can hold no more of it, it begins anew, and earlier answers are not remembered.
        An answer that is not read to its end is noted as broken off, one that fails as failed.
        Raises llm.serving.endpoint.EndpointError, while it is read, when the language model's endpoint fails;
        before the first piece ValueError for an empty question, a photograph without a face or too long a
        question, IndexError for a face there is not, and RuntimeError while another answer about the same
        photograph is still being written.
        """
        session = analysis.session
        if session.answering:
            raise RuntimeError("an answer about this photograph is still being written; wait for its end")
        conversation = self._conversation(analysis, face)
        try:
            pieces = conversation.ask(question, checked=True)
        except ConversationFull:
            if not conversation.history:
                raise
            # The evidence is in every conversation; what was said stays in the session.
            del session.conversations[face]
            conversation = self._conversation(analysis, face)
            pieces = conversation.ask(question, checked=True)

        def remark(answer: str) -> str:
            return answers.remark(conversation.case, analysis.faces[face].evidence, question, answer)

        return _noted(session, face, question.strip(), pieces, remark)

    def report(self, analysis: Analysis) -> Report:
        """The sealed report on an analysis and on everything asked about it until now."""
        return Report.of(analysis)

    def _grad_cam(self, crop: np.ndarray) -> np.ndarray:
        return self.detector.grad_cam(to_batch([crop]))[0, 0].numpy()

    def _conversation(self, analysis: Analysis, face: int) -> Conversation | RemoteConversation:
        conversations = analysis.session.conversations
        if face not in conversations:
            case = case_of(analysis, face)
            conversations[face] = self.llm.conversation(case, analysis.faces[face])
        return conversations[face]


def _noted(
    session: Session, face: int, question: str, pieces: Iterator[str], remark: Callable[[str], str]
) -> Iterator[str]:
    """Pass the pieces on and write the exchange down when they end, however they end."""
    session.answering = True
    asked, answer, complete, failure = datetime.now(UTC), "", False, ""
    try:
        for piece in pieces:
            answer += piece
            yield piece
        complete = True
    except EndpointError as error:
        failure = str(error)
        raise
    finally:
        session.answering = False
        answer = answer.strip()
        said = Exchange(face, question, answer, complete, asked, failure, remark(answer))
        session.exchanges.append(said)


def _warnings(
    data: ImageSource, image: np.ndarray, faces: tuple[FaceFinding, ...], side: int
) -> Iterator[str]:
    """Sentences on all that weakens the findings about a photograph, see `_picture_warnings`."""
    frames = frame_count(data) if isinstance(data, bytes) else 1
    if frames > 1:
        yield wording.frames_warning(frames)
    yield from _picture_warnings([image], faces, side)


def _picture_warnings(
    pictures: Sequence[np.ndarray], faces: tuple[FaceFinding, ...], side: int
) -> Iterator[str]:
    """Sentences on all that weakens the findings about faces.

    side: of the crop that the detector reads, in pixels.
    """
    if all((picture == picture[:, :, :1]).all() for picture in pictures):
        yield wording.grey_warning()
    small = [face for face in faces if face.detection is not None and _side(face) < side]
    if small:
        yield wording.enlarged_warning(small, side)


def _side(face: FaceFinding) -> float:
    """Side of the square around a face, in pixels of the photograph."""
    return face.crop.box[2] - face.crop.box[0]


def source_file(data: ImageSource, image: np.ndarray, name: str) -> SourceFile:
    """The identity of the examined file, or only of its pixels where there was no file.

    data: the file's bytes, or the picture itself. image: (H, W, 3) uint8 RGB, as examined.
    """
    pixels = pixels_digest(image)
    if isinstance(data, bytes):
        return SourceFile(name, format_of(data), len(data), sha256_of(data), pixels)
    return SourceFile(name, "pixels", None, None, pixels)
