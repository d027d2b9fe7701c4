"""The file that benchmarks of others load: one number per file, and no number where there is none."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kfd.detector import Detector, NoFaceError
from kfd.examine import examine_file

ROOT = Path(__file__).parents[1]
FILE = ROOT / "benchmarks" / "predict.py"
EXAMPLE = ROOT / "app" / "example.jpg"


@pytest.fixture(scope="module")
def loaded():
    """The module by its path, as a benchmark loads it."""
    spec = importlib.util.spec_from_file_location("their_model", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_number_is_the_score_that_unmask_gives(loaded):
    finding = examine_file(Detector.from_pretrained(loaded.CHECKPOINT), EXAMPLE).faces[0]
    assert loaded.predict(str(EXAMPLE)) == pytest.approx(finding.score, abs=1e-9)


def test_the_most_suspicious_face_counts(loaded, tmp_path):
    """A photograph of two people is forged where one of them is, whoever is larger."""
    one = Image.open(EXAMPLE).convert("RGB")
    other = Image.open(ROOT / "app" / "example_forged.jpg").convert("RGB").resize(one.size)
    both = Image.new("RGB", (2 * one.width, one.height))
    both.paste(one, (0, 0))
    both.paste(other, (one.width, 0))
    both.save(tmp_path / "both.png")
    faces = examine_file(Detector.from_pretrained(loaded.CHECKPOINT), tmp_path / "both.png").faces
    assert len(faces) == 2
    assert loaded.predict(tmp_path / "both.png") == pytest.approx(max(face.score for face in faces), abs=1e-9)


def test_without_a_face_there_is_no_number(loaded, tmp_path):
    """A published model answered 0.0, so real, where it had found nobody."""
    Image.fromarray(np.full((200, 200, 3), 127, np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(NoFaceError):
        loaded.predict(tmp_path / "grey.png")


def test_a_face_too_small_has_no_number(loaded, tmp_path):
    small = Image.open(EXAMPLE).convert("RGB")
    small.thumbnail((60, 60))
    canvas = Image.new("RGB", (240, 240), (128, 128, 128))
    canvas.paste(small, (90, 90))
    canvas.save(tmp_path / "small.png")
    with pytest.raises((loaded.NotScoredError, NoFaceError)):
        loaded.predict(tmp_path / "small.png")


def test_it_runs_from_anywhere(tmp_path):
    words = [sys.executable, str(FILE), str(EXAMPLE)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 0 <= float(done.stdout.split("\t")[1]) <= 1
