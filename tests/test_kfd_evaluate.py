"""python -m kfd.evaluate: figures per kind of fake, with intervals and the thresholds they stand for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tiny_faces import add_known_fakes, save_tiny_faces
from tiny_kfd import SIZE, save_tiny_kfd

from kfd import evaluate
from kfd.config import Decision
from kfd.storage import digest_of


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return save_tiny_kfd(tmp_path_factory.mktemp("kfd"), Decision(fake_above=0.8, real_below=0.2))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return add_known_fakes(
        save_tiny_faces(tmp_path_factory.mktemp("set"), SIZE, splits=("val", "test")), SIZE
    )


def run(monkeypatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["kfd.evaluate", *map(str, words)])
    evaluate.main()


def test_the_report_has_figures_intervals_and_thresholds(data, checkpoint, tmp_path, monkeypatch, capsys):
    """FIELD trap 3: the thresholds stand beside the rates they give, and beside AUC, AP, EER, TPR."""
    out = tmp_path / "figures.json"
    run(monkeypatch, "--data", data, "--split", "test", "--checkpoint", checkpoint, "--out", out)
    report = json.loads(out.read_text())
    assert report["split"] == "test" and report["fake_above"] == 0.8 and report["real_below"] == 0.2
    assert report["checkpoint_sha256"] == digest_of(checkpoint / "model.safetensors")
    assert report["results"].keys() == {"square", "all drawn", "simulated"}
    for kind, figures in report["results"].items():
        assert (figures["real"], figures["fake"]) == (4, 4), kind
        assert 0 <= figures["auc_low"] <= figures["auc"] <= figures["auc_high"] <= 1
        assert {"ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5"} <= figures.keys()
        rates = [figures[name] for name in ("real_called_fake", "fake_called_real", "inconclusive")]
        assert all(0 <= rate <= 1 for rate in rates)
    for kind in ("square", "simulated"):
        assert {"pixel_auc", "iou", "pointing"} <= report["results"][kind].keys(), "where the mask is known"
    printed = capsys.readouterr().out
    assert printed.startswith("| kind | real | fake | AUC |") and printed.count("\n| ") == 3


def test_the_same_command_gives_the_same_figures(data, checkpoint, tmp_path, monkeypatch):
    outs = [tmp_path / name for name in ("a.json", "b.json")]
    for out in outs:
        run(monkeypatch, "--data", data, "--checkpoint", checkpoint, "--out", out)
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_a_missing_split_is_one_sentence(data, checkpoint, monkeypatch):
    with pytest.raises(SystemExit, match=r"error: .*no split 'train'"):
        run(monkeypatch, "--data", data, "--split", "train", "--checkpoint", checkpoint)
