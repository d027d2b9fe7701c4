"""The sheet of Grad-CAM: several systems on the same fakes, at their own sizes, and the pointing game."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.checkpoint import new_system, save_system
from baselines.clip import ClipConfig
from baselines.convnets import ConvConfig
from data_sim.dataset import FaceSet
from evaluation import grad_cam
from evaluation.grad_cam import Seen, pointing, told, true_mask
from kfd.checkpoint import save_kfd
from kfd.config import Decision
from tests.tiny.faces import add_known_fakes, save_tiny_faces
from tests.tiny.kfd import SIZE, tiny_kfd


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return add_known_fakes(save_tiny_faces(tmp_path_factory.mktemp("set"), SIZE, 6, ("test",)), SIZE)


@pytest.fixture(scope="module")
def systems(tmp_path_factory) -> tuple[str, str]:
    """A KFD at the set's size, and a MesoNet-4 that sees half of it."""
    folder = tmp_path_factory.mktemp("systems")
    save_kfd(tiny_kfd(), folder / "kfd", Decision())
    torch.manual_seed(0)
    save_system(new_system(ConvConfig("mesonet4", image_size=SIZE // 2)), folder / "meso", Decision())
    return str(folder / "kfd"), str(folder / "meso")


def test_the_sheet_shows_every_system_beside_the_mask(data, systems, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    words = ["--data", data, "--out", out, "--faces", 3, "--measured", 6, "--checkpoints", *systems]
    grad_cam.main([str(word) for word in words])
    printed = capsys.readouterr().out
    assert "kfd: hottest place forged in" in printed and "meso: hottest place forged in" in printed
    assert "of 6 fakes" in printed
    width, height = Image.open(out).size
    assert width < 1.5 * height  # three columns and three rows
    with Image.open(out) as sheet:
        assert len(np.unique(np.asarray(sheet.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_a_map_that_points_into_the_mask_is_counted(data):
    faces = FaceSet.open(data, "test")
    fakes = faces.where(label="fake")
    masks = {i: true_mask(faces, i) for i in fakes}
    middle = np.zeros((len(fakes), SIZE, SIZE), np.float32)
    corner = middle.copy()
    middle[:, SIZE // 2, SIZE // 2] = 1
    corner[:, 0, 0] = 1
    scores = np.ones(len(fakes), np.float32)
    hit, share, count = pointing(Seen("a", middle, scores), faces, fakes, masks)
    missed, _, _ = pointing(Seen("b", corner, scores), faces, fakes, masks)
    assert (hit["value"], missed["value"], count) == (1.0, 0.0, 6)
    assert 0.04 < share < 0.2  # the bright square is a sixteenth, and its edge is soft
    assert told(None) == "no true mask is known"
    assert true_mask(faces, faces.where(label="real")[0]) is None


def test_what_cannot_be_shown_is_told(data, systems, tmp_path):
    kfd_folder = systems[0]
    words = ["--data", str(data), "--out", str(tmp_path / "sheet.png")]
    with pytest.raises(SystemExit, match="no fakes of morph; its kinds are"):
        grad_cam.main([*words, "--kinds", "morph"])
    probe = new_system(ClipConfig("clip-probe", "embedded"), kfd_folder, say=lambda note: None)
    save_system(probe, tmp_path / "probe", Decision())
    with pytest.raises(SystemExit, match="probe has no Grad-CAM; a KFD, sbi and mesonet4 have"):
        grad_cam.main([*words, "--checkpoints", f"{tmp_path / 'probe'}={kfd_folder}"])
