"""Grad-CAM on the page and in the report: once per face, only when somebody looks, and sealed."""

from __future__ import annotations

import base64
import json
from html import escape
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from app.analysis import Analysis, grad_cam_of
from app.assistant import Assistant
from app.page import panels
from app.page.handlers import EXAMPLE
from app.pictures import GRAD_CAM_TEXT
from app.report.sealed import Report
from kfd.config import Decision
from kfd.detector import to_batch
from tests.tiny.checkpoint import save_tiny_checkpoint


@pytest.fixture(scope="module")
def assistant(tmp_path_factory) -> Assistant:
    return Assistant.from_pretrained(save_tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


def counted(assistant: Assistant, monkeypatch) -> tuple[Analysis, list[int]]:
    """An analysis, and a list that grows with every map that is computed."""
    computed, real = [], assistant.detector.grad_cam
    monkeypatch.setattr(assistant.detector, "grad_cam", lambda crops: computed.append(1) or real(crops))
    return assistant.analyse(EXAMPLE), computed


def test_a_map_is_computed_once_and_not_before_it_is_shown(assistant, monkeypatch) -> None:
    analysis, computed = counted(assistant, monkeypatch)
    assert not computed
    page = panels.face_panel(analysis, 0)
    assert "Grad-CAM, Face 1" in page and escape(GRAD_CAM_TEXT) in page
    assistant.report(analysis)
    panels.face_panel(analysis, 0)
    assert computed == [1]
    crop = analysis.faces[0].crop.pixels
    wanted = assistant.detector.grad_cam(to_batch([crop]))[0, 0].numpy()
    np.testing.assert_allclose(grad_cam_of(analysis, 0), wanted)


def test_the_report_seals_its_values(assistant) -> None:
    analysis = assistant.analyse(EXAMPLE)
    report = assistant.report(analysis)
    (face,) = report.files[0]["faces"]
    picture = base64.b64decode(face["pictures"]["grad_cam"].partition(",")[2])
    values = np.asarray(Image.open(BytesIO(picture))) / 255
    np.testing.assert_allclose(values, grad_cam_of(analysis, 0), atol=0.5 / 255 + 1e-6)
    assert report.to_html().count(face["pictures"]["grad_cam_overlay"]) == 1
    assert any("Selvaraju" in text for text in report.data["method"])
    changed = json.loads(report.to_json())
    changed["files"][0]["faces"][0]["pictures"]["grad_cam"] = face["pictures"]["heatmap"]
    assert report.intact and not Report(changed).intact


def test_a_face_without_a_score_has_none(tmp_path) -> None:
    folder = save_tiny_checkpoint(tmp_path, Decision(min_face=5000))
    assistant = Assistant.from_pretrained(folder)
    analysis = assistant.analyse(EXAMPLE)
    assert grad_cam_of(analysis, 0) is None and "Grad-CAM" not in panels.face_panel(analysis, 0)
    pictures = assistant.report(analysis).files[0]["faces"][0]["pictures"]
    assert pictures["grad_cam"] is None and pictures["grad_cam_overlay"] is None
