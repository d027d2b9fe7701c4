"""Other systems behind the detector: the commands and the page that read a detector read them too."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from app.assistant import Assistant
from app.models.choice import ModelChoice
from app.page.panels import face_panel, verdict_panel
from baselines.checkpoint import new_system, save_system
from baselines.clip import ClipConfig
from baselines.vlaforge.config import VlaForgeConfig
from data_sim.dataset import FaceSet
from evaluation import robustness
from evaluation.detector import main as evaluate_main
from kfd import calibrate, score
from kfd.calibration import error_rates
from kfd.config import Decision
from kfd.detector import Detector, to_batch
from kfd.video import examine_video
from llm.training.cases import ground
from media.images import read_image
from tests.tiny.faces import add_known_fakes, save_tiny_faces
from tests.tiny.kfd import SIZE
from tests.tiny.openai_server import serving
from tests.tiny.video import write_video

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"
SMALL = {"num_queries": 4, "width": 24, "blocks": 1, "hidden": 16, "mask_dim": 8}
CONFIGS = {
    "clip-probe": ClipConfig("clip-probe", "embedded"),
    "vlaforge": VlaForgeConfig(encoder="embedded", **SMALL),
}


@pytest.fixture(scope="module", params=CONFIGS)
def system(request, kfd_folder, tmp_path_factory) -> tuple[str, Path]:
    """Name and folder of a system on the embedded tower: one with a score only, one with maps too."""
    torch.manual_seed(0)
    model = new_system(CONFIGS[request.param], kfd_folder, say=lambda note: None)
    with torch.no_grad():  # untrained heads may give one and the same logit for all
        for name, parameter in model.named_parameters():
            if "head" in name:
                parameter.mul_(20)
    folder = tmp_path_factory.mktemp(request.param)
    save_system(model, folder, Decision(fake_above=0.55, real_below=0.45, fitted_on="a test"))
    return request.param, folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    splits = ("train", "val", "test")
    return add_known_fakes(save_tiny_faces(tmp_path_factory.mktemp("set"), SIZE, 12, splits))


def run(monkeypatch, module, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
    module.main()


def test_a_photograph_is_examined(system, kfd_folder):
    name, folder = system
    detector = Detector.from_pretrained(folder, encoder=kfd_folder)
    (finding,) = detector.examine(read_image(EXAMPLE))
    assert 0 <= finding.score <= 1
    if name == "clip-probe":
        assert finding.detection.heatmap is None and finding.detection.consistency_maps == ()
        assert finding.regions == () and finding.region_scores == {} and not detector.has_grad_cam
        with pytest.raises(ValueError, match="ClipProbe has no Grad-CAM"):
            detector.grad_cam(to_batch([finding.crop.pixels]))
    else:
        assert finding.detection.heatmap.shape == (1, 1, SIZE, SIZE)
        assert finding.region_scores["whole_face"] == pytest.approx(
            float(finding.detection.heatmap.mean()), abs=0.2
        )


def test_a_video_is_examined(system, kfd_folder, tmp_path):
    _, folder = system
    path = tmp_path / "clip.mp4"
    write_video(path, [read_image(EXAMPLE)] * 4)
    (track,) = examine_video(Detector.from_pretrained(folder, encoder=kfd_folder), path, 3).tracks
    assert len(track.frames) == 3 and 0 <= track.finding.score <= 1


def test_files_are_scored(system, kfd_folder, tmp_path, monkeypatch):
    name, folder = system
    out = tmp_path / "scores.jsonl"
    run(monkeypatch, score, EXAMPLE, "--checkpoint", folder, "--encoder", kfd_folder, "--out", out)
    (line,) = [json.loads(text) for text in out.read_text().splitlines()]
    assert line["score"] is not None and line["verdict"] in ("real", "fake", "inconclusive")
    assert line["checkpoint"] == Detector.from_pretrained(folder, encoder=kfd_folder).digest
    assert name == "vlaforge" or line["regions"] == []


def test_a_set_is_measured(system, kfd_folder, data, tmp_path):
    name, folder = system
    out = tmp_path / "test.json"
    words = ["--data", data, "--split", "test", "--checkpoint", folder, "--encoder", kfd_folder, "--out", out,
             "--simulated", 4, "--num-resamples", 10, "--allow-leaks"]  # fmt: skip
    evaluate_main([str(word) for word in words])
    found = json.loads(out.read_text())
    frame = found["results"]["frame"]
    assert 0 <= frame["square"]["auc"]["value"] <= 1
    has_maps = any("iou" in key or "pixel" in key or "dice" in key for key in frame["square"])
    assert has_maps == (name == "vlaforge")


def test_it_is_calibrated_and_its_robustness_measured(system, kfd_folder, data, tmp_path, monkeypatch):
    few = ("as it is", "jpeg 30")
    for module in (robustness, error_rates):
        monkeypatch.setattr(module, "CONDITIONS", few)
    folder = shutil.copytree(system[1], tmp_path / "copy")
    of = ["--data", data, "--checkpoint", folder, "--encoder", kfd_folder]
    try:
        run(monkeypatch, calibrate, *of, "--real", 12, "--fake", 12, "--limits", 4)
    except SystemExit as refused:  # an untrained system may separate nothing, which is an answer
        assert "separate" in str(refused) or "auc" in str(refused).lower()
    run(monkeypatch, robustness, *of, "--real", 6, "--fake", 6)
    assert set(json.loads((folder / "robustness.json").read_text())["cells"]) == set(few)


def test_page_and_report_show_it(system, kfd_folder, tmp_path):
    name, folder = system
    with serving(lambda body: ["The detector examined this face."]) as server:
        choice = ModelChoice(kfd=folder, encoder=str(kfd_folder), llm_url=server.url)
        assistant = Assistant.load(choice)
        analysis = assistant.analyse(EXAMPLE)
        assert "".join(assistant.ask(analysis, "Is this a deepfake image?"))
    page = face_panel(analysis, 0) + verdict_panel(analysis, 0)
    assert ("heat map" in face_panel(analysis, 0)) == (name == "vlaforge") and "<img" in page
    report = assistant.report(analysis)
    method = report.data["method"][0]
    assert "Knowledge-guided" not in method and assistant.detector.model.words in method
    assert ("heat map" in method) == (name == "vlaforge") and "Grad-CAM" not in method
    assert (report.files[0]["faces"][0]["pictures"]["heatmap"] is None) == (name == "clip-probe")
    report.save(tmp_path / "report.pdf")
    assert report.intact and "Yu et al." in report.data["method"][1]


def test_a_language_model_does_not_learn_from_it(system, kfd_folder, data):
    detector = Detector.from_pretrained(system[1], encoder=kfd_folder)
    with pytest.raises(ValueError, match="learns from maps and embedding of a KFD"):
        ground(detector, FaceSet.open(data, "train"), 2, 0)
