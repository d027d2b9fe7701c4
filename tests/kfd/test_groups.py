"""Files that are worked on together, and processes that share them; what a file ends costs no other."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kfd.detector import Detector
from kfd.scoring import lines as scoring
from kfd.scoring.processes import in_processes
from media.images import read_image
from tests.tiny.kfd import save_tiny_kfd

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Detector:
    return Detector.from_pretrained(save_tiny_kfd(tmp_path_factory.mktemp("kfd")))


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """Two faces in one photograph."""
    path = tmp_path_factory.mktemp("album") / "two.png"
    photo = read_image(EXAMPLE)[30:230, 125:325]
    Image.fromarray(np.concatenate([photo, photo[:, ::-1]], axis=1)).save(path)
    return path


@pytest.fixture(scope="module")
def wall(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("wall") / "wall.png"
    Image.new("RGB", (120, 120), "grey").save(path)
    return path


@pytest.fixture
def batches(monkeypatch) -> list[int]:
    """How many faces each batch has had."""
    sizes: list[int] = []
    call = Detector.__call__
    monkeypatch.setattr(
        Detector, "__call__", lambda self, crops: sizes.append(len(crops)) or call(self, crops)
    )
    return sizes


def group_of(*paths: Path) -> scoring.Group:
    return tuple(scoring.Task(path, named=True) for path in paths)


def test_faces_of_several_files_are_judged_in_one_batch(two, detector, batches):
    """Each file had a batch of its own."""
    together = scoring.lines_of_group(group_of(two, two, two), detector)
    assert batches == [6] and together == [scoring.lines_of(two, detector)] * 3


def test_pixels_that_wait_for_a_batch_are_bounded(two, detector, batches, monkeypatch):
    monkeypatch.setattr(scoring, "HELD", 1)
    scoring.lines_of_group(group_of(two, two, two), detector)
    assert batches == [2, 2, 2]


def test_a_face_that_cannot_be_judged_costs_no_other_of_its_batch(two, wall, detector, monkeypatch):
    judge = Detector.judge_all

    def faulty(self, pictures):
        if any(len(views) == 2 for views in pictures):
            raise FloatingPointError("no number")
        return judge(self, pictures)

    monkeypatch.setattr(Detector, "judge_all", faulty)
    (bad,), (none,) = scoring.lines_of_group(group_of(two, wall), detector)
    assert bad["reasons"] == ["internal_error"] and none["reasons"] == ["no_face"]


def test_a_group_depends_on_names_alone_and_a_video_is_one_by_itself():
    names = [*(f"{number}.jpg" for number in range(scoring.GROUP + 1)), "a.mp4", "b.mts", "c.png"]
    groups = list(scoring.groups_of(scoring.Task(Path(name)) for name in names))
    assert [len(group) for group in groups] == [scoring.GROUP, 1, 1, 1, 1]
    assert [str(task.path) for group in groups for task in group] == names


class Fragile:
    """Work that ends the process on "die", the first time or always."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self):
        return self.work

    def work(self, group: tuple[str, ...]) -> list[str]:
        for task in group:
            marker = self.folder / task
            if task == "die" or (task == "once" and not marker.exists()):
                marker.touch()
                os._exit(9)
        return [task.upper() for task in group]


def test_a_process_that_dies_costs_at_most_its_file(tmp_path):
    groups = [("a",), ("once", "b"), ("c", "die", "d"), tuple("efg")]
    results = list(in_processes(groups, 2, Fragile(tmp_path), lambda task: f"gave up {task}"))
    tasks = [task for group in groups for task in group]
    assert results == [(task, f"gave up {task}" if task == "die" else task.upper()) for task in tasks]
    assert list(in_processes([], 2, Fragile(tmp_path), str)) == []


class Broken:
    """Work that cannot begin."""

    def __call__(self):
        raise FileNotFoundError("no weights here")


def test_a_process_that_cannot_begin_ends_the_run_with_its_reason():
    """Every file had a line that blamed the file: a library that read it had ended its process."""
    with pytest.raises(ValueError, match="a process could not begin: FileNotFoundError: no weights here"):
        list(in_processes([("a",), ("b",)], 2, Broken(), str))
