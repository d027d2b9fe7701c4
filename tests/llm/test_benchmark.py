"""python -m llm.benchmark: an assistant's Yes or No, measured like a detector and comparable with one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from evaluation import detector as evaluate
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
    monkeypatch.setattr(Conversation, "yes_probability", lambda self, text: 1 - self.case.score)
    out = tmp_path / "llm.json"
    benchmark.main([
        "--assistant", str(models / "assistant"), "--kfd", str(models / "kfd"), "--data", str(data),
        "--simulated", "2", "--num-resamples", "5", "--out", str(out),
    ])  # fmt: skip
    results, items = read_results(out)
    detector = Detector.from_pretrained(models / "kfd")
    assert results["kfd"]["sha256"] == detector.digest
    assert results["checkpoint"]["sha256"] == folder_digest(models / "assistant")
    assert results["thresholds"]["fitted_on"].startswith("nothing")
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
    assert found.logit.sigmoid().tolist() == pytest.approx(found.score.tolist(), abs=1e-5)


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


@pytest.mark.parametrize("words", [["--soft", "another"], ["--soft", "zeros", "--no-text"]])
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
