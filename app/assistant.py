"""The analyst behind the page, the report command, and your own code.

assistant = Assistant.from_pretrained("checkpoints/embedded")
analysis = assistant.analyse("photo.jpg")
for piece in assistant.ask(analysis, "Is this a deepfake image?"):
    print(piece, end="")
assistant.report(analysis).save("report.pdf")
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
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
    grad_cam_of,
)
from app.cases.case import Case
from app.court import CourtForm
from app.facts import facts_of
from app.intake.batches import SharedDetector
from app.intake.examples import EXAMPLE, draw_examples
from app.models.backends import ChatBackend
from app.models.choice import DEFAULT_CHECKPOINT, ModelChoice
from app.models.held import HeldConversations
from app.models.loading import load_models
from app.models.narrative import PASSAGES, written_narrative
from app.question_language import foreign_answer, foreign_language
from app.report.sealed import Report
from app.signing import SigningKey
from app.wording import answers
from app.wording.translated import ENGLISH, Stated
from data_sim.dialogue import FIRST_QUESTION
from kfd.detector import Detector, to_batch
from kfd.examine import examine_file
from kfd.scoring.opinions import SecondReader, heeded, second_opinions
from kfd.video import Watch
from llm.conversation import ConversationFull, FinishedTurn
from llm.questions.topics import plain_topics
from llm.serving.endpoint import EndpointError
from media.files import MediaFile, open_file
from media.images import ImageSource, OpenSource
from media.provenance.ask import read_provenance

if TYPE_CHECKING:
    from llm.conversation import Conversation
    from llm.serving.conversation import RemoteConversation

OPENING_QUESTION = FIRST_QUESTION
MAX_QUESTION = 500  # letters


class Assistant:
    """Detector and language model, loaded once, for any number of photographs, videos and users.

    It holds no case: what is found and said lives in the Analysis.
    """

    def __init__(
        self,
        detector: Detector,
        llm: ChatBackend,
        models: ModelRecord,
        readers: tuple[SecondReader, ...] = (),
        key: SigningKey | None = None,
    ):
        """llm: see app.models.backends. readers: whose opinions stand beside every finding. key: signs the
        reports."""
        self.detector = SharedDetector(detector)
        self.llm = llm
        self.models = models
        self.held = HeldConversations()
        self.readers = readers
        self.key = key

    @classmethod
    def from_pretrained(cls, folder: str | Path = DEFAULT_CHECKPOINT, device: str = "cpu") -> Assistant:
        """Load a checkpoint folder that holds `kfd`, `llm` and `assistant`. Raises like `load`."""
        return cls.load(ModelChoice(checkpoint=Path(folder), device=device))

    @classmethod
    def load(cls, choice: ModelChoice, key: SigningKey | None = None) -> Assistant:
        """Load other models than those of one checkpoint folder; see app.models.choice. key: signs reports.

        Raises FileNotFoundError naming the parts that are missing, ValueError for models that do not fit one
        another, llm.serving.endpoint.EndpointError for an endpoint that does not name its model.
        """
        return cls(*load_models(choice), key)

    def warm_up(self) -> None:
        """Load what is loaded when first needed: each of a crowd of first visitors would load it again."""
        draw_examples()
        grad_cam_of(self.analyse(EXAMPLE), 0)
        foreign_language(OPENING_QUESTION)
        plain_topics(OPENING_QUESTION)

    def analyse(self, source: ImageSource, name: str | None = None, watch: Watch | None = None) -> Analysis:
        """Examine a photograph, an animation or a video: a path, the bytes of a file, a PIL image or an
        array.

        name: what the report calls it; the file's own name by default. watch: see kfd.examine.examine_file.
        A photograph without a face gives an analysis with no faces and the verdict `inconclusive`.
        Raises media.errors.MediaError for a source that gives no picture.
        """
        if isinstance(source, str | Path):  # opened once: all that is said is about the same bytes
            with open_file(source) as file:
                return self._analyse(file, name or file.name, watch)
        return self._analyse(source, name, watch)

    def _analyse(self, source: OpenSource, name: str | None, watch: Watch | None) -> Analysis:
        found = examine_file(self.detector, source, name, watch)
        opinions = second_opinions(self.readers, source, found) if self.readers else ()
        found = heeded(found, opinions) if opinions else found
        is_file = isinstance(source, bytes | MediaFile) and found.video is None
        return Analysis(
            found.image,
            SourceFile(found.name, found.file_format, found.num_bytes, found.sha256, found.pixels_sha256),
            found.faces,
            *found.whole,
            self.models,
            found.warnings,
            explain=self._explain,
            video=found.video,
            opinions=opinions,
            provenance=read_provenance(source) if is_file else None,
            more=found.more,
        )

    def ask(self, analysis: Analysis, question: str, face: int = 0) -> Iterator[str]:
        """Answer a question about one face, piece by piece, and note both in the analysis.

        face: index into `analysis.faces`. The conversation about it goes on where it stood; where the
            language model can hold no more of it, it begins anew with the last that was said.
        A question in another language is answered by fixed words, see app.question_language.
        An answer that is not read to its end is noted as broken off, one that fails as failed.
        Raises llm.serving.endpoint.EndpointError, while it is read, when the language model's endpoint fails;
        before the first piece ValueError for an empty question, a photograph without a face or too long a
        question, IndexError for a face there is not, and RuntimeError while another answer about the same
        photograph is still being written.
        """
        session = analysis.session
        language = foreign_language(question) if 0 <= face < len(analysis.faces) else None
        if language:  # the language model knows English alone, and would write broken sentences
            said = foreign_answer(language, Stated.of(analysis.faces[face]))
            return _noted(session, face, question.strip(), iter([said]), lambda answer: "")
        _claim(session)  # to begin a question ends the answer that its conversation is writing
        try:
            conversation, pieces = self._asked(analysis, question, face)
        finally:
            session.writing.release()

        def remark(answer: str) -> str:
            return answers.remark(conversation.case, analysis.faces[face].evidence, question, answer)

        return _noted(session, face, question.strip(), pieces, remark)

    def _asked(
        self, analysis: Analysis, question: str, face: int
    ) -> tuple[Conversation | RemoteConversation, Iterator[str]]:
        """The conversation about a face, and the pieces of its answer; anew where it can hold no more."""
        conversation = self._conversation(analysis, face)
        try:
            return conversation, conversation.ask(question, checked=True)
        except ConversationFull:
            if not conversation.history:
                raise
            del analysis.session.conversations[face]
            conversation = self._conversation(analysis, face)
            return conversation, conversation.ask(question, checked=True)

    def narrate(self, analysis: Analysis, most: int = 4) -> None:
        """Have the language model write the narrative of the report; see `narrating`."""
        for _ in self.narrating(analysis, most):
            pass

    def narrating(self, analysis: Analysis, most: int = 4) -> Iterator[tuple[int, int]]:
        """Have the language model write the narrative of the report, for the faces that have none.

        most: faces, the most suspicious first; of others the report composes it out of the facts. Takes as
        long as four answers a face, and sends to an endpoint what a question would send.
        Yields before each passage its number and how many there are for the face. Where that is not read to
        its end, the face has no narrative of the model's, as if it had not been begun.
        """
        narratives = analysis.session.narratives
        for face in analysis.ranked[:most]:
            if face in narratives:
                continue
            told = (facts_of if self.llm.told_facts else case_of)(analysis, face)
            conversation = self.llm.conversation(told, analysis.faces[face])
            writing, written = written_narrative(conversation, facts_of(analysis, face)), []
            for number in range(1, len(PASSAGES) + 1):
                yield number, len(PASSAGES)
                written += islice(writing, 1)
            narratives[face] = tuple(written)

    def report(
        self,
        examined: Case | Analysis,
        form: CourtForm | None = None,
        language: str = ENGLISH,
        shown: Mapping[int, Collection[int] | None] | None = None,
    ) -> Report:
        """The sealed report on an analysis, or on all files of a case, and on everything asked until now.

        form: the examiner's own entries, which stand on its first page. language: of a summary beside the
        English text, see app.wording.translated; raises ValueError for one that there is not.
        shown: of each file the faces that are not blurred in the pictures, see app.report.data.report_data.
        """
        return Report.of(examined, self.key, form, language, shown)

    @property
    def _explain(self) -> Callable[[np.ndarray], np.ndarray] | None:
        return self._grad_cam if self.detector.has_grad_cam else None

    def _grad_cam(self, crop: np.ndarray) -> np.ndarray:
        return self.detector.grad_cam(to_batch([crop]))[0, 0].numpy()

    def _conversation(self, analysis: Analysis, face: int) -> Conversation | RemoteConversation:
        session = analysis.session

        def begin() -> Conversation | RemoteConversation:
            case = (facts_of if self.llm.told_facts else case_of)(analysis, face)
            conversation = self.llm.conversation(case, analysis.faces[face])
            said = (one for one in session.about(face) if one.answer)
            conversation.recall([FinishedTurn(one.question, one.answer) for one in said])
            return conversation

        return self.held.of(session, face, begin)


def _noted(
    session: Session, face: int, question: str, pieces: Iterator[str], remark: Callable[[str], str]
) -> Iterator[str]:
    """Pass the pieces on and write the exchange down when they end, however they end."""
    _claim(session)
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
        session.writing.release()
        answer = answer.strip()
        said = Exchange(face, question, answer, complete, asked, failure, remark(answer))
        session.exchanges.append(said)


def _claim(session: Session) -> None:
    if not session.writing.acquire(blocking=False):
        raise RuntimeError("an answer about this photograph is still being written; wait for its end")
