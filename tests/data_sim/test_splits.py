"""Document 001's split, leaky and clean."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from data_sim import splits
from data_sim.dataset import COLUMNS
from data_sim.splits import SplitsConfig, people, split_again

PEOPLE, FRAMES = 30, 6


def rows_of(pairs: int = PEOPLE // 2, frames: int = FRAMES) -> list[dict[str, str]]:
    """FF++'s shape: people in pairs who were exchanged both ways, by two methods."""
    rows = []
    for pair in range(pairs):
        for target, source in ((2 * pair, 2 * pair + 1), (2 * pair + 1, 2 * pair)):
            videos = [("real", "", f"{target:03}", f"ffpp/{target:03}")]
            name = f"{target:03}_{source:03}"
            videos += [
                ("fake", kind, name, f"ffpp/{target:03}|ffpp/{source:03}")
                for kind in ("FaceSwap", "NeuralTextures", "Deepfakes")
            ]
            for label, kind, video, identity in videos:
                for frame in range(frames):
                    row = {
                        "path": f"{kind or 'real'}/{video}/{frame}.png", "split": "train", "label": label,
                        "kind": kind, "source": "ffpp-c23", "group": f"ffpp/{2 * pair:03}_{2 * pair + 1:03}",
                        "video": video, "identity": identity, "frame": str(frame),
                    }  # fmt: skip
                    rows.append(dict.fromkeys(COLUMNS, "") | row)
    return rows


def config(by: str) -> SplitsConfig:
    return SplitsConfig(Path("a.csv"), Path("b.csv"), by=by)


def test_by_person_nobody_is_in_two_splits():
    rows = rows_of()
    kept = split_again(rows, config("person"))
    sets = {split: people(kept, split) for split in ("train", "val", "test")}
    assert (
        not sets["train"] & sets["test"]
        and not sets["train"] & sets["val"]
        and not sets["val"] & sets["test"]
    )
    assert {row["kind"] for row in kept if row["split"] == "test"} == {"", "NeuralTextures"}
    assert {row["kind"] for row in kept if row["split"] == "train"} == {"", "FaceSwap"}


def test_document_001s_own_split_has_its_counts_and_its_leak():
    rows = rows_of()
    kept = split_again(rows, config("video"))
    count = {
        (split, kind): len({row["video"] for row in kept if row["split"] == split and row["kind"] == kind})
        for split in ("train", "val", "test")
        for kind in ("", "FaceSwap", "NeuralTextures")
    }
    assert [count[s, ""] for s in ("train", "val", "test")] == [24, 3, 3]
    assert [count[s, "FaceSwap"] for s in ("train", "val", "test")] == [27, 3, 0]
    assert count["test", "NeuralTextures"] == 30
    assert len(people(kept, "train") & people(kept, "test")) >= 27
    by_frame = [row for row in split_again(rows, config("frame")) if not row["kind"]]
    seen = {s: {row["video"] for row in by_frame if row["split"] == s} for s in ("train", "test")}
    assert seen["train"] & seen["test"]  # frames of one video on both sides


@pytest.mark.parametrize("by", ["frame", "person"])
def test_a_kind_on_both_sides_is_dealt_out_to_all_splits(by):
    settings = {"train_kinds": ("FaceSwap",), "test_kinds": ("FaceSwap",), "test": 0.2}
    kept = split_again(rows_of(), replace(config(by), **settings))
    reals, fakes = (Counter(r["split"] for r in kept if r["label"] == which) for which in ("real", "fake"))
    assert {row["kind"] for row in kept} == {"", "FaceSwap"} and len(kept) == 2 * PEOPLE * FRAMES
    assert reals == fakes and fakes["test"] == pytest.approx(0.2 * PEOPLE * FRAMES, abs=FRAMES)
    assert bool(people(kept, "train") & people(kept, "test")) == (by == "frame")


def test_only_the_sources_asked_for_are_split():
    other = [row | {"source": "other", "path": f"other/{row['path']}"} for row in rows_of()]
    kept = split_again([*rows_of(), *other], replace(config("video"), sources=("ffpp-c23",)))
    assert kept == split_again(rows_of(), config("video"))
    with pytest.raises(ValueError, match="no source nobody's; the manifest has"):
        split_again(other, replace(config("video"), sources=("nobody's",)))


def test_the_command_writes_a_manifest_that_build_reads(tmp_path, capsys):
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "landmarks"], restval="")
        writer.writeheader()
        writer.writerows(rows_of())
    splits.main([str(tmp_path / "manifest.csv"), "--out", str(tmp_path / "clean.csv")])
    assert "0 people are in train and in test" in capsys.readouterr().out
    with (tmp_path / "clean.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert {row["split"] for row in found} == {"train", "val", "test"} and "landmarks" in found[0]
    with pytest.raises(SystemExit, match="no fakes of the kind Nobody"):
        words = [tmp_path / "manifest.csv", "--out", tmp_path / "x.csv", "--test-kinds", "Nobody"]
        splits.main([str(word) for word in words])
