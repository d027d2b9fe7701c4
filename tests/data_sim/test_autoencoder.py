"""python -m data_sim.autoencoder: a generator that is trained here, and faces re-rendered with it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from common.storage import read_weights
from data_sim import autoencoder, rerender
from data_sim.dataset import FaceSet
from data_sim.simulation.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    Discriminator,
    load_autoencoder,
    redraw,
)
from media.images import read_image
from tests.tiny.faces import photograph_crops, save_tiny_faces

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"
SIZE = 48
SMALL = ("--width", "8", "--batch", "4", "--patch", "32", "--threads", "1", "--save-every", "10")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return photograph_crops(save_tiny_faces(tmp_path_factory.mktemp("set"), SIZE), read_image(EXAMPLE))


def run(command, data: Path, out: Path, *words: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["command", "--data", str(data), "--out", str(out), *words])
        command.main()


def train(data: Path, out: Path, *words: str) -> None:
    run(autoencoder, data, out, *SMALL, *words)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train(data, out, "--steps", "120", "--lr", "0.002")
    return out


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
def test_pictures_keep_their_size(upsampling):
    model = Autoencoder(AutoencoderConfig(upsampling, width=8))
    images = torch.rand(2, 3, 24, 32)
    assert model(images).shape == images.shape
    assert model.encoder(images).shape == (2, 4, 6, 8)
    assert Discriminator(8)(images).shape == (2, 1, 6, 8)
    odd = np.full((37, 50, 3), 90, np.uint8)
    assert redraw(model.eval(), odd).shape == odd.shape


def test_transposed_convolutions_leave_a_grid_that_nearest_ones_do_not():
    """On a flat picture every second row differs only where a kernel overlaps itself unevenly."""

    def grid(upsampling: str) -> float:
        torch.manual_seed(0)
        decoder = Autoencoder(AutoencoderConfig(upsampling, width=8)).decoder[2:3]
        flat = decoder(torch.ones(1, 16, 16, 16))[0, :, 8:-8, 8:-8]
        return (flat[:, ::2] - flat[:, 1::2]).abs().mean().item()

    assert grid("transposed") > 0.01 > 1e-5 > grid("nearest")


def test_it_learns_to_draw_faces(data, trained):
    face = np.array(FaceSet.open(data, "train").crops[0])
    drawn = redraw(load_autoencoder(trained), face).astype(float)
    flat = np.abs(face - face.mean((0, 1))).mean()
    assert 0.5 < np.abs(drawn - face).mean() < 0.6 * flat


def test_the_discriminator_judges_from_half_of_the_steps_on(data, tmp_path, capsys):
    train(data, tmp_path / "out", "--steps", "50")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert "discriminator" not in lines[0] and "discriminator" in lines[-1]


def test_a_run_that_was_stopped_ends_with_the_same_weights(data, tmp_path, monkeypatch):
    train(data, tmp_path / "whole", "--steps", "20")
    real_save = autoencoder.storage.save_state

    def killed(state, path):
        real_save(state, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(autoencoder.storage, "save_state", killed)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "broken", "--steps", "20")
    monkeypatch.setattr(autoencoder.storage, "save_state", real_save)
    train(data, tmp_path / "broken", "--steps", "20")
    whole, broken = (read_weights(tmp_path / name) for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_patches_that_do_not_fit_are_refused(data, tmp_path):
    with pytest.raises(SystemExit, match="lower --patch"):
        train(data, tmp_path / "out", "--patch", "96")
    with pytest.raises(ValueError, match="multiple of 4"):
        autoencoder.TrainConfig(data, tmp_path / "out", patch=33)


def test_faces_are_re_rendered_with_it(data, trained, tmp_path, monkeypatch):
    """With a share of 1 Real-ESRGAN is not even asked for."""
    monkeypatch.setattr("data_sim.simulation.generator.find_spec", lambda name: None)
    out = tmp_path / "made"
    run(rerender, data, out, "--autoencoders", str(trained), "--autoencoder-share", "1", "--faces", "3")
    faces = FaceSet.open(out, "train")
    fakes = faces.where(label="fake", kind="re-rendered")
    assert len(fakes) == 3
    for fake in fakes:
        real, drawn = (faces.crops[faces.index[i]].astype(int) for i in (faces.pair_of(fake), fake))
        assert 0.1 < np.abs(real - drawn).mean() < 20
    train(data, tmp_path / "other", "--steps", "2")
    other = "--autoencoders", str(tmp_path / "other"), "--autoencoder-share", "1"
    with pytest.raises(SystemExit, match="other settings"):
        run(rerender, data, out, *other, "--faces", "3")


def test_what_is_no_autoencoder_is_named(data, tmp_path):
    with pytest.raises(SystemExit, match=r"config.json is missing"):
        run(rerender, data, tmp_path / "out", "--autoencoders", str(data / "nothing"))
    with pytest.raises(SystemExit, match="autoencoder_share"):
        run(rerender, data, tmp_path / "out", "--autoencoder-share", "2")
