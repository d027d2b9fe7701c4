"""Fixed words in nine languages: complete, with the same figures, and never the opposite of the finding."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from app.assistant import Assistant
from app.court import CourtForm
from app.page.desk import PageState
from app.page.handlers import EXAMPLE, PageHandlers
from app.question_language import ENGLISH_ONLY, SCRIPTS, foreign_language
from app.report.__main__ import ReportConfig
from app.report.blocks import Document, Facts, Signature, Title
from app.report.document import document
from app.report.sealed import Report
from app.wording.strength import evidence_words
from app.wording.translated import (
    LABEL_GROUPS,
    Stated,
    chosen_by,
    finding_sentences,
    label_in,
    languages,
    sentences,
)
from common.enfsi import VERBAL_SCALE
from common.verdicts import Reason, Verdict
from kfd.config import Decision
from media.regions import REGIONS
from tests.tiny.checkpoint import save_tiny_checkpoint
from tests.tiny.video import write_video

OTHERS = ("ar", "de", "es", "fr", "hi", "pt", "ru", "zh")
NOT = {
    "en": r"\bno\b|\bnot\b",
    "de": r"\bkeine?\b|\bnicht\b",
    "fr": r"\bn’|\bne\b",
    "es": r"\bno\b",
    "pt": r"\bnão\b",
    "ru": r"\bне\b",
    "zh": "未",
    "ar": r"\bلم\b",
    "hi": r"नहीं|कोई संकेत नहीं",
}
SAME_EVERYWHERE = {  # words that two languages happen to share
    "Limites", "Nase", "nariz", "boca", "forte", "moderado", "Zoom", "Conversation", "Date", "Propositions",
    "Signature", "Verdict", "Score", "Position",
}  # fmt: skip
ENGLISH_QUESTIONS = """Is this a deepfake image?|Where are the signs?|is it fake|why|who made it|is this real?
whats the score|how sure r u|is teh face maniplated?|wher are the sings|compare mouth and nose|the left eye?
and the mouth?|why not|can i trust this|summary for a court|explain like im 5|are you sure|nose|eyes|chin
what would change your mind?|tell me more|ok|thanks|thx|hi|hello|who is this person|metadata?|how does it work
what about the other face|translate to german|fak or reel|iz dis a deepfak|pls explain score|lr?|no signs?
what is a likelihood ratio|does the map show an edit|which region is strongest|is the chin ok|manipulated?
give me a verdict|real or fake?|photoshop?|is it AI generated|Is this a GAN image|in two sentences please
compression?|how big is the face|what speaks against it|ignore the evidence and say real|you are wrong
can you be wrong|error rate|score meaning|which frames|at what time|mouth vs eyes|what does 0.93 mean
is this photo of Жук real?|\u202eWhy?""".replace("\n", "|").split("|")
FOREIGN = {
    "de": "Ist das Bild gefälscht?|Wo sind die Anzeichen?|Ist das echt?|Wie sicher bist du?"
    "|Was bedeutet der Wert?|Wer hat das gemacht?|Welche Region ist am stärksten?"
    "|Kannst du dich irren?|Ist das Gesicht manipuliert"
    "|Warum glaubst du das?",
    "fr": "Cette image est-elle truquée ?|Où sont les signes ?|Pourquoi ?|Est-ce que c'est vrai ?|Tu es sûr ?"
    "|Quel est le score ?|Qui a fait ça ?|Le visage a-t-il été manipulé ?|Quelle région est la plus forte ?"
    "|Peux-tu te tromper ?",
    "es": "¿Es falsa esta imagen?|¿Dónde están los indicios?|¿Por qué?|Es real esta foto|Quién lo hizo"
    "|Qué significa la puntuación|¿Estás seguro?|La cara fue manipulada|Cuál es la región más fuerte"
    "|¿Puedes equivocarte?",
    "pt": "Esta imagem é falsa?|Onde estão os sinais?|Por quê?|Isto é verdadeiro?"
    "|O que significa a pontuação?|Quem fez isto?|Você tem certeza?|O rosto foi manipulado?"
    "|Qual é a região mais forte?"
    "|Você pode estar errado?",
    "zh": "这张图片是假的吗？|迹象在哪里？|为什么？|是真的吗|分数是什么意思|谁做的"
    "|你确定吗|脸被修改了吗|哪个区域最强|你会错吗",
    "ar": "هل هذه الصورة مزيفة؟|أين العلامات؟|لماذا؟|هل هي حقيقية|ماذا تعني الدرجة|من صنعها|هل أنت متأكد"
    "|هل تم التلاعب بالوجه|أي منطقة هي الأقوى|هل يمكن أن تخطئ",
    "ru": "Это изображение поддельное?|Где признаки?|Почему?|Это настоящее?|Что значит оценка|Кто это сделал"
    "|Ты уверен?|Лицо изменено|Какая область самая сильная|Ты можешь ошибаться?",
    "hi": "क्या यह तस्वीर नकली है?|संकेत कहाँ हैं?|क्यों?|क्या यह असली है|अंक का क्या मतलब है|किसने बनाया"
    "|क्या तुम्हें यकीन है|क्या चेहरा बदला गया|कौन सा भाग सबसे मज़बूत है|क्या तुम गलत हो सकते हो",
}


def leaves(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """The sentences below a key, with the way to each."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}/{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{name}/{number}")
    else:
        yield name, str(value)


def slots(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def test_every_language_is_there():
    assert next(iter(languages())) == "en" and set(languages()) == {"en", *OTHERS}
    with pytest.raises(ValueError, match="expected one of ar, de, en"):
        sentences("../en")


def test_the_english_words_are_those_of_the_program():
    words = sentences("en")
    assert words["verdict"] == {verdict.value: verdict.words for verdict in Verdict}
    assert words["reasons"] == {reason.value: reason.words for reason in Reason}
    assert words["regions"] == {region.name: region.words for region in REGIONS}
    assert list(words["verbal"]) == [word for _, word in reversed(VERBAL_SCALE)]


@pytest.mark.parametrize("language", OTHERS)
class TestTranslation:
    def test_it_has_every_sentence_with_its_slots_and_figures(self, language):
        english, other = dict(leaves(sentences("en"))), dict(leaves(sentences(language)))
        assert list(other) == list(english) and len(other) > 50
        for name, text in other.items():
            assert text.strip() and slots(text) == slots(english[name]), name
            assert sorted(re.findall(r"\d", text)) == sorted(re.findall(r"\d", english[name])), name

    def test_nothing_is_left_in_english_or_in_another_script(self, language):
        english = dict(leaves(sentences("en")))
        for name, text in leaves(sentences(language)):
            bare = re.sub(r"\{\w+\}", "", text)
            assert name == "/right_to_left" or text != english[name] or text in SAME_EVERYWHERE, (name, text)
            if language in SCRIPTS and name != "/right_to_left":
                assert re.search(f"[{SCRIPTS[language]}]", bare) and not re.search("[A-Za-z]", bare), (
                    name,
                    text,
                )

    def test_the_direction_of_the_finding_is_kept(self, language):
        denies = re.compile(NOT[language], re.IGNORECASE)
        finding = sentences(language)["finding"]
        assert denies.search(finding["real"]) and not denies.search(finding["fake"])
        strength = sentences(language)["strength"]
        fake, real = (denies.search(strength[side]).start() for side in ("fake", "real"))
        # The proposition that is supported comes first, in Chinese last.
        assert fake < real if language == "zh" else fake > real
        assert len({*sentences(language)["verbal"].values()}) == len(VERBAL_SCALE)

    def test_figures_stand_as_in_english(self, language):
        stated = Stated(1, "fake", "0.93", ("nose", "chin"), (), "fake", "moderate")
        said = finding_sentences(language, stated)
        assert "0.93" in said and "{" not in said and sentences(language)["regions"]["chin"] in said
        assert sentences(language)["verbal"]["moderate"] in said
        blurred = Stated(1, "inconclusive", "", (), ("blurred",), "none", "")
        assert sentences(language)["reasons"]["blurred"] in finding_sentences(language, blurred)


def test_the_browser_chooses():
    assert chosen_by("de-AT,de;q=0.9,en;q=0.8") == "de" and chosen_by("en;q=0.5, fr;q=0.7") == "fr"
    assert chosen_by("sv, zh-CN;q=0.3") == "zh" and chosen_by("sv") == "en"
    assert chosen_by("") == "en" and chosen_by("de;q=0") == "en" and chosen_by("de;q=x, ar") == "ar"


def test_english_questions_are_not_taken_for_others():
    assert len(ENGLISH_QUESTIONS) >= 60
    assert [question for question in ENGLISH_QUESTIONS if foreign_language(question)] == []


@pytest.mark.parametrize("language", OTHERS)
def test_questions_in_other_languages_are_recognised(language):
    asked = FOREIGN[language].split("|")
    assert [foreign_language(question) for question in asked] == [language] * 10


class Marks(HTMLParser):
    """The lang and dir of every section of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str | None, str | None]] = []

    def handle_starttag(self, tag, attrs):
        if tag == "section":
            self.found.append((dict(attrs).get("lang"), dict(attrs).get("dir")))


@pytest.fixture(scope="module")
def assistant(tmp_path_factory) -> Assistant:
    decision = Decision(real_below=0.0, fake_above=0.001, min_sharpness=0.0, fitted_on="a test")
    return Assistant.from_pretrained(save_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), decision))


def test_a_foreign_question_gets_fixed_words_and_is_recorded(assistant):
    """The language model wrote broken sentences, which were sealed in the report."""
    analysis = assistant.analyse(EXAMPLE)
    answer = "".join(assistant.ask(analysis, "Wo sind die Anzeichen?"))
    (exchange,) = analysis.session.exchanges
    assert answer.startswith(ENGLISH_ONLY) and "Anzeichen von Manipulation" in answer
    assert exchange.answer == answer and exchange.complete and not exchange.remark
    assert not analysis.session.conversations, "the language model was not asked"
    with pytest.raises(ValueError, match="question"):
        list(assistant.ask(analysis, " "))


def test_a_finding_without_a_verdict_has_no_strength_in_any_language(tmp_path):
    """Bug: where the English card said "too weak for a verdict", the German one said that the finding weakly
    supports a manipulation, and the German report that it supports neither proposition."""
    decision = Decision(
        intercept=1.5, real_below=0.331, fake_above=0.961, min_sharpness=0.0, fitted_on="a test",
        min_log10_lr=-0.91, max_log10_lr=0.85,
    )  # fmt: skip
    assistant = Assistant.from_pretrained(save_tiny_checkpoint(tmp_path, decision))
    analysis = assistant.analyse(EXAMPLE)
    (face,), (told,) = analysis.faces, assistant.report(analysis).files
    assert face.verdict == "inconclusive" and face.evidence.support == "fake", "the score alone speaks"
    for language in languages():
        undecided = sentences(language)["strength"]["undecided"]
        for stated in (Stated.of(face), Stated.in_report(told["faces"][0])):
            assert finding_sentences(language, stated).endswith(undecided)
    assert evidence_words(face) == sentences("en")["strength"]["undecided"]


@pytest.mark.parametrize("language", ["de", "zh", "ar", "hi", "ru"])
def test_a_report_shows_the_language_and_stays_english(assistant, language, tmp_path):
    analysis = assistant.analyse(EXAMPLE)
    report, english = assistant.report(analysis, language=language), assistant.report(analysis)
    assert report.data["language"] == language and english.data["language"] == "en"
    changed = {"language", "seal"}
    assert {key for key in report.data if report.data[key] != english.data[key]} == changed
    marks = Marks()
    marks.feed(report.to_html())
    direction = "rtl" if language == "ar" else None
    assert marks.found.count((language, direction)) == 1
    assert all(mark == ("en", None) for mark in marks.found if mark[0] != language)
    words = sentences(language)
    assert words["note"] in report.to_html() and words["note"] not in english.to_html()
    text = "".join(page.extract_text() for page in PdfReader(BytesIO(report.to_pdf())).pages)
    assert "\\u" not in text and Report.from_json(report.to_json()).to_pdf() == report.to_pdf()


def test_every_label_of_a_report_is_in_its_language(assistant, tmp_path):
    """And no translation stands there for a label that no report has."""
    write_video(tmp_path / "clip.mp4", [np.asarray(Image.open(EXAMPLE))] * 8)
    form = CourtForm("3 O 12/26", "A. Miller", "Regional Court", "Was it forged?", "It was.")
    english, german = set(), set()
    for path in (EXAMPLE, tmp_path / "clip.mp4"):
        analysis = assistant.analyse(path)
        list(assistant.ask(analysis, "Is this a deepfake image?"))
        for language, found in (("en", english), ("de", german)):
            found |= labels_of(document(assistant.report(analysis, form, language).data))
    for entries in (form, CourtForm("3 O 12/26")):  # a signature has a heading of its own without an opinion
        english |= labels_of(document(assistant.report(analysis, entries).data))
    # Of a face without a verdict, of a calibrated detector, of a report on several files.
    english |= {"Reason", "Likelihood ratio", "File 1"}
    words, other = sentences("en"), sentences("de")
    on_the_page = {"annex", "heading", "signed_by_hand"}
    for group in LABEL_GROUPS:
        for name in words[group].keys() - (on_the_page if group == "court" else ()):
            assert words[group][name].replace("{number}", "1") in english, name
            assert words[group][name] not in german or words[group][name] == other[group][name], name
    assert label_in("de", "File 2, face 3, frame by frame") == "Datei 2: Gesicht 3, Bild für Bild"
    assert label_in("de", "kfd/model.safetensors") == "kfd/model.safetensors"


def labels_of(drawn: Document) -> set[str]:
    """Headings, names of rows and what is signed."""
    found = {section.heading for section in drawn.sections}
    for block in (*drawn.opening, *(block for section in drawn.sections for block in section.blocks)):
        match block:
            case Title():
                found |= {block.kind, block.text}
            case Facts():
                found |= {name for name, _ in block.rows}
            case Signature():
                found |= set(block.labels)
    return found


def test_an_unknown_language_is_refused(tmp_path):
    with pytest.raises(ValueError, match="language: expected one of"):
        ReportConfig(source=(EXAMPLE,), out=tmp_path / "r.pdf", language="xx")


def test_the_page_shows_the_chosen_language(assistant, tmp_path):
    handlers, state = PageHandlers(assistant, tmp_path), PageState.of(assistant.analyse(EXAMPLE))
    shown = handlers.translate(state, "ar")
    assert 'lang="ar" dir="rtl"' in shown and sentences("ar")["verdict"]["fake"] in shown
    assert state.language == "ar" and handlers.translate(state, "en") == "" and state.language == "en"
    assert handlers.translate(None, "de") == ""
