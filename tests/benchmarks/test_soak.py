"""A crowd of two before a page and a service of its own, and what counts as a mix-up."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from benchmarks.crowd import User, mix_ups, photograph, table
from benchmarks.service_load import STEPS, LoadConfig, load
from benchmarks.soak import SoakConfig, soak
from tests.tiny.checkpoint import save_tiny_checkpoint


def pair() -> list[User]:
    """Two users with the same picture, each told of their own case alone."""
    users = [User(number, photograph(0)) for number in range(2)]
    for user in users:
        user.said = [f"{user.name}: {user.secret}"]
        file = {"name": user.name, "sha256": hashlib.sha256(user.photo).hexdigest()}
        user.report = {"files": [{"file": file, "faces": [{"score": 0.25}]}]}
    return users


def test_users_of_different_pairs_bring_different_pictures():
    assert len({photograph(number) for number in range(16)}) == 16


def test_those_who_see_their_own_case_alone_are_not_mixed_up():
    assert mix_ups(pair()) == []


@pytest.mark.parametrize("thing", ["name", "secret", "file", "score"])
def test_a_mix_up_is_found(thing):
    first, second = pair()
    if thing in ("name", "secret"):
        first.said.append(f"and {getattr(second, thing)}")
    elif thing == "file":
        second.report["files"][0]["file"]["sha256"] = "0" * 64
    else:
        second.report["files"][0]["faces"][0]["score"] = 0.26
    assert len(mix_ups([first, second])) == 1
    assert "1 mix-ups" in table([first, second], {"before": 1.0}, STEPS)


def test_a_crowd_needs_somebody():
    for config in (SoakConfig, LoadConfig):
        with pytest.raises(ValueError, match="expected 1 or more"):
            config(users=0)


@pytest.mark.slow
def test_two_users_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.soak.CLOSED_SECONDS", 0.0)
    config = SoakConfig(2, save_tiny_checkpoint(tmp_path / "tiny"), timeout=60)
    users, memory = asyncio.run(soak(config))
    assert [user.failures for user in users] == [[], []] and mix_ups(users) == []
    assert all(len(times) in (1, 3) for user in users for times in user.seconds.values())
    assert memory["at most"] >= memory["before"] > 100


@pytest.mark.slow
def test_two_clients_at_once(tmp_path):
    users, memory = asyncio.run(load(LoadConfig(2, save_tiny_checkpoint(tmp_path / "tiny"), timeout=60)))
    assert [user.failures for user in users] == [[], []] and mix_ups(users) == []
    assert all(user.seconds.keys() == STEPS.keys() for user in users)
    assert len(users[0].seconds["answer"]) == 3 and memory["at most"] >= memory["before"] > 100
