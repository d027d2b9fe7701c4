"""python -m llm.benchmark: an assistant's Yes or No, measured like a detector and comparable with one."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evaluation import detector as evaluate
from evaluation.measure import Measured, score_stored
from evaluation.results import folder_digest, read_results
from kfd.checkpoint import save_kfd
from kfd.config import Decision
from kfd.detector import Detector
from llm import benchmark
from llm.conversation import Conversation
from llm.model import ForgeryLLM
from llm.training.cases import judged_case
from media.regions import region_scores
from tests.tiny.checkpoint import save_tiny_checkpoint
from tests.tiny.faces import add_known_fakes, save_tiny_faces
from tests.tiny.kfd import SIZE, save_tiny_kfd, tiny_kfd


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return save_tiny_checkpoint(tmp_path_factory.mktemp("models"), Decision(fitted_on="planted"))


@pytest.fixture(scope="module")
def seeing(models, tmp_path_factory) -> Path:
    """The same, but the tower's random weights are large enough to tell one picture from another."""
    folder, model = tmp_path_factory.mktemp("seeing"), tiny_kfd()
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    save_kfd(model, folder / "kfd", Decision(fitted_on="planted"))
    assistant = ForgeryLLM.from_pretrained(models / "assistant")
    digest = Detector.from_pretrained(folder / "kfd").digest
    assistant.save_pretrained(folder / "assistant", models / "llm", digest)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return add_known_fakes(save_tiny_faces(tmp_path_factory.mktemp("set"), SIZE, 3, ("val",)), SIZE)


def test_answers_are_measured_like_a_detector(data, models, tmp_path, monkeypatch, capsys):
    def contrary(self, cases, read):
        return 1 - torch.tensor([case.score for case in cases], dtype=torch.float64)

    monkeypatch.setattr(benchmark.AnswerJudge, "_yes", contrary)
    out = tmp_path / "llm.json"
    benchmark.main([
        "--assistant", str(models / "assistant"), "--kfd", str(models / "kfd"), "--data", str(data),
        "--simulated", "2", "--num-resamples", "5", "--out", str(out),
    ])  # fmt: skip
    results, items = read_results(out)
    detector = Detector.from_pretrained(models / "kfd")
    assert results["kfd"]["sha256"] == detector.digest
    assert results["checkpoint"]["sha256"] == folder_digest(models / "assistant")
    assert results["decision"]["fitted_on"].startswith("nothing")
    assert set(results["results"]["frame"]) == {"square", "all drawn", "simulated"} and len(items) == 10
    assert "Ranking, each face" in capsys.readouterr().out
    own = tmp_path / "kfd.json"
    monkeypatch.setattr(sys, "argv", ["evaluation.detector"])
    evaluate.main(["--data", str(data), "--checkpoint", str(models / "kfd"), "--simulated", "2",
                   "--num-resamples", "5", "--out", str(own)])  # fmt: skip
    scores = {item.key: item.score for item in read_results(own)[1]}
    assert [item.score for item in items] == pytest.approx([1 - scores[item.key] for item in items], abs=1e-6)
    evaluate.main(["--compare", str(own), str(out), "--num-resamples", "5"])
    assert "## Comparison" in capsys.readouterr().out


def test_the_score_is_the_probability_of_yes(data, models):
    """FIELD trap 5: no word of the reply is searched; the score is P(Yes) of this very face."""
    detector = Detector.from_pretrained(models / "kfd")
    model = ForgeryLLM.from_pretrained(models / "assistant")
    faces = benchmark.FaceSet.open(data, "val")
    crops, landmarks = faces.read([0, 4])
    found = benchmark.AnswerJudge(model, detector)(crops, landmarks)
    plain = detector(crops)
    strengths = region_scores(plain.heatmap, landmarks)
    for k in range(2):
        case = judged_case(detector, float(plain.score[k]), float(plain.logit[k]), strengths[k])
        expected = Conversation(model, case, plain[k]).yes_probability()
        assert float(found.score[k]) == pytest.approx(expected, abs=1e-5)
    alone = benchmark.AnswerJudge(model, detector, batch_size=1)(crops, landmarks)
    torch.testing.assert_close(alone.score, found.score, rtol=0, atol=1e-5)
    assert found.logit.sigmoid().tolist() == pytest.approx(found.score.tolist(), abs=1e-5)


def test_maps_are_cut_as_the_detector_cuts_them(data, models):
    """Bug: the very same maps had another IoU beside the answers than beside the detector's scores."""
    detector = Detector.from_pretrained(models / "kfd")
    detector.decision = replace(detector.decision, map_share=0.4)
    judge = benchmark.AnswerJudge(ForgeryLLM.from_pretrained(models / "assistant"), detector)
    faces = benchmark.FaceSet.open(data, "val")
    counts = []
    for one in (judge, evaluate.DetectorJudge(detector)):
        measured = Measured(one)
        score_stored(measured, faces)
        counts.append([found.iou.item() for found in measured.maps.values()])
    assert counts[0] == counts[1] and max(counts[0]) > 0


def test_without_words_and_soft_prompts_every_face_is_the_same(data, seeing):
    detector = Detector.from_pretrained(seeing / "kfd")
    crops, landmarks = benchmark.FaceSet.open(data, "val").read([0, 1, 4])
    scores = {}
    for soft in ("own", "zeros"):
        model = ForgeryLLM.from_pretrained(seeing / "assistant")
        scores[soft] = benchmark.AnswerJudge(model, detector, soft, text=False)(
            crops, landmarks
        ).score.tolist()
    assert len(set(scores["zeros"])) == 1 and len(set(scores["own"])) == 3


def test_another_face_speaks_through_the_soft_prompts_but_never_the_same_one(data, seeing):
    detector = Detector.from_pretrained(seeing / "kfd")
    model = ForgeryLLM.from_pretrained(seeing / "assistant")
    crops, landmarks = benchmark.FaceSet.open(data, "val").read([0, 4])
    plain = detector(crops)
    judge = benchmark.AnswerJudge(model, detector, "another", others=plain)
    found = judge(crops, landmarks)
    strengths = region_scores(plain.heatmap, landmarks)
    for k in range(2):
        case = judged_case(detector, float(plain.score[k]), float(plain.logit[k]), strengths[k])
        expected = Conversation(model, case, plain[1 - k]).yes_probability()
        assert float(found.score[k]) == pytest.approx(expected, abs=1e-5)
    lonely = benchmark.AnswerJudge(model, detector, "another", others=plain[0])
    with pytest.raises(ValueError, match="no other face"):
        lonely(crops[:1], landmarks[:1])


def test_the_opposite_face_has_its_place_at_the_other_end(data, seeing):
    """The soft prompts of any other face leave the answers to chance; these must turn them round."""
    detector = Detector.from_pretrained(seeing / "kfd")
    faces = benchmark.FaceSet.open(data, "val")
    found = benchmark.stand_ins(detector, faces)
    assert found.logit.tolist() == sorted(found.logit.tolist())
    others = replace(found, embedding=torch.eye(len(found.logit)))  # no two of them are the same face
    judge = benchmark.AnswerJudge(
        ForgeryLLM.from_pretrained(seeing / "assistant"), detector, "opposite", others=others
    )
    read = [float(judge._read(others[k]).logit) for k in range(len(others.logit))]
    assert read == pytest.approx(others.logit.flip(0).tolist(), abs=1e-6)


def test_written_answers_are_counted_beside_the_probability(data, seeing, tmp_path, monkeypatch, capsys):
    """A written answer that opens with neither word is told apart, and counts as half."""
    words = iter(["Yes, it is.", "No.", "Perhaps", "No.", "Yes.", "Yes."])
    monkeypatch.setattr(Conversation, "ask", lambda self, text, max_new_tokens: iter([next(words)]))
    out = tmp_path / "llm.json"
    benchmark.main([
        "--assistant", str(seeing / "assistant"), "--kfd", str(seeing / "kfd"), "--data", str(data),
        "--simulated", "0", "--num-resamples", "5", "--out", str(out), "--hard",
    ])  # fmt: skip
    results, items = read_results(out)
    assert [item.verdict for item in items] == ["fake", "real", "inconclusive", "real", "fake", "fake"]
    signs = {"fake": 1, "inconclusive": 0, "real": -1}
    sides = [[signs[i.verdict] for i in items if i.label == label] for label in ("fake", "real")]
    wins = [(fake > real) + 0.5 * (fake == real) for fake in sides[0] for real in sides[1]]
    assert results["hard"]["frame"]["all drawn"]["value"] == pytest.approx(sum(wins) / len(wins))
    assert sum(sum(counts.values()) for counts in results["hard"]["answers"].values()) == 6
    assert "AUC of written answers, frame" in capsys.readouterr().out


def test_some_sources_or_some_faces_of_each_are_measured(data, seeing, tmp_path):
    command = ["--assistant", str(seeing / "assistant"), "--kfd", str(seeing / "kfd"), "--data", str(data),
               "--simulated", "0", "--num-resamples", "5", "--out", str(tmp_path / "llm.json")]  # fmt: skip
    benchmark.main([*command, "--most", "1"])
    counts = Counter((item.label, item.source) for item in read_results(tmp_path / "llm.json")[1])
    assert set(counts.values()) == {1}
    with pytest.raises(SystemExit, match="has no face of nowhere"):
        benchmark.main([*command, "--sources", "nowhere"])


@pytest.mark.parametrize(
    "words", [["--soft", "another"], ["--soft", "opposite"], ["--soft", "zeros", "--no-text"]]
)
def test_soft_prompts_are_chosen_on_the_command_line(data, seeing, tmp_path, words):
    out = tmp_path / "llm.json"
    benchmark.main([
        "--assistant", str(seeing / "assistant"), "--kfd", str(seeing / "kfd"), "--data", str(data),
        "--simulated", "0", "--num-resamples", "5", "--out", str(out), *words,
    ])  # fmt: skip
    results, items = read_results(out)
    assert results["config"]["soft"] == words[1] and results["config"]["text"] == (len(words) == 2)
    assert len(items) == 6


def test_an_assistant_of_another_detector_is_refused(data, models, tmp_path):
    other = save_tiny_kfd(tmp_path / "kfd", seed=1)
    with pytest.raises(SystemExit, match="was trained with the detector"):
        benchmark.main([
            "--assistant", str(models / "assistant"), "--kfd", str(other), "--data", str(data),
        ])  # fmt: skip
