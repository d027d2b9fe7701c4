"""Which pixels of a heat map count as forged: a half, or a share of the hottest, as validation prefers."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.localization import map_metrics
from kfd.calibration.map_cut import fit_map_share, forged_pixels, overlap
from kfd.config import Decision


def faint(peak: float, count: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Maps that are hot where the forgery is, at `peak` at most, and half as hot around it."""
    masks = np.zeros((count, 16, 16))
    masks[:, 4:8, 4:8] = 1
    around = np.zeros_like(masks)
    around[:, 2:12, 2:12] = 0.5
    return peak * np.maximum(masks, around), masks


def test_maps_too_faint_for_a_half_are_cut_at_a_share_of_their_peak():
    maps, masks = faint(0.3)
    share, figures = fit_map_share(maps, masks)
    assert share is not None and 0.5 < share < 1
    assert figures == {"iou_at_half": 0.0, "iou": 1.0}
    assert map_metrics(maps, masks)["iou"] == 0 and map_metrics(maps, masks, share)["iou"] == 1


def test_a_half_stays_where_a_share_gains_nothing():
    maps, masks = faint(0.95)
    share, figures = fit_map_share(maps, masks)
    assert share is None and figures["iou"] == figures["iou_at_half"] == 1.0


def test_forged_pixels_follow_each_map_of_its_own():
    maps = np.array([[[0.1, 0.2], [0.4, 0.0]], [[0.9, 0.2], [0.4, 0.0]]])
    assert forged_pixels(maps, 0.5).tolist() == [
        [[False, True], [True, False]],
        [[True, False], [False, False]],
    ]
    assert forged_pixels(maps, None).sum() == 1
    flat = forged_pixels(maps.reshape(2, -1), 0.5)
    np.testing.assert_array_equal(flat, forged_pixels(maps, 0.5).reshape(2, -1))
    assert overlap(flat, flat).tolist() == [1, 1] and overlap(flat & False, flat & False).tolist() == [0, 0]


def test_a_share_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="map_share must lie in"):
        Decision(map_share=1.0)
