"""Regions: one fixed list, true outlines, the person's own left, scores and names that follow the map."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from media.regions import (
    MAX_NAMED,
    PART_NAMES,
    REGION_NAMES,
    REGIONS,
    WHOLE_FACE,
    convex_hull,
    named_regions,
    region_masks,
    region_scores,
    with_forehead,
)
from tests.tiny.faces import drawn_landmarks

SIZE = 96


@pytest.fixture
def landmarks() -> torch.Tensor:
    """(1, 68, 2) of an upright face that fills the picture."""
    return torch.from_numpy(drawn_landmarks(SIZE))[None]


def scores_of(**values: float) -> torch.Tensor:
    """(R,) region scores, zero where not given."""
    return torch.tensor([values.get(name, 0.0) for name in REGION_NAMES])


def test_the_list_is_fixed():
    """Models, dialogues and reports all spell these names; a change breaks shipped checkpoints."""
    assert REGION_NAMES == (
        "left_eye", "right_eye", "left_eyebrow", "right_eyebrow", "nose", "mouth",
        "left_cheek", "right_cheek", "chin", "forehead", "whole_face",
    )  # fmt: skip
    assert all(region.words == region.name.replace("_", " ") for region in REGIONS)
    assert (*PART_NAMES, WHOLE_FACE) == REGION_NAMES


def test_hull_equals_opencv():
    rng = np.random.default_rng(0)
    points = rng.uniform(8, SIZE - 8, (4, 9, 2)).round().astype(np.float32)
    ours = convex_hull(torch.from_numpy(points), SIZE)
    for hull, corners in zip(ours.numpy(), points, strict=True):
        expected = cv2.fillConvexPoly(
            np.zeros((SIZE, SIZE), np.uint8), cv2.convexHull(corners).astype(np.int32), 1
        )
        overlap = ((hull > 0.5) & (expected > 0)).sum() / ((hull > 0.5) | (expected > 0)).sum()
        assert overlap > 0.93, "32 directions and a pixel of border are all that may differ"


def test_hull_margin_and_softness():
    square = torch.tensor([[[30.0, 30.0], [60.0, 30.0], [60.0, 60.0], [30.0, 60.0]]])
    wider = convex_hull(square, SIZE, margin=torch.tensor([5.0]))
    assert wider[0, 45, 64] == 1 and convex_hull(square, SIZE)[0, 45, 64] == 0
    soft = convex_hull(square, SIZE, soft=10.0)[0, 45]
    assert 0 < soft[58] < 1 and 0 < soft[62] < 1 and soft[45] == 1 and soft[70] == 0


def test_left_is_the_persons_own_left(landmarks):
    """In an upright photo the person's left is on the viewer's right."""
    masks = region_masks(landmarks, SIZE)[0]
    columns = torch.arange(SIZE, dtype=torch.float32)
    centre = {
        name: float((mask.sum(0) * columns).sum() / mask.sum())
        for name, mask in zip(REGION_NAMES, masks, strict=True)
    }
    for part in ("eye", "eyebrow", "cheek"):
        assert centre[f"left_{part}"] > SIZE / 2 > centre[f"right_{part}"]


def test_masks_lie_where_a_face_has_its_parts(landmarks):
    masks = dict(zip(REGION_NAMES, region_masks(landmarks, SIZE)[0], strict=True))
    rows = torch.arange(SIZE, dtype=torch.float32)
    height = {name: float((mask.sum(1) * rows).sum() / mask.sum()) for name, mask in masks.items()}
    order = ("forehead", "left_eyebrow", "left_eye", "nose", "mouth", "chin")
    assert sorted(order, key=height.get) == list(order)
    for name in ("left_eye", "nose", "mouth", "left_cheek"):
        inside = (masks[name] * masks[WHOLE_FACE]).sum() / masks[name].sum()
        assert inside > 0.95, f"{name} must lie in the whole face"


def test_forehead_rises_with_the_face(landmarks):
    """Upside down, the forehead is below the brows: "up" is the face's, not the picture's."""
    assert (with_forehead(landmarks)[0, 68:, 1] < landmarks[0, 17:27, 1]).all()
    turned = SIZE - landmarks
    assert (with_forehead(turned)[0, 68:, 1] > turned[0, 17:27, 1]).all()
    with pytest.raises(ValueError, match=r"expected \(B, 68, 2\), got \(1, 5, 2\)"):
        with_forehead(torch.zeros(1, 5, 2))


def test_scores_equal_the_mean_inside_each_region(landmarks):
    heatmap = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    masks = region_masks(landmarks, SIZE)
    expected = (heatmap * masks).flatten(2).sum(2) / masks.flatten(2).sum(2)
    torch.testing.assert_close(region_scores(heatmap, landmarks), expected)
    even = region_scores(torch.full((1, 1, SIZE, SIZE), 0.3), landmarks)
    torch.testing.assert_close(even, torch.full((1, len(REGIONS)), 0.3))
    outside = region_scores(heatmap, landmarks + 10 * SIZE)
    assert (outside == 0).all(), "a region outside the crop has no pixels to score"


def test_the_forged_region_is_the_one_named(landmarks):
    for name in ("left_eye", "nose", "mouth", "chin"):
        mask = region_masks(landmarks, SIZE)[:, REGION_NAMES.index(name)]
        assert named_regions(region_scores(0.95 * mask[:, None], landmarks)[0])[0] == name


def test_names_are_strongest_first_and_few():
    assert named_regions(scores_of(mouth=0.7, nose=0.9, left_eye=0.8, whole_face=0.3)) == (
        "nose",
        "left_eye",
        "mouth",
    )
    assert named_regions(scores_of(mouth=0.95, nose=0.05)) == ("mouth",)
    assert named_regions(scores_of()) == (), "an empty map points nowhere"
    many = scores_of(left_eye=0.9, right_eye=0.9, nose=0.9, mouth=0.9)
    assert len(named_regions(many)) <= MAX_NAMED


def test_a_map_that_singles_nothing_out_is_the_whole_face():
    assert named_regions(torch.full((len(REGIONS),), 0.9)) == (WHOLE_FACE,)
