"""The narrative of a report: written by the language model and held against the evidence, or composed."""

from __future__ import annotations

import re
from io import BytesIO

from pypdf import PdfReader

from app.assistant import Assistant
from app.facts import facts_of
from app.models.narrative import PASSAGES, composed_narrative, written_narrative
from app.page.handlers import EXAMPLE
from llm.checks.claims import contradictions
from llm.questions.topics import plain_topics
from tests.llm.test_endpoint import talk
from tests.llm.test_values import FACTS
from tests.tiny.openai_server import serving


def test_a_report_has_a_narrative_out_of_the_findings_and_says_so(folder):
    assistant = Assistant.from_pretrained(folder)
    analysis = assistant.analyse(EXAMPLE)
    report = assistant.report(analysis)
    (face,) = report.files[0]["faces"]
    told = face["narrative"]
    assert [passage["heading"] for passage in told["passages"]] == [heading for _, heading, _ in PASSAGES]
    assert not any(passage["by_model"] for passage in told["passages"]) and "fixed rules" in told["words"]
    assert report.data["models"]["language_model"]["words"] == "No question was asked."
    page, pdf = report.to_html(), PdfReader(BytesIO(report.to_pdf()))
    printed = re.sub(r"\s+", " ", " ".join(sheet.extract_text() for sheet in pdf.pages))
    for words in (told["words"], told["passages"][0]["text"]):
        assert words in page and words in printed
    assert "Narrative on face 1" in page


def test_the_language_model_writes_it_and_each_sentence_is_held_against_the_evidence(folder):
    assistant = Assistant.from_pretrained(folder)
    analysis = assistant.analyse(EXAMPLE)
    assistant.narrate(analysis)
    passages = analysis.session.narratives[0]
    facts = facts_of(analysis, 0)
    assert len(passages) == len(PASSAGES)
    for passage in passages:
        assert passage.text and not contradictions(passage.text, facts, check_regions=False)
    data = assistant.report(analysis).data
    assert data["models"]["language_model"]["words"] != "No question was asked.", (
        "the model was told the face"
    )
    assert analysis.session.exchanges == [] and analysis.session.conversations == {}


def test_it_is_told_how_far_it_is_and_can_be_broken_off(folder):
    assistant = Assistant.from_pretrained(folder)
    analysis = assistant.analyse(EXAMPLE)
    writing = assistant.narrating(analysis, most=1)
    assert [next(writing), next(writing)] == [(1, 4), (2, 4)]
    writing.close()
    assert analysis.session.narratives == {}, "half a narrative is none: the report composes it"
    assert list(assistant.narrating(analysis, most=1)) == [(number, 4) for number in range(1, 5)]
    assert len(analysis.session.narratives[0]) == 4 and list(assistant.narrating(analysis, most=1)) == []


def test_what_the_model_says_is_taken_and_what_it_gets_wrong_is_composed():
    said = "Signs of manipulation were found in the face, and the map is highest over the mouth."

    def reply(body):
        right = "What are the findings?" in body["messages"][-1]["content"]
        return [said if right else "It is certainly genuine."]

    with serving(reply) as server:
        first, *others = written_narrative(talk(server, FACTS), FACTS)
    assert (first.text, first.by_model) == (said, True)
    assert tuple(others) == composed_narrative(FACTS)[1:]
    assert not any(passage.by_model for passage in others)


def test_a_passage_speaks_of_what_stands_above_it():
    """Bug: under "Limits" stood that the evidence is moderate, and nothing else."""
    with serving(lambda body: ["The evidence for manipulation is moderate."]) as server:
        passages = tuple(written_narrative(talk(server, FACTS), FACTS))
    assert not passages[2].by_model and not passages[3].by_model
    assert "pixels" in passages[2].text and "original" in passages[3].text


def test_without_a_model_that_answers_all_of_it_is_composed():
    with serving(lambda body: []) as server:
        assert tuple(written_narrative(talk(server, FACTS), FACTS)) == composed_narrative(FACTS)


def test_what_is_asked_of_the_model_is_plainly_what_the_dialogues_teach():
    """Where it was not, an answer about something else would have stood under the heading."""
    for topic, _, question in PASSAGES:
        assert topic in plain_topics(question), question
