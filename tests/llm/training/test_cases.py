"""The faces that training talks about: judged, varied, mirrored, and shown to the prompts first."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_sim.dataset import FaceSet
from data_sim.dialogue import Case
from data_sim.simulate import SimulationConfig
from kfd.calibration.decision import decide
from kfd.detector import Detector, regions_to_name
from kfd.training.sampler import choose_reals
from llm.model import ForgeryLLM
from llm.training.align import align
from llm.training.cases import (
    Drawn,
    GroundedCases,
    ground,
    ground_known,
    ground_once,
    mirror_case,
    mirror_maps,
    vary,
)
from media.regions import REGION_NAMES, WHOLE_FACE
from tests.tiny.llm import detection


def test_ground_judges_each_face_real_and_forged(folder: Path) -> None:
    detector = Detector.from_pretrained(folder / "kfd")
    faces = ground(detector, FaceSet.open(folder / "set", "train"), num_faces=3, seed=0)
    assert faces.labels == (0, 0, 0, 1, 1, 1)
    assert all(bool(names) == bool(label) for names, label in zip(faces.forged, faces.labels, strict=True))
    assert faces.detection([0, 5]).heatmap.shape == (2, 1, 64, 64)
    for case, score in zip(faces.cases, faces.detections.score.tolist(), strict=True):
        assert case.verdict == decide(detector.decision, score)[0]


def test_known_fakes_bring_the_regions_that_the_set_names(folder: Path) -> None:
    detector = Detector.from_pretrained(folder / "kfd")
    faces = FaceSet.open(folder / "set", "train")
    row = {**faces.rows[1], "label": "fake", "regions": "left_eye|mouth"}
    found = ground_known(detector, replace(faces, rows=(faces.rows[0], row, *faces.rows[2:])), [1])
    assert found.labels == (1,) and found.forged == (("left_eye", "mouth"),)
    assert torch.equal(found.detections.score, detector(faces.read([1])[0]).score)


def test_judged_faces_are_remembered_until_something_changes(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    detector = Detector.from_pretrained(folder / "kfd")
    first = ground_once(tmp_path, detector, folder / "set", "train", 3, seed=0)
    with monkeypatch.context() as patch:
        patch.setattr("llm.training.cases.ground", lambda *args: pytest.fail("judged again"))
        again = ground_once(tmp_path, detector, folder / "set", "train", 3, seed=0)
    assert again.cases == first.cases and again.forged == first.forged
    torch.testing.assert_close(again.detections.heatmap, first.detections.heatmap)
    assert ground_once(tmp_path, detector, folder / "set", "train", 3, seed=1).forged != first.forged


@contextmanager
def counted_judging() -> Iterator[list[FaceSet]]:
    """The sets that are judged inside of it, each time."""
    judged: list[FaceSet] = []

    def watched(detector: Detector, faces: FaceSet, *rest: object) -> GroundedCases:
        judged.append(faces)
        return ground(detector, faces, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm.training.cases.ground", watched)
        yield judged


def test_faces_of_a_set_that_was_built_anew_are_judged_anew(folder: Path, tmp_path: Path) -> None:
    """Bug: what was found in the old set passed for the new one's, where it had as many faces."""
    detector = Detector.from_pretrained(folder / "kfd")
    data = shutil.copytree(folder / "set", tmp_path / "set")
    moved = shutil.copytree(folder / "set", tmp_path / "moved")
    with counted_judging() as judged:
        ground_once(tmp_path / "kept", detector, data, "val", 2, seed=0)
        ground_once(tmp_path / "kept", detector, moved, "val", 2, seed=0)
        assert len(judged) == 1
        np.save(data / "crops.npy", 255 - np.load(data / "crops.npy"))
        ground_once(tmp_path / "kept", detector, data, "val", 2, seed=0)
        assert len(judged) == 2


def test_judged_faces_and_what_is_said_of_them_belong_together(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    """Bug: killed between the two files, a run left the cases of one and the detections of another."""
    detector = Detector.from_pretrained(folder / "kfd")
    first = ground_once(tmp_path, detector, folder / "set", "train", 3, seed=0)

    def killed(*file: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("llm.training.cases.write_text", killed)
        ground_once(tmp_path, detector, folder / "set", "train", 3, seed=1)
    with counted_judging() as judged:
        again = ground_once(tmp_path, detector, folder / "set", "train", 3, seed=0)
    assert len(judged) == 1 and again.cases == first.cases


def test_faces_are_drawn_as_a_detector_would_and_forged_as_the_paper_does(folder: Path) -> None:
    """One frame of each video, regions only, pixels as they are; others are judged anew."""
    detector = Detector.from_pretrained(folder / "kfd")
    faces = FaceSet.open(folder / "set", "train")
    rows = tuple({**row, "video": str(i // 2)} for i, row in enumerate(faces.rows))
    two = replace(faces, rows=rows)
    paper = SimulationConfig(whole_face=0, swap=0, unaltered=1)
    drawn = Drawn(frames=1, degraded=False, simulation=paper)
    assert len(drawn.reals(two, 9, seed=0)) == 2
    assert drawn.reals(two, 1, seed=3) == choose_reals(two, 1, 3, frames=1)
    found = ground(detector, two, 9, 0, drawn)
    assert found.labels == (0, 0, 1, 1) and not any(WHOLE_FACE in names for names in found.forged)
    pristine = detector(two.read(drawn.reals(two, 9, seed=0))[0]).score
    torch.testing.assert_close(found.detections.score[:2], pristine, msg="nothing was degraded")


def test_text_never_says_more_than_map_and_verdict() -> None:
    strength = torch.zeros(len(REGION_NAMES))
    assert regions_to_name("fake", strength) == (), "a silent map names nothing"
    strength[REGION_NAMES.index("mouth")], strength[REGION_NAMES.index("nose")] = 0.9, 0.6
    assert regions_to_name("fake", strength) == ("mouth", "nose")
    assert regions_to_name("inconclusive", strength) == ("mouth", "nose")
    assert regions_to_name("real", strength) == ()


def test_the_mirror_image_has_left_and_right_exchanged() -> None:
    case = Case("fake", 0.9, ("left_eye", "nose", "right_cheek", "whole_face"))
    assert mirror_case(case).regions == ("right_eye", "nose", "left_cheek", "whole_face")
    assert mirror_case(mirror_case(case)) == case
    warm = replace(case, heat=(("left_eye", 0.8), ("nose", 0.3)))
    assert mirror_case(warm).heat == (("right_eye", 0.8), ("nose", 0.3))
    assert set(mirror_case(replace(case, regions=REGION_NAMES)).regions) == set(REGION_NAMES)
    found = detection(faces=2)
    turned = mirror_maps(found, torch.tensor([True, False]))
    torch.testing.assert_close(turned.heatmap[0], found.heatmap[0].flip(-1))
    torch.testing.assert_close(turned.heatmap[1], found.heatmap[1])


def test_alignment_teaches_the_prompts_to_say_the_regions(folder: Path) -> None:
    detector = Detector.from_pretrained(folder / "kfd")
    faces = ground(detector, FaceSet.open(folder / "set", "train"), num_faces=2, seed=0)
    cases = (
        Case("fake", 0.9, ("nose",)),
        Case("fake", 0.8, ("mouth",)),
        Case("real", 0.1),
        Case("real", 0.2),
    )
    seen = torch.zeros_like(faces.detections.heatmap)
    seen[0, :, 12:20, 12:20] = seen[1, :, 24:30, 8:24] = 1  # maps that differ, unlike a random detector's
    faces = replace(faces, cases=cases, detections=replace(faces.detections, heatmap=seen))
    model = ForgeryLLM.from_pretrained(folder / "assistant")
    first = align(model, faces, steps=1, lr=0.0, seed=0)
    assert align(model, faces, steps=60, lr=0.01, seed=0) < 0.7 * first


def test_some_cases_become_too_poor_for_a_verdict() -> None:
    rng = random.Random(0)
    case = Case("fake", 0.9, ("nose",))
    varied = [vary(case, rng) for _ in range(500)]
    assert sum(v == case for v in varied) > 375
    assert any(v.score is None for v in varied)
    assert any(v.verdict == "inconclusive" and v.score == 0.9 for v in varied)
