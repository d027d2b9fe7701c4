"""A picture unlike those that the detector was fitted on gets no verdict, and the limit keeps its promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.storage import digest_of, save_config
from common.verdicts import Reason, Verdict
from kfd.calibration.decision import decide
from kfd.calibration.familiar import (
    FAMILIAR_FILE,
    UNFAMILIAR_RATE,
    Familiar,
    fit_familiar,
    save_familiar,
)
from kfd.checkpoint import load_kfd
from kfd.config import Decision
from kfd.detector import Detector
from tests.tiny.kfd import save_tiny_kfd

WIDTH = 12


def faces(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Embeddings that vary more along some axes than along others."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, WIDTH)) * np.linspace(0.1, 2.0, WIDTH) + shift).astype(np.float32)


def names(count: int, word: str = "p") -> np.ndarray:
    return np.array([f"{word}{i}" for i in range(count)])


def test_the_distance_is_mahalanobis():
    cloud, _, _ = fit_familiar(faces(4000, 0), names(4000), np.repeat("one", 4000))
    probe = faces(5, 1)
    expected = np.sqrt(((probe / np.linspace(0.1, 2.0, WIDTH)) ** 2).sum(1))
    np.testing.assert_allclose(cloud.strangeness(torch.from_numpy(probe)).numpy(), expected, rtol=0.1)


def test_the_limit_keeps_its_rate_on_faces_never_seen_also_where_few_were_fitted():
    """Measured on the faces of the fit, a limit of 2 % had kept out a third of all others."""
    for count, most in ((150, 3 * UNFAMILIAR_RATE), (3000, 1.5 * UNFAMILIAR_RATE)):
        cloud, limit, figures = fit_familiar(faces(count, 2), names(count), np.repeat("one", count))
        strange = cloud.strangeness(torch.from_numpy(faces(4000, 3))).numpy() > limit
        assert UNFAMILIAR_RATE / 4 < strange.mean() < most
        assert figures == {"unfamiliar": UNFAMILIAR_RATE}, "one source cannot be left out"
    assert (cloud.strangeness(torch.from_numpy(faces(50, 4, shift=4.0))).numpy() > limit).all()


def test_a_source_left_out_shows_what_a_new_camera_would():
    embeddings = np.concatenate([faces(300, 5), faces(300, 6), faces(60, 7, shift=2.0)])
    sources = np.repeat(["a", "b", "c"], [300, 300, 60])
    _, _, figures = fit_familiar(embeddings, names(660), sources)
    assert figures["left_out_unfamiliar_worst"] > 0.9
    assert 0.3 < figures["left_out_unfamiliar"] < 0.5


def test_too_few_faces_fit_nothing():
    assert fit_familiar(faces(30, 0), names(30), np.repeat("one", 30)) is None
    assert fit_familiar(faces(300, 0), np.repeat("one person", 300), np.repeat("one", 300)) is None
    assert fit_familiar(np.ones((300, 4), np.float32), names(300), np.repeat("one", 300)) is None


def test_an_unfamiliar_picture_gets_no_verdict_whatever_its_score():
    decision = Decision(fitted_on="a test", max_strangeness=3.0)
    for score in (0.01, 0.99):
        assert decide(decision, score, strangeness=3.1) == (Verdict.INCONCLUSIVE, (Reason.UNFAMILIAR,))
        assert decide(decision, score, strangeness=2.9)[1] == decide(decision, score)[1] == ()


@pytest.fixture
def folder(tmp_path):
    """A tiny detector whose pictures of a face are far from the cloud it was given."""
    made = save_tiny_kfd(tmp_path, Decision(fitted_on="planted"))
    width = load_kfd(made)[0].config.align_dim
    cloud = Familiar(torch.full((width,), 9.0), torch.eye(width))
    decision = replace(Decision(fitted_on="planted"), max_strangeness=1.0)
    save_config(save_familiar(cloud, decision, made), made / "decision.json")
    return made


def test_the_detector_measures_it_and_a_finding_tells_it(folder):
    detector = Detector.from_pretrained(folder)
    crops = torch.rand(2, 3, detector.image_size, detector.image_size)
    found = detector(crops)
    assert found.strangeness.shape == (2,) and (found.strangeness > 1).all()
    assert found[1].strangeness.tolist() == [float(found.strangeness[1])]
    with pytest.raises(ValueError, match="max_strangeness needs"):
        Detector(detector.model, detector.decision, "")


def test_the_file_is_loaded_strictly(folder):
    path = folder / FAMILIAR_FILE
    sound, width = path.read_bytes(), len(Detector.from_pretrained(folder).familiar.centre)
    Familiar(torch.zeros(width), torch.eye(width)).save(folder)
    with pytest.raises(ValueError, match=r"another decision\.json.*kfd\.calibrate"):
        Detector.from_pretrained(folder)
    path.write_bytes(sound[: len(sound) // 2])
    decision = replace(load_kfd(folder)[1], familiar_sha256=digest_of(path))
    with pytest.raises(ValueError, match=FAMILIAR_FILE):
        Familiar.load(folder, decision)
    for wrong, said in (
        (Familiar(torch.zeros(width), torch.full((width, width), torch.nan)), "finite"),
        (Familiar(torch.zeros(width), torch.zeros(width, 2)), "centre .* and whitening"),
    ):
        with pytest.raises(ValueError, match=said):
            Familiar.load(folder, save_familiar(wrong, decision, folder))
    narrow = Familiar(torch.zeros(2), torch.eye(2))
    with pytest.raises(ValueError, match=rf"of 2 numbers, the detector gives {width}"):
        narrow.strangeness(torch.zeros(1, width))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"kfd\.calibrate"):
        Detector.from_pretrained(folder)
