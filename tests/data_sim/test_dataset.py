"""A built set is read as it was written, and its batches pair each forgery with its own real face."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_sim.dataset import FaceSet, difference_mask, faces_digest, training_batch
from tests.tiny.faces import BORDER, add_known_fakes, save_tiny_faces

SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return add_known_fakes(save_tiny_faces(tmp_path_factory.mktemp("set"), SIZE))


def test_a_split_holds_its_rows_only(folder):
    """FIELD trap 2: what is not in the split cannot be read through it."""
    train, val = FaceSet.open(folder, "train"), FaceSet.open(folder, "val")
    assert len(train) == len(val) == 8 and train.size == SIZE and train.border == BORDER
    assert not {row["path"] for row in train.rows} & {row["path"] for row in val.rows}
    assert {row["split"] for row in val.rows} == {"val"}


def test_a_fake_finds_its_pristine_face(folder):
    for split in ("train", "val"):
        faces = FaceSet.open(folder, split)
        for fake in faces.where(label="fake"):
            pair = faces.pair_of(fake)
            assert (
                faces.rows[pair]["label"] == "real" and faces.rows[pair]["group"] == faces.rows[fake]["group"]
            )
        assert all(faces.pair_of(real) is None for real in faces.where(label="real"))


def test_read_gives_the_centre_and_follows_the_shift(folder):
    faces = FaceSet.open(folder, "val")
    images, landmarks = faces.read([0, 1])
    stored = np.load(folder / "crops.npy")[faces.index[:2]]
    inner = slice(BORDER, BORDER + SIZE)
    assert np.array_equal((images * 255).round().byte().permute(0, 2, 3, 1), stored[:, inner, inner])
    shift = torch.tensor([[BORDER, -BORDER], [0, 1]])
    moved, points = faces.read([0, 1], shift)
    assert torch.equal(moved[0, :, BORDER:, :-BORDER], images[0, :, :-BORDER, BORDER:])
    torch.testing.assert_close(points, landmarks - shift[:, None].float())


def test_a_folder_that_is_no_set_is_said(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no face set.*python -m data_sim\.build"):
        FaceSet.open(tmp_path, "train")
    with pytest.raises(ValueError, match=r"no split 'test'; it has \['train', 'val'\]"):
        FaceSet.open(folder, "test")


def test_a_digest_tells_a_set_by_its_content(folder, tmp_path):
    """Wherever it lies; of several splits each counts."""
    train, val = FaceSet.open(folder, "train"), FaceSet.open(folder, "val")
    moved = FaceSet.open(shutil.copytree(folder, tmp_path / "moved"), "train")
    assert faces_digest(moved) == faces_digest(train, None) != faces_digest(train, val)
    masks = np.zeros((1, *train.crops.shape[1:3]), np.uint8)
    rows = ({**train.rows[0], "mask": "0"}, *train.rows[1:])
    masked = [replace(train, rows=rows, masks=masks + value) for value in (0, 255)]
    changed = replace(train, crops=255 - train.crops), replace(train, landmarks=train.landmarks + 1)
    assert len({faces_digest(faces) for faces in (train, val, *changed, *masked)}) == 6


def test_the_difference_mask_finds_the_pasted_place(folder):
    """Also under the noise that compression leaves everywhere."""
    faces = FaceSet.open(folder, "train")
    fakes = faces.where(label="fake")
    real, fake = faces.read([faces.pair_of(i) for i in fakes])[0], faces.read(fakes)[0]
    noise = 0.02 * torch.randn(fake.shape, generator=torch.Generator().manual_seed(0))
    mask = difference_mask(real, (fake + noise).clamp(0, 1))
    truth = torch.zeros_like(mask, dtype=torch.bool)
    truth[..., 24:40, 24:40] = True
    found = mask > 0.5
    assert (found & truth).sum() / (found | truth).sum() > 0.7
    assert difference_mask(real, real).max() == 0


def test_known_fakes_come_first_and_the_rest_is_simulated(folder):
    faces = FaceSet.open(folder, "train")
    fakes = faces.where(label="fake")[:2]
    reals = [faces.pair_of(i) for i in fakes] + faces.where(label="real")[2:]
    images, landmarks = faces.read(reals)

    def draw(seed: int):
        generator = torch.Generator().manual_seed(seed)
        known = faces.read(fakes)[0], torch.tensor([True, False])
        return training_batch(images, landmarks, generator, None, *known, strength=0.0)

    batch = draw(0)
    assert batch.aligned.tolist() == [True, False, True, True]
    assert (batch.masks[1] == 1).all(), "a fake without a pixel-aligned original is fake as a whole"
    assert 0 < batch.masks[0].mean() < 0.3
    untouched = (batch.masks == 0).expand_as(batch.real)
    apart = (batch.real - batch.fake).abs()
    assert apart[untouched].max() < 0.1 < apart[0].max(), "a pair is alike but for the forgery"
    # Not to the last bit: vectorised sums depend on where the allocator put a tensor.
    torch.testing.assert_close(draw(0).fake, batch.fake, atol=1e-4, rtol=0)
    assert (draw(1).fake - batch.fake).abs().max() > 0.01
