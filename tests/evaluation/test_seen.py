"""Figures on kinds of forgery that were trained on, and on those that were not, are told apart."""

from __future__ import annotations

import csv
import json
import sys

import pytest

from data_sim.dataset import FaceSet
from evaluation import detector as evaluate
from evaluation.results import Item
from evaluation.seen import by_seen, seen_in_training
from kfd.checkpoint import save_kfd
from kfd.config import Decision
from kfd.training.record import TRAINED_FILE, read_worlds, save_worlds
from tests.tiny.faces import add_known_fakes, save_tiny_faces
from tests.tiny.kfd import SIZE, tiny_kfd

WORLDS = {("real", "web", ""): 9, ("fake", "web", "swap"): 4}


def item(label: str, kind: str, source: str, number: int) -> Item:
    return Item(
        f"{source}{kind}{number}", label, kind, source, f"{source}{number}", "", "", 0.0, 0.5, "inconclusive"
    )


def test_kinds_and_sources_are_told_by_the_record():
    items = [
        item(label, kind, source, number)
        for number in range(2)
        for label, kind, source in (
            ("real", "", "web"), ("fake", "swap", "web"), ("fake", "new", "web"),
            ("real", "", "phone"), ("fake", "other", "phone"), ("real", "", "quiet"),
            ("fake", "simulated", "web"), ("real", "simulated", "web"),
        )
    ]  # fmt: skip
    found = seen_in_training(items, WORLDS)
    assert found["swap"] == {"kind": "yes", "source": "yes"}
    assert found["new"] == {"kind": "no", "source": "yes"}
    assert found["all web"] == {"kind": "some", "source": "yes"}
    assert found["all phone"] == {"kind": "no", "source": "no"}
    assert found["all quiet"] == {"source": "no"}, "a source of real faces alone has no kind"
    assert "simulated" not in found


def test_a_mean_over_kinds_counts_each_once():
    """A kind with many test images would otherwise be the whole figure."""

    def level(fake: int, auc: float, missed: float) -> dict[str, object]:
        values = {"auc": auc, "fake_called_real": missed, "inconclusive_fake": 0.1, "real_called_fake": 0.0}
        return {"fake": fake} | {name: {"value": value} for name, value in values.items()}

    frame = {"a": level(1000, 0.5, 0.7), "b": level(10, 0.9, 0.1), "c": level(5, 0.6, 0.4), "all web": {}}
    words = {"a": "yes", "b": "yes", "c": "no", "all web": "some"}
    found = by_seen(frame, {name: {"kind": word} for name, word in words.items()})
    assert (found["yes"]["kinds"], found["yes"]["fake"]) == (2, 1010)
    assert found["yes"]["auc"]["value"] == pytest.approx(0.7)
    assert found["yes"]["fake_called_fake"]["value"] == pytest.approx((0.2 + 0.8) / 2)
    assert found["no"]["auc"]["value"] == pytest.approx(0.6)


def test_the_record_of_a_run_holds_those_before(tmp_path):
    rows = [dict(zip(("label", "source", "kind"), world, strict=True)) for world in WORLDS for _ in range(2)]
    assert read_worlds(tmp_path) is None
    save_worlds(tmp_path, rows, {("fake", "web", "swap"): 7, ("fake", "old", "blend"): 3})
    assert read_worlds(tmp_path) == {
        ("real", "web", ""): 2, ("fake", "web", "swap"): 7, ("fake", "old", "blend"): 3,
    }  # fmt: skip
    (tmp_path / TRAINED_FILE).write_text('{"faces": [{"label": "fake"}]}')
    with pytest.raises(ValueError, match="no record of training faces"):
        read_worlds(tmp_path)


def test_the_command_says_what_was_trained_on(tmp_path, monkeypatch, capsys):
    data = add_known_fakes(save_tiny_faces(tmp_path / "set", SIZE, 6, ("train", "test")), SIZE)
    with (data / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (data / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for i, row in enumerate(rows):
            other = row["label"] == "fake" and row["split"] == "test" and i % 2
            writer.writerow(row | {"kind": "unknown" if other else row["kind"]})
    save_kfd(tiny_kfd(), tmp_path / "kfd", Decision())
    save_worlds(tmp_path / "kfd", FaceSet.open(data, "train").rows, None)
    words = ["--data", data, "--split", "test", "--checkpoint", tmp_path / "kfd", "--simulated", 0,
             "--num-resamples", 5, "--allow-leaks", "--out", tmp_path / "figures.json"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["evaluation.detector", *map(str, words)])
    evaluate.main()
    seen = json.loads((tmp_path / "figures.json").read_text())["seen"]
    assert seen["square"]["kind"] == "yes" and seen["unknown"]["kind"] == "no"
    printed = capsys.readouterr().out
    assert "Kinds seen in training and not" in printed
    assert "kind trained on | source trained on |" in printed
