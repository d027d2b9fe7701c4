"""API keys of the service, of which digests are kept."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.service.access import ApiKeys, digest_of_key


def test_a_made_key_opens_and_only_its_digest_is_kept(tmp_path):
    command = [sys.executable, "-m", "app.service.access", "ann", "--file", str(tmp_path / "keys.txt")]
    key = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    text = (tmp_path / "keys.txt").read_text()
    assert key not in text and ApiKeys.parse(text).name_of(key) == "ann"
    assert ApiKeys.parse(text).name_of(key + "x") is None
    assert subprocess.run(command, capture_output=True).returncode == 2, "the name is taken"


def test_those_of_the_environment_count_too(monkeypatch, tmp_path):
    (tmp_path / "keys.txt").write_text(f"# ours\nann:{digest_of_key('a')}\n")
    monkeypatch.setenv("UNMASK_API_KEYS", f"bob:{digest_of_key('b')}")
    keys = ApiKeys.load(tmp_path / "keys.txt")
    assert (keys.name_of("a"), keys.name_of("b"), len(keys)) == ("ann", "bob", 2)


@pytest.mark.parametrize("text", ["ann", "ann:secret", f"a:{'0' * 64} a:{'1' * 64}"])
def test_anything_else_is_refused_and_not_repeated(text):
    with pytest.raises(ValueError, match="NAME:DIGEST") as refused:
        ApiKeys.parse(text)
    assert "secret" not in str(refused.value)


def test_open_to_others_without_keys_it_does_not_start():
    command = [sys.executable, "-m", "app.serve", "--host", "0.0.0.0", "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2 and "API keys are needed" in ended.stderr
