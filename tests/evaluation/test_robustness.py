"""Calibrating and measuring robustness: one command each, resumable, never stale, and read by the app."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from app.wording import findings as wording
from app.wording import strength
from common.enfsi import VERBAL_SCALE
from common.verdicts import SCORE_REASONS
from evaluation import robustness
from kfd import calibrate
from kfd.calibrate import CalibrationSettings, compression_limit, jpeg_limit, verdicts, wrong_verdicts
from kfd.calibration import error_rates
from kfd.calibration.decision import decide
from kfd.calibration.error_rates import ErrorRate, Robustness, band_of
from kfd.calibration.likelihood_ratio import weigh
from kfd.config import Decision
from kfd.detection import Quality
from kfd.detector import Detector, to_batch
from tests.tiny.faces import add_known_fakes, save_tiny_faces, soften_crops
from tests.tiny.kfd import SIZE, save_tiny_kfd

FEW = ("as it is", "jpeg 30", "resize 50")
EMBEDDED = Path(__file__).parents[2] / "checkpoints" / "embedded" / "kfd"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return add_known_fakes(soften_crops(save_tiny_faces(tmp_path_factory.mktemp("set"), SIZE, faces=24)))


@pytest.fixture
def grid(monkeypatch) -> tuple[str, ...]:
    """A grid of three conditions, so that tests take seconds."""
    for module in (robustness, error_rates):
        monkeypatch.setattr(module, "CONDITIONS", FEW)
    for module in (robustness,):
        monkeypatch.setattr(module, "FEWEST", 10)
    return FEW


def run(monkeypatch, module, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
    module.main()


def measured(monkeypatch, data: Path, folder: Path) -> dict:
    run(monkeypatch, robustness, "--data", data, "--checkpoint", folder, "--real", 20, "--fake", 10)
    return json.loads((folder / "robustness.json").read_text())


def test_the_grid_is_written_and_read_back(data, grid, tmp_path, monkeypatch, capsys):
    folder = save_tiny_kfd(tmp_path, Decision(fake_above=0.45, real_below=0.4, fitted_on="a test"))
    stored = measured(monkeypatch, data, folder)
    assert list(stored["cells"]) == list(FEW) and "| jpeg 30 |" in capsys.readouterr().out
    for cell in stored["cells"].values():
        assert (
            cell["real_above"]["n"] == 20
            and cell["fake_above"]["n"] == 10
            and len(cell["bands"]) == len(cell["above"]) == 30
        )
        for name in ("real_above", "fake_above", "real_called_fake"):
            assert 0 <= cell[name]["low"] <= cell[name]["value"] <= cell[name]["high"] <= 1
        assert cell["auc"]["low"] <= cell["auc"]["value"] <= cell["auc"]["high"]
    detector = Detector.from_pretrained(folder)
    loaded = Robustness.load(folder, detector)
    assert loaded.rates and sum(rate.real for rate in loaded.rates.values()) >= 20
    for (large, band), rate in loaded.rates.items():
        losses = 0.5 * (band % 2), 0.5 * (band // 2)
        found = loaded.rate_of(Quality(100, 50.0, *losses), SIZE if large else SIZE * 0.5)
        assert found is rate and rate.false_alarms[1] <= rate.false_alarms[0] <= rate.false_alarms[2]
    assert loaded.rate_of(Quality(100, 50.0), SIZE) is None  # nothing known of its compression


def test_frames_of_one_person_are_not_independent():
    """Twenty photographs of two people say as little of others as two do."""
    hits = np.arange(20) % 2 == 0
    of_many, of_two = (robustness._share(hits, np.arange(20) // by) for by in (1, 10))
    assert of_many["value"] == of_two["value"] == 0.5 and of_many["n"] == of_two["n"] == 20
    assert of_two["high"] - of_two["low"] > 1.5 * (of_many["high"] - of_many["low"])


def test_a_stopped_run_goes_on(data, grid, tmp_path, monkeypatch):
    folder = save_tiny_kfd(tmp_path)
    whole = measured(monkeypatch, data, folder)
    path = folder / "robustness.json"
    cut = {**whole, "cells": {name: whole["cells"][name] for name in FEW[:1]}, "rates": []}
    path.write_text(json.dumps(cut))
    assert Robustness.load(folder, Detector.from_pretrained(folder)) is None  # half a grid is none
    seen = []
    monkeypatch.setattr(
        robustness, "read", lambda d, images, name: seen.append(name) or calibrate.read(d, images, name)
    )
    assert measured(monkeypatch, data, folder) == whole and seen == list(FEW[1:])


def test_a_stale_grid_is_refused(data, grid, tmp_path, monkeypatch):
    """Error rates of other weights, or of other thresholds, say nothing about these."""
    folder = save_tiny_kfd(tmp_path)
    measured(monkeypatch, data, folder)
    detector = Detector.from_pretrained(folder)
    other = Detector(detector.model, replace(detector.decision, fake_above=0.9), detector.digest)
    with pytest.raises(ValueError, match="measured with another decision"):
        Robustness.load(folder, other)
    save_tiny_kfd(folder, seed=1)
    with pytest.raises(ValueError, match="measured with another detector"):
        Robustness.load(folder, Detector.from_pretrained(folder))
    with pytest.raises(
        SystemExit, match=r"error: .*Delete it and run python -m evaluation\.robustness again"
    ):
        measured(monkeypatch, data, folder)


def test_another_sample_is_not_mixed_in(data, grid, tmp_path, monkeypatch):
    """Bug: of two sets in folders of one name, the cells of one stood beside those of the other."""
    folder = save_tiny_kfd(tmp_path)
    measured(monkeypatch, data, folder)
    other = add_known_fakes(save_tiny_faces(tmp_path / data.name, SIZE, faces=24))
    with pytest.raises(SystemExit, match="measured with another data"):
        measured(monkeypatch, other, folder)
    with pytest.raises(SystemExit, match="measured with another real"):
        run(monkeypatch, robustness, "--data", data, "--checkpoint", folder, "--real", 5, "--fake", 10)


class Bright(torch.nn.Module):
    """A detector's network that reads the brightness of the crop's left half alone."""

    def __init__(self, model, sign=1):
        super().__init__()
        self.model, self.config, self.sign = model, model.config, sign
        self.encoder, self.alignment, self.image_size = model.encoder, model.alignment, model.image_size

    def constants(self):
        return self.model.constants()

    def forward(self, images, constants=None):
        output = self.model(images, constants)
        left = images[..., : images.shape[-1] // 2].mean((1, 2, 3))
        return SimpleNamespace(**{**vars(output), "logit": 40 * self.sign * (left - 0.5)})


class Wide(Detector):
    """Reads crops of the shipped size: in 64 pixels of a face of 120 no trace of compression is left."""

    @property
    def image_size(self) -> int:
        return 192


@pytest.fixture
def bright(tmp_path) -> Detector:
    detector = Detector.from_pretrained(save_tiny_kfd(tmp_path / "kfd"))
    return Detector(Bright(detector.model), Decision(fitted_on="a test"), "bright")


def test_flipping_is_the_mean_of_both_readings(bright):
    crops = torch.zeros(2, 3, SIZE, SIZE)
    crops[0, ..., : SIZE // 2] = 1.0
    crops[1] = 0.6
    assert (
        bright(crops).logit.tolist() == pytest.approx([20, 4], abs=1e-3) and bright(crops).views_gap is None
    )
    flipped = Detector(bright.model, replace(bright.decision, flip=True, slope=2.0), "bright")(crops)
    assert flipped.logit.tolist() == pytest.approx([0, 4], abs=1e-3)
    assert flipped.views_gap.tolist() == pytest.approx([80, 0], abs=1e-2)
    assert flipped[0].views_gap.shape == (1,)


def test_calibration_finds_what_was_planted(bright, data):
    """Known fakes of the set have a bright nose: a detector of brightness separates some of them."""
    from data_sim.dataset import FaceSet

    faces = FaceSet.open(data, "val")
    decision, familiar = calibrate.calibrate(bright, faces, CalibrationSettings(24, 24, 24, flip=True))
    assert decision.is_fitted and decision.slope > 0 and decision.flip and decision.max_views_gap > 0
    assert decision.min_log10_lr <= 0 <= decision.max_log10_lr <= np.log10(25)
    assert 20 <= decision.measured["real_groups"] <= 24
    assert "24 genuine face photographs (24 of drawn)" in decision.fitted_on
    assert "24 of the kind square" in decision.fitted_on and "24 simulated" in decision.fitted_on
    assert 0 <= decision.max_jpeg_loss <= 1 and 0 <= decision.max_video_loss <= 1
    assert (familiar is None) == (decision.max_strangeness is None)
    again, _ = calibrate.calibrate(bright, faces, CalibrationSettings(24, 24, 24, flip=True))
    assert again == decision


def test_the_ratio_is_fitted_on_the_faces_that_it_is_told_of(bright, data):
    """Bug: faces whose mirror image reads otherwise, of which no ratio is ever told, shaped that of all."""
    from data_sim.dataset import FaceSet

    faces, settings = FaceSet.open(data, "val"), CalibrationSettings(24, 24, 24, flip=True)
    decision, familiar = calibrate.calibrate(bright, faces, settings)
    detector = Detector(bright.model, decision, "bright", familiar=familiar)
    reading, labels, _ = calibrate._read_chosen(detector, faces, calibrate._chosen(faces, settings)[0])
    told = np.array([SCORE_REASONS.issuperset(reasons) for _, reasons in verdicts(decision, reading)])
    counts = [int(told[labels == label].sum()) for label in (0, 1)]
    assert [decision.measured[name] for name in ("real", "fake")] == counts and sum(counts) < 72
    assert decision.fitted_on.endswith(f"forbids any verdict: {72 - sum(counts)}")


def test_faces_that_get_no_verdict_calibrate_nothing(bright, tmp_path):
    from data_sim.dataset import FaceSet

    faces = FaceSet.open(add_known_fakes(save_tiny_faces(tmp_path, SIZE, faces=12)), "val")
    with pytest.raises(ValueError, match=r"of 36 faces only \d+ lie within the limits that allow a verdict"):
        strict = replace(bright.decision, min_sharpness=1e9)
        calibrate.calibrate(Detector(bright.model, strict, ""), faces, CalibrationSettings(12, 12, 4))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_command_calibrates_a_folder_or_says_why_not(sign, data, tmp_path, monkeypatch, capsys):
    """Known fakes are brighter: a detector of brightness separates them, one of darkness does not."""
    folder = save_tiny_kfd(tmp_path, Decision(min_face=60.0))
    before = (folder / "decision.json").read_text()
    found = Detector.from_pretrained(folder)
    planted = Detector(Bright(found.model, sign), found.decision, "")
    monkeypatch.setattr(calibrate.Detector, "from_pretrained", lambda *_: planted)
    words = ["--data", data, "--checkpoint", folder, "--real", 12, "--fake", 12, "--limits", 4]
    if sign > 0:
        run(monkeypatch, calibrate, *words)
        decision = json.loads((folder / "decision.json").read_text())
        assert decision["slope"] > 0 and decision["min_face"] == 60.0 and "slope" in capsys.readouterr().out
        assert decision["max_video_loss"] is None  # too few faces for a limit
    else:
        with pytest.raises(SystemExit, match="does not separate"):
            run(monkeypatch, calibrate, *words)
        assert (folder / "decision.json").read_text() == before


def test_the_limit_is_where_false_alarms_begin():
    rng = np.random.default_rng(0)
    estimates = rng.uniform(0, 1, 4000)
    real = np.arange(4000) % 2 == 0
    alarming = real & (rng.random(4000) < np.where(estimates > 0.4, 0.5, 0.02))
    assert compression_limit(estimates, alarming, real) == pytest.approx(0.4, abs=0.03)
    missing = ~real & (estimates > 0.6)
    assert compression_limit(estimates, missing, real) == pytest.approx(0.6, abs=0.03)
    assert compression_limit(estimates, np.zeros(4000, dtype=bool), real) > 0.99


def test_a_fake_that_is_only_not_found_is_no_wrong_verdict():
    decision = Decision(fake_above=0.8, real_below=0.2, fitted_on="planted")
    scores, real = np.array([0.9, 0.5, 0.1, 0.9, 0.5, 0.1]), np.array([True] * 3 + [False] * 3)
    assert wrong_verdicts(decision, scores, real).tolist() == [True, False, False, False, False, True]


def test_the_lowest_jpeg_quality_that_holds():
    assert jpeg_limit([0.02] * 6, [0.1] * 6) == 10
    assert jpeg_limit([0.02, 0.02, 0.05, 0.2, 0.02, 0.02], [0.1] * 6) == 50
    assert jpeg_limit([0.02] * 6, [0.1, 0.1, 0.1, 0.3, 0.4, 0.5]) == 30
    assert jpeg_limit([0.5] * 6, [0.1] * 6) == 100, "the worst detector gets the strictest limit"


class TestReasons:
    def test_a_saved_photograph(self, bright):
        """The same photograph as it is, as a JPEG of quality 10, and as a frame of a starved video."""
        from io import BytesIO

        from PIL import Image

        from data_sim.degrade import video
        from kfd.quality.corruptions import to_uint8
        from kfd.quality.estimate import jpeg_quality
        from media.images import read_image

        example = Path(__file__).parents[2] / "app" / "example.jpg"
        buffer = BytesIO()
        Image.open(example).save(buffer, "JPEG", quality=10)
        photo = torch.from_numpy(read_image(example)).permute(2, 0, 1)[None].float() / 255
        frame = to_uint8(video(photo, torch.tensor([45.0])))[0]
        limits = {"max_jpeg_loss": 0.15, "max_video_loss": 0.44, "min_jpeg_quality": None}
        limited = Wide(bright.model, replace(bright.decision, **limits), "")
        (good,) = limited.examine(read_image(example), jpeg_quality(example.read_bytes()))
        (bad,) = limited.examine(read_image(buffer.getvalue()), jpeg_quality(buffer.getvalue()))
        (starved,) = limited.examine(frame)
        assert "heavy_compression" not in good.reasons
        for finding in (bad, starved):
            assert finding.reasons[0] == "heavy_compression" and finding.verdict == "inconclusive"
            assert finding.evidence is None
        assert bad.quality.jpeg_quality == 10 and starved.quality.jpeg_quality is None

    def test_views_that_disagree(self, bright):
        decision = replace(bright.decision, flip=True, max_views_gap=5.0)
        detector = Detector(bright.model, decision, "")
        photo = np.full((SIZE, SIZE, 3), 200, np.uint8)
        photo[:, : SIZE // 2] = 0
        gap = detector(to_batch([photo])).views_gap
        assert decide(decision, 0.99, views_gap=float(gap))[1] == ("views_disagree",)
        alike = detector(to_batch([photo[:, :1].repeat(SIZE, 1)])).views_gap
        assert decide(decision, 0.99, views_gap=float(alike))[1] == ()


def finding(**changes: object) -> SimpleNamespace:
    crop = SimpleNamespace(box=(0.0, 0.0, 200.0, 200.0))
    base = {
        "evidence": weigh(3.0, (-1.5, 1.9)),
        "reasons": (),
        "quality": Quality(150, 50.0, 0.3, 0.1),
        "crop": crop,
    }
    return SimpleNamespace(**(base | changes))


class TestWords:
    def test_the_ratio_and_what_it_is_not(self):
        words, meaning = strength.evidence_words(finding()), strength.evidence_meaning(finding())
        assert "moderate support" in words and "rather than that it was not" in words
        assert "about 20 times as likely where the face was manipulated as where it was not" in meaning
        assert (
            "not the probability" in meaning
            and "no ratio above 79 for a manipulation and none above 32 against it." in meaning
        )
        row = "log10 LR +1.30, moderate support (range: -1.50 to +1.90)"
        assert strength.ratio_words(finding()) == row

    def test_the_other_direction_and_the_bound(self):
        real = finding(evidence=weigh(-9.0, (-1.5, 1.9)))
        assert "support for the proposition that the face was not manipulated" in strength.evidence_words(
            real
        )
        assert "about 32 times as likely where the face was not manipulated" in strength.evidence_meaning(
            real
        )
        assert "cut there" in strength.evidence_meaning(real)
        even = finding(evidence=weigh(0.0, (-1.5, 1.9)))
        assert "supports neither" in strength.evidence_words(even)
        assert "about as likely" in strength.evidence_meaning(even)

    def test_none_is_explained(self):
        blurred = finding(evidence=None, reasons=("blurred", "score_between_thresholds"))
        assert strength.evidence_words(blurred).endswith("because the face is too blurred.")
        assert "bounds were not fitted" in strength.evidence_words(finding(evidence=None))
        assert strength.evidence_meaning(blurred) == ""

    def test_the_error_rate(self):
        rate = ErrorRate(True, 1, 80, 40, (0.042, 0.01, 0.11), (0.61, 0.45, 0.75))
        grid = Robustness({}, {(True, 1): rate}, 192, "test")
        analysis = SimpleNamespace(models=SimpleNamespace(robustness=grid), video=None)
        words = strength.error_rate_words(analysis, finding())
        words = words.replace("\u00a0", " ")
        assert "80 genuine ones were tested" in words and "4.2 % (95 % interval 1.0 to 11.0 %)" in words
        assert "like those of JPEG files" in words and "of 40 manipulated ones, 61 %" in words
        assert "from elsewhere expect more errors" in words and "look better" not in words
        strong = finding(quality=Quality(150, 50.0, 0.9, 0.9))
        assert "is not known: too few" in strength.error_rate_words(analysis, strong)
        none = SimpleNamespace(models=SimpleNamespace(robustness=None))
        assert "has not been measured" in strength.error_rate_words(none, finding())

    def test_photographs_that_set_the_thresholds_are_said_to_flatter_the_rates(self):
        """Bug: the rates of the photographs that had set the threshold passed for those of any others."""
        rate = ErrorRate(True, 1, 80, 40, (0.042, 0.01, 0.11), (0.61, 0.45, 0.75))
        grid = Robustness({}, {(True, 1): rate}, 192, "val")
        analysis = SimpleNamespace(models=SimpleNamespace(robustness=grid), video=None)
        words = strength.error_rate_words(analysis, finding())
        assert "by which the detector was chosen and that score was set" in words and "look better" in words
        assert Robustness.load(EMBEDDED, Detector.from_pretrained(EMBEDDED)).split == "val"

    def test_a_face_that_gets_no_verdict_has_no_error_rate_and_no_probability(self):
        """ "about 97 in 100 had been manipulated" stood beside "it is not certain that this is a face"."""
        rate = ErrorRate(True, 1, 80, 40, (0.042, 0.01, 0.11), (0.61, 0.45, 0.75))
        grid = Robustness({}, {(True, 1): rate}, 192, "val")
        analysis = SimpleNamespace(models=SimpleNamespace(robustness=grid))
        between = finding(reasons=("score_between_thresholds",))
        assert not wording.flaws(between) and strength.error_rate_of(analysis, between) == rate
        uncertain = finding(reasons=("face_uncertain",))
        assert wording.flaws(uncertain) and strength.error_rate_of(analysis, uncertain) is None
        assert "no verdict" in strength.error_rate_words(analysis, uncertain)
        meaning = wording.score_meaning(0.97, (0.3, 0.7), "a test", flaws="it is blurred")
        assert "says nothing here" in meaning and "in 100" not in meaning

    def test_the_key_to_the_ratio_names_the_scale_that_is_used(self):
        for least, word in VERBAL_SCALE[2:]:
            assert f"{word} from {'a ratio of ' if word == 'weak' else ''}{least:,.0f}" in strength.RATIO_KEY

    def test_an_uncalibrated_score_is_no_probability(self):
        assert "no probability" in wording.score_meaning(0.9, (0.3, 0.7), "not fitted")


def test_bands():
    assert [band_of(*v) for v in ((0.0, 0.0), (0.9, 0.0), (0.0, 0.9), (0.9, 0.9))] == [0, 1, 2, 3]
