"""python -m evaluation.detector refuses splits that share people or pictures."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import measure
from evaluation.results import read_results
from tests.tiny.benchmark import FACES, edit_rows, face_set, run


def test_a_leaking_split_is_refused(checkpoint, tmp_path, monkeypatch):
    data = face_set(tmp_path / "set", ("train", "test"))
    words = (
        "--data",
        data,
        "--split",
        "test",
        "--checkpoint",
        checkpoint,
        "--num-resamples",
        5,
        "--simulated",
        0,
    )
    run(monkeypatch, *words)
    edit_rows(data, lambda number, row: {"group": "0"} if number == FACES else {})
    with pytest.raises(SystemExit, match=r"leaks into what the detector learnt from: train: group: 1"):
        run(monkeypatch, *words)
    run(monkeypatch, *words, "--allow-leaks", "--out", tmp_path / "a.json")
    results, _ = read_results(tmp_path / "a.json")
    assert results["data"]["leaks"] == {"group": 1} and results["note"].startswith("This split leaks")


def test_a_copied_picture_is_refused_and_a_few_look_alikes_are_left_out(checkpoint, tmp_path, monkeypatch):
    data = face_set(tmp_path / "set", ("train", "test"))
    crops = np.load(data / "crops.npy")
    crops[FACES] = np.clip(crops[0].astype(int) + 3, 0, 255)  # brighter: another file, the same picture
    np.save(data / "crops.npy", crops)
    words = (
        "--data",
        data,
        "--split",
        "test",
        "--checkpoint",
        checkpoint,
        "--num-resamples",
        5,
        "--simulated",
        0,
    )
    with pytest.raises(
        SystemExit, match=r"leaks into what the detector learnt from: train: near duplicate: 1"
    ):
        run(monkeypatch, *words)
    monkeypatch.setattr(measure, "MOST_LEFT_OUT", 0.2)
    run(monkeypatch, *words, "--out", tmp_path / "a.json")
    results, items = read_results(tmp_path / "a.json")
    assert len(items) == 2 * FACES - 1 and f"{FACES}.png" not in {item.path for item in items}
    assert {"split": "test", "reason": "near_duplicate_of_train", "count": 1} in results["failures"]
    crops[FACES] = crops[0]
    np.save(data / "crops.npy", crops)
    with pytest.raises(SystemExit, match=r"leaks into what the detector learnt from: train: identical: 1"):
        run(monkeypatch, *words)


def test_a_split_that_shares_people_with_validation_is_refused(checkpoint, tmp_path, monkeypatch):
    """Checkpoint and thresholds are chosen on val: a person of it in test was once let through."""
    data = face_set(tmp_path / "set", ("train", "val", "test"))
    words = ("--data", data, "--checkpoint", checkpoint, "--num-resamples", 5, "--simulated", 0)
    edit_rows(data, lambda number, row: {"group": str(FACES)} if number == 2 * FACES else {})
    with pytest.raises(SystemExit, match=r"what the detector learnt from: val: group: 1"):
        run(monkeypatch, *words, "--split", "test")
    run(monkeypatch, *words, "--split", "val", "--out", tmp_path / "a.json")
    assert read_results(tmp_path / "a.json")[0]["data"]["leaks"] == {}, "val is compared with train alone"


def test_leaks_are_looked_for_in_the_set_that_was_trained_on(checkpoint, tmp_path, monkeypatch):
    """Trained on one archive, measured on another that shows the same people: Celeb-DF v1 and v2 do."""
    learnt, data = face_set(tmp_path / "v2", ("train",)), face_set(tmp_path / "v1", ("test",))
    crops = np.load(data / "crops.npy")
    np.save(data / "crops.npy", np.ascontiguousarray(crops[:, :, :, ::-1] // 2 + crops[::-1] // 2))
    edit_rows(data, lambda number, row: {"group": f"other {row['group']}"})
    words = (
        "--data",
        data,
        "--split",
        "test",
        "--checkpoint",
        checkpoint,
        "--num-resamples",
        5,
        "--simulated",
        0,
    )
    run(monkeypatch, *words, "--out", tmp_path / "a.json")
    results, _ = read_results(tmp_path / "a.json")
    assert results["data"]["leaks"] is None and "Leaks were not looked for" in results["note"]
    words = (*words, "--trained-on", learnt)
    run(monkeypatch, *words, "--out", tmp_path / "a.json")
    results, _ = read_results(tmp_path / "a.json")
    assert results["data"]["leaks"] == {} and "not looked for" not in results["note"]
    edit_rows(learnt, lambda number, row: {"identity": "celebdf/id0"} if number == 0 else {})
    edit_rows(data, lambda number, row: {"identity": "celebdf/id0"} if number == 1 else {})
    with pytest.raises(SystemExit, match=r"what the detector learnt from: train: identity: 1"):
        run(monkeypatch, *words)
    with pytest.raises(SystemExit, match="has none of the splits train, val"):
        run(monkeypatch, *words[:-1], face_set(tmp_path / "tests", ("test",)))
