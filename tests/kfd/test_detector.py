"""One finding per face; what must not be scored is not; a verdict follows the thresholds and nothing else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kfd import Detector, NoFaceError
from kfd.config import Decision
from kfd.detector import to_batch
from kfd.examine import examine_file
from kfd.quality.estimate import sharpness
from media.errors import Cancelled, check_wanted
from media.images import read_image
from media.regions import REGION_NAMES
from tests.tiny.kfd import SIZE, save_tiny_kfd, tiny_kfd

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Detector:
    return Detector.from_pretrained(save_tiny_kfd(tmp_path_factory.mktemp("kfd")))


@pytest.fixture(scope="module")
def pair() -> np.ndarray:
    """(200, 400, 3): the example's face, 92 pixels wide, and its mirror image."""
    photo = read_image(EXAMPLE)[30:230, 125:325]
    return np.concatenate([photo, photo[:, ::-1]], axis=1)


def under(detector: Detector, **decision: object) -> Detector:
    """The same weights under another decision."""
    return Detector(detector.model, Decision(**{"fitted_on": "a test"} | decision), detector.digest)


def test_every_face_is_judged_by_itself(detector, pair):
    """FIELD trap 11: several people in a frame each have their own score and map."""
    findings = detector.examine(pair)
    assert [finding.index for finding in findings] == [0, 1]
    assert {finding.box[0] < 200 for finding in findings} == {True, False}
    for finding in findings:
        assert set(finding.region_scores) == set(REGION_NAMES) and finding.crop.pixels.shape == (
            SIZE,
            SIZE,
            3,
        )
        alone = detector(to_batch([finding.crop.pixels]))
        assert finding.score == pytest.approx(float(alone.score), abs=1e-5)
        torch.testing.assert_close(finding.detection.heatmap, alone.heatmap, atol=1e-5, rtol=0)


def test_a_tiny_face_is_not_scored(detector, pair):
    """FIELD trap 4: what cannot be judged is inconclusive with a reason, never a score."""
    for finding in under(detector, min_face=120).examine(pair[:, :200]):
        assert finding.score is None and finding.detection is None and finding.region_scores == {}
        assert finding.verdict == "inconclusive" and finding.reasons == ("face_too_small",)


def test_a_blurred_face_gets_no_verdict(detector, pair):
    (finding,) = under(detector, min_sharpness=1e6).examine(pair[:, :200])
    assert finding.verdict == "inconclusive" and "blurred" in finding.reasons and finding.score is not None


def test_no_face_is_an_error_of_its_own(detector):
    """FIELD trap 4: a peer scores a picture without a face 0.0, that is, real."""
    with pytest.raises(NoFaceError, match="no face was found; use a picture") as caught:
        detector.examine(np.full((120, 120, 3), 128, np.uint8))
    assert caught.value.code == "no_face"


def test_the_score_is_the_calibrated_logit(detector):
    crops = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    detection = under(detector, slope=3.0, intercept=-0.5)(crops)
    torch.testing.assert_close(detection.score, torch.sigmoid(3 * detection.logit - 0.5))
    assert detection.heatmap.shape == (2, 1, SIZE, SIZE) and 0 <= detection.heatmap.min() <= 1
    second = detection[1]
    assert second.score.shape == (1,) and torch.equal(
        second.consistency_maps[0], detection.consistency_maps[0][1:]
    )


@pytest.mark.parametrize(
    "crops",
    [
        torch.rand(3, SIZE, SIZE),
        torch.rand(1, 3, SIZE, SIZE // 2),
        torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8),
    ],
)
def test_a_wrong_crop_is_refused(detector, crops):
    with pytest.raises(ValueError, match=r"expected \(B, \*\(3, 64, 64\)\) float in \[0, 1\], got"):
        detector(crops)


def test_the_digest_names_the_weights(detector, tmp_path):
    assert Detector.from_pretrained(save_tiny_kfd(tmp_path / "same")).digest == detector.digest
    assert Detector.from_pretrained(save_tiny_kfd(tmp_path / "other", seed=1)).digest != detector.digest
    assert not Detector(tiny_kfd().train(), Decision(), "").model.training


def test_sharpness_orders_pictures(pair):
    soft = cv2.GaussianBlur(pair, (0, 0), 3)
    assert sharpness(np.full((32, 32, 3), 90, np.uint8)) == 0 < sharpness(soft) < sharpness(pair)


def test_the_folded_tower_reads_the_same(detector):
    """Batch norms are folded into convolutions where a detector is loaded to read, not where one trains."""
    encoder = detector.model.encoder
    layers = [encoder.image_tower.conv_stem, *encoder.image_tower.layer]
    generator = torch.Generator().manual_seed(0)
    for layer in layers:  # statistics of a new network are those of nothing: any would fold to the same
        norm = layer.normalization
        norm.running_mean.copy_(0.1 * torch.randn(norm.running_mean.shape, generator=generator))
        norm.running_var.copy_(0.5 + torch.rand(norm.running_var.shape, generator=generator))
    names = list(detector.model.state_dict())
    encoder.fold()
    assert list(detector.model.state_dict()) == names, "checkpoints hold the weights once"
    for size in (SIZE, SIZE + 3):  # an odd side is padded otherwise
        images = torch.rand(2, 3, size, size, generator=generator)
        folded = detector.model(images)
        encoder.folded = None
        plain = detector.model(images)
        encoder.fold()
        torch.testing.assert_close(folded.logit, plain.logit, atol=1e-5, rtol=0)
        torch.testing.assert_close(folded.embedding, plain.embedding, atol=1e-5, rtol=0)
    encoder.train()
    assert encoder.folded is None, "what is trained must not be read with the weights of before"
    encoder.fold()


def test_a_photograph_that_nobody_waits_for_is_left(detector):
    """It is asked before the search and between the steps after it; a photograph has no frames to tell of."""
    asked: list[tuple[int, int]] = []

    def watch(done: int, of: int) -> None:
        asked.append((done, of))
        if len(asked) == stop:
            raise Cancelled

    stop = 0
    assert examine_file(detector, EXAMPLE, watch=watch).faces
    assert set(asked) == {(0, 0)} and len(asked) >= 3
    for stop in range(1, len(asked) + 1):
        asked.clear()
        with pytest.raises(Cancelled):
            examine_file(detector, EXAMPLE, watch=watch)
        assert len(asked) == stop
    check_wanted()  # nobody asks any more
