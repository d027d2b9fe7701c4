"""Second opinions stand beside a finding, at their own thresholds, and change nothing in it."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.assistant import Assistant
from app.models.choice import ModelChoice
from app.page.panels import verdict_panel
from common.storage import save_config
from common.verdicts import Reason, Verdict
from kfd import score
from kfd.checkpoint import DECISION_FILE
from kfd.config import Decision
from kfd.detector import Detector
from kfd.examine import examine_file
from kfd.scoring.opinions import (
    Opinion,
    SecondReader,
    agreement,
    digests,
    heeded,
    load_readers,
    second_opinions,
)
from kfd.scoring.withheld import WITHHELD_FILE, Withheld, place_of
from media.images import read_image
from tests.tiny.checkpoint import save_opposed_opinions
from tests.tiny.openai_server import serving
from tests.tiny.video import write_video

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"


@pytest.fixture(scope="module")
def others(kfd_folder, tmp_path_factory) -> list[str]:
    return save_opposed_opinions(tmp_path_factory.mktemp("others"), kfd_folder)


def test_each_decides_at_its_own_thresholds_and_the_finding_stays(others, kfd_folder):
    detector = Detector.from_pretrained(kfd_folder)
    readers = [SecondReader.load(choice) for choice in others]
    found = examine_file(detector, EXAMPLE)
    before = [(face.verdict, face.score, face.reasons) for face in found.faces]
    ((lenient, strict),) = second_opinions(readers, EXAMPLE, found)
    assert (lenient.verdict, strict.verdict) == (Verdict.REAL, Verdict.FAKE)
    assert lenient.finding.score == pytest.approx(strict.finding.score)
    assert lenient.as_json()["system"] == "clip-probe" and lenient.as_json()["name"] == "lenient"
    assert [(face.verdict, face.score, face.reasons) for face in found.faces] == before


def test_the_people_of_a_video_are_matched_by_where_they_are(others, kfd_folder, tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, [read_image(EXAMPLE)] * 4)
    found = examine_file(Detector.from_pretrained(kfd_folder), path)
    (opinions,) = second_opinions([SecondReader.load(others[0])], path, found)
    assert opinions[0].finding is not None


def test_the_sentence_says_who_agrees(others, kfd_folder):
    lenient, strict = (SecondReader.load(choice) for choice in others)
    (finding,) = examine_file(Detector.from_pretrained(kfd_folder), EXAMPLE).faces
    real, fake, none = (
        replace(finding, verdict=v) for v in (Verdict.REAL, Verdict.FAKE, Verdict.INCONCLUSIVE)
    )
    assert agreement(fake, []) == ""
    assert agreement(fake, [Opinion(strict, fake)]) == "strict agrees with the finding."
    both = agreement(fake, [Opinion(lenient, real), Opinion(strict, fake)])
    assert both.startswith("strict agrees with the finding. lenient says the opposite")
    assert "The finding does not change" in both
    assert agreement(fake, [Opinion(lenient, None)]) == "lenient gives no verdict."
    assert "stays without one" in agreement(none, [Opinion(strict, fake)])
    assert agreement(none, [Opinion(strict, none)]) == "No system gives a verdict."


@pytest.fixture(scope="module")
def sure(kfd_folder, tmp_path_factory) -> Path:
    """The tiny detector, with thresholds by which every face is real."""
    folder = tmp_path_factory.mktemp("sure") / "kfd"
    shutil.copytree(kfd_folder, folder)
    decision = Decision(real_below=0.98, fake_above=0.99, fitted_on="a test", min_sharpness=0.0)
    save_config(decision, folder / DECISION_FILE)
    return folder


@pytest.fixture(scope="module")
def withholding(sure, others, tmp_path_factory) -> str:
    """The "strict" reader, beside whose opposite verdict the sure detector gives none."""
    folder, _, weights = others[1].partition("=")
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("withholding") / "strict")
    pair = Detector.from_pretrained(sure), Detector.from_pretrained(copy, encoder=weights)
    places = (place_of(Verdict.REAL, "says the opposite"),)
    found = Withheld(places, "a test", *digests(pair[0]), *digests(pair[1]))
    save_config(found, copy / WITHHELD_FILE)
    return f"{copy}={weights}"


def test_a_verdict_is_withheld_beside_an_opposite_one_and_beside_no_other(
    sure, others, withholding, tmp_path
):
    detector = Detector.from_pretrained(sure)
    found = examine_file(detector, EXAMPLE)
    (before,) = found.faces
    assert before.verdict == Verdict.REAL
    readers = load_readers([others[0], withholding], detector)
    opinions = second_opinions(readers, EXAMPLE, found)
    (after,) = heeded(found, opinions).faces
    assert (after.verdict, after.reasons) == (Verdict.INCONCLUSIVE, (Reason.SYSTEMS_DISAGREE,))
    assert after.evidence is None and (after.score, after.box) == (before.score, before.box)
    assert "not worth giving beside this" in agreement(after, opinions[0])
    lenient = second_opinions(load_readers(others, detector), EXAMPLE, found)  # nobody fitted these
    assert heeded(found, lenient).faces == found.faces
    path = tmp_path / "clip.mp4"
    write_video(path, [read_image(EXAMPLE)] * 4)
    clip = examine_file(detector, path)
    clip = heeded(clip, second_opinions(readers, path, clip))
    assert clip.whole[0] == clip.video.tracks[0].finding.verdict == Verdict.INCONCLUSIVE


def test_command_and_app_heed_it_with_these_two_systems_alone(
    sure, kfd_folder, withholding, tmp_path, monkeypatch
):
    out = tmp_path / "scores.jsonl"

    def run(checkpoint: Path, out: Path) -> None:
        words = ["kfd.score", EXAMPLE, "--checkpoint", checkpoint, "--out", out, "--opinion", withholding]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        score.main()

    run(sure, out)
    (line,) = [json.loads(text) for text in out.read_text().splitlines()]
    assert (line["verdict"], line["reasons"]) == ("inconclusive", ["systems_disagree"])
    assert line["whole"]["verdict"] == "inconclusive" and line["withheld"]
    with pytest.raises(SystemExit, match="fitted with other weights or thresholds"):
        run(kfd_folder, tmp_path / "others.jsonl")
    with serving(lambda body: ["The detector examined this face."]) as server:
        choice = ModelChoice(kfd=sure, llm_url=server.url, opinion=(withholding,))
        assistant = Assistant.load(choice)
        analysis = assistant.analyse(EXAMPLE)
    assert analysis.faces[0].reasons == (Reason.SYSTEMS_DISAGREE,)
    assert Reason.SYSTEMS_DISAGREE.words in verdict_panel(analysis, 0)
    report = assistant.report(analysis)
    assert report.files[0]["faces"][0]["verdict"] == "inconclusive"
    assert any("one may be withheld beside what strict says" in text for text in report.data["method"])


def test_the_command_writes_them_and_mixes_no_others(others, kfd_folder, tmp_path, monkeypatch):
    out = tmp_path / "scores.jsonl"
    words = [EXAMPLE, "--checkpoint", kfd_folder, "--out", out]
    with_them = [*words, "--opinion", others[0], "--opinion", others[1]]

    def run(words) -> None:
        monkeypatch.setattr(sys, "argv", ["kfd.score", *map(str, words)])
        score.main()

    run(with_them)
    (line,) = [json.loads(text) for text in out.read_text().splitlines()]
    assert [(o["name"], o["verdict"]) for o in line["opinions"]] == [("lenient", "real"), ("strict", "fake")]
    assert line["agreement"] and line["checkpoint"] != line["opinions"][0]["checkpoint"]
    run(with_them)
    with pytest.raises(SystemExit, match="other second opinions"):
        run(words)


def test_page_and_report_show_opinions_that_disagree(others, kfd_folder, tmp_path):
    with serving(lambda body: ["The detector examined this face."]) as server:
        choice = ModelChoice(kfd=kfd_folder, llm_url=server.url, opinion=tuple(others))
        assistant = Assistant.load(choice)
        analysis = assistant.analyse(EXAMPLE)
    page = verdict_panel(analysis, 0)
    assert "Second opinions, which are no part of the finding" in page
    report = assistant.report(analysis)
    face = report.files[0]["faces"][0]
    assert [opinion["verdict"] for opinion in face["opinions"]] == ["real", "fake"]
    assert face["agreement"] in page and face["opinions"][0]["words"].split(" (")[0] in page
    assert any("nothing is averaged" in text for text in report.data["method"])
    names = [file["name"] for file in report.data["models"]["files"]]
    assert "second opinion strict (clip-probe)" in names
    report.save(tmp_path / "report.pdf")
    report.save(tmp_path / "report.html")
    assert face["agreement"] in (tmp_path / "report.html").read_text() and report.intact
