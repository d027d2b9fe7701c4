"""The line before a model, and the shelf of finished cases."""

from __future__ import annotations

import time
from contextlib import ExitStack

import numpy as np
import pytest

from app.intake.line import Line, LineFull
from app.intake.shelf import Shelf


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

    def test_memory_is_bounded_but_for_one_case(self):
        shelf = Shelf(9, most_bytes=1000)
        for name in "abc":
            shelf.keep(name, np.zeros(100), name)
        assert len(shelf) == 1 and shelf.num_bytes() == 800
