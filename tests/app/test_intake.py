"""The line before a model, faces of many visitors in one batch, and the shelf of finished cases."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import torch

from app.intake.batches import SharedDetector
from app.intake.line import Line, LineFull
from app.intake.shelf import Shelf
from kfd.calibration.familiar import Familiar
from kfd.detector import BATCH, Detector
from tests.tiny.kfd import save_tiny_kfd


def served(line: Line, clients: str) -> str:
    """The order in which clients are served who come in the order of `clients`, one at a time."""
    stacks, places = [], []
    for client in clients:
        stack = ExitStack()
        places.append((client, stack.enter_context(line.stand(client))))
        stacks.append(stack)
    order, left = "", dict(enumerate(places))
    while left:
        number = next(number for number, (_, place) in left.items() if place.ahead() == 0)
        order += left.pop(number)[0]
        stacks[number].close()
    return order


class TestLine:
    def test_nobody_waits_for_anothers_many_files(self):
        """First come, first served would let b wait for all of a's."""
        assert served(Line(1), "aaaaaab") == "abaaaaa"
        assert served(Line(1), "aaaabbcc") == "abcabcaa"

    def test_clients_with_one_file_are_served_as_they_came(self):
        assert served(Line(1), "cab") == "cab" and served(Line(2), "dcba") == "dcba"

    def test_one_who_comes_back_takes_turns_with_those_who_stayed(self):
        line = Line(1)
        assert served(line, "aaa") == "aaa"
        assert served(line, "ab") == "ab", "what a client had before does not count against it"

    def test_a_full_line_says_when_to_come_back(self):
        line = Line(1, longest=2)
        with line.stand("a"), line.stand("b"), line.stand("c"), pytest.raises(LineFull) as full:
            line._join("d")
        assert full.value.seconds >= 1 and len(line) == 0

    def test_one_client_cannot_fill_the_line(self):
        line = Line(1, longest=3, each=2)
        with line.stand("a"), line.stand("a"), line.stand("a"):
            with pytest.raises(LineFull):
                line._join("a")
            with line.stand("b") as place:
                assert place.ahead() == 1

    def test_longer_work_gives_way_to_those_in_line_but_not_for_ever(self):
        """Answers took the processor from 32 visitors who waited for their pictures: 41 s instead of 6."""
        line = Line(1)
        with line.stand("a"):
            line.give_way(30)  # one is served, nobody waits: at once
            with line.stand("b"):
                began = time.monotonic()
                line.give_way(0.2)
                assert time.monotonic() - began >= 0.2
                giving = threading.Thread(target=line.give_way, args=(30,))
                giving.start()
            giving.join(5)
            assert not giving.is_alive(), "b left the line"


class Watched(Detector):
    """A detector that waits in its first pass until it is let go on, and notes how many faces each has."""

    def __init__(self, detector: Detector):
        super().__init__(detector.model, detector.decision, detector.digest)
        self.begun, self.go_on, self.passes = threading.Event(), threading.Event(), []
        self.model.register_forward_pre_hook(self.note)

    def note(self, model, args):
        self.passes.append(len(args[0]))
        self.begun.set()
        assert self.go_on.wait(30)
        if args[0].isnan().any():
            raise FloatingPointError("a picture that no detector can read")


class TestBatches:
    @pytest.fixture
    def alone(self, tmp_path) -> Detector:
        return Detector.from_pretrained(save_tiny_kfd(tmp_path / "kfd"))

    @pytest.fixture
    def watched(self, alone) -> Watched:
        return Watched(alone)

    def asked(self, watched: Watched, crops: list[torch.Tensor]) -> list:
        """What each of several threads is told: the first begins, the others come while it is busy."""
        shared = SharedDetector(watched)
        with ThreadPoolExecutor(len(crops)) as pool:
            first = pool.submit(shared, crops[0])
            assert watched.begun.wait(30)
            others = [pool.submit(shared, crop) for crop in crops[1:]]
            while len(shared._waiting) < len(others):
                time.sleep(0.01)
            watched.go_on.set()
        return [future.exception() or future.result() for future in (first, *others)]

    def crops(self, detector: Detector, counts: list[int]) -> list[torch.Tensor]:
        torch.manual_seed(0)
        return [torch.rand(count, 3, detector.image_size, detector.image_size) for count in counts]

    def test_faces_that_wait_are_judged_in_one_pass_and_go_to_who_brought_them(self, watched):
        crops = self.crops(watched, [1, 2, 1, 3])
        found = self.asked(watched, crops)
        views = 2 if watched.decision.flip else 1
        assert watched.passes == [views, 6 * views]
        for crop, detection in zip(crops, found, strict=True):
            wanted = watched(crop)
            torch.testing.assert_close(detection.score, wanted.score)
            torch.testing.assert_close(detection.heatmap, wanted.heatmap)
            assert detection.heatmap.untyped_storage().nbytes() == detection.heatmap.nbytes, (
                "a view would keep the maps of all for as long as one is kept"
            )

    def test_a_detector_that_knows_what_is_strange_stays_one(self, alone):
        """A detector calibrated to withhold verdicts on strange pictures was refused by page and service."""
        width = alone.model.config.align_dim
        cloud = Familiar(torch.zeros(width), torch.eye(width))
        knows = Detector(alone.model, replace(alone.decision, max_strangeness=0.5), "", familiar=cloud)
        crops = self.crops(alone, [2])[0]
        torch.testing.assert_close(SharedDetector(knows)(crops).strangeness, knows(crops).strangeness)

    def test_no_pass_is_larger_than_one_visitors_may_be(self, watched):
        views = 2 if watched.decision.flip else 1
        found = self.asked(watched, self.crops(watched, [1, BATCH, BATCH, 1]))
        assert max(watched.passes) <= BATCH * views and len(found) == 4

    def test_one_picture_that_fails_spoils_no_others(self, watched):
        crops = self.crops(watched, [1, 1, 1])
        crops[1][:] = torch.nan
        first, bad, good = self.asked(watched, crops)
        assert isinstance(bad, FloatingPointError)
        assert len(first.score) == len(good.score) == 1


class TestShelf:
    def test_the_owner_of_most_loses_first(self):
        gone: list[str] = []
        shelf = Shelf(3, put_away=gone.append)
        for name, owner in (("b1", "b"), ("a1", "a"), ("a2", "a"), ("a3", "a")):
            shelf.keep(name, name, owner)
        assert gone == ["a1"] and shelf.get("b1", "b") == "b1"

    def test_a_case_is_its_owners_alone(self):
        shelf = Shelf(3)
        shelf.keep("x", "case", "a")
        assert shelf.get("x", "b") is None and shelf.get("x", "a") == "case"

    def test_what_is_used_goes_in_its_time_all_the_same(self):
        shelf = Shelf(3, seconds=0.05)
        shelf.keep("x", "case", "a")
        assert shelf.get("x", "a") == "case"
        time.sleep(0.06)
        assert shelf.get("x", "a") is None and len(shelf) == 0

    def test_a_case_that_grew_stays_and_another_goes(self):
        """Bug: a case of many photographs was put away itself while they were examined."""
        shelf = Shelf(9, most_bytes=1500)
        for name, size in (("a", 100), ("b", 50), ("a", 150)):
            shelf.keep(name, np.zeros(size), name)
        assert shelf.get("a", "a").size == 150 and shelf.get("b", "b") is None

    def test_memory_is_bounded_but_for_one_case(self):
        shelf = Shelf(9, most_bytes=1000)
        for name in "abc":
            shelf.keep(name, np.zeros(100), name)
        assert len(shelf) == 1 and shelf.num_bytes() == 800
