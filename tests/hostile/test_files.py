"""More than 500 hostile files through the real command's own loop: a line each, in time, in little memory,
and no verdict on what did not decode.

    python -m pytest tests/hostile/test_files.py --hostile 5000
"""

from __future__ import annotations

import json
import math
import resource
import time

import pytest

from kfd.scoring.lines import lines_of
from media.decoding.sandbox import PASS_SECONDS, PHOTO_SECONDS
from tests.hostile.mutations import Hostile, hostile_files

OWN_MEMORY = 2**29  # bytes that this process may grow by: what files ask for is asked for elsewhere


def peaks() -> tuple[int, int]:
    """The most memory that this process and any that it waited for ever had, in bytes."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    own, children = (resource.getrusage(who).ru_maxrss * 1024 for who in whose)
    return own, children


@pytest.fixture(scope="module")
def before() -> tuple[int, int]:
    """The peaks that tests of other files left behind in the same process."""
    return peaks()


@pytest.fixture(scope="module")
def outcomes(
    before, detector, tmp_path_factory, request
) -> list[tuple[Hostile, list[dict[str, object]], float]]:
    """Every file with its lines and its seconds."""
    folder, found = tmp_path_factory.mktemp("hostile"), []
    count = request.config.getoption("--hostile")
    for hostile in hostile_files(count, request.config.getoption("--hostile-seed")):
        path = folder / hostile.name
        path.write_bytes(hostile.data)
        started = time.monotonic()
        lines = lines_of(path, detector)
        found.append((hostile, lines, time.monotonic() - started))
        path.unlink()
    return found


def test_each_file_ends_with_lines_that_are_json(outcomes):
    """Ten of 769 ended in tracebacks, and one ended the batch at every re-run."""
    assert len(outcomes) >= 500
    for hostile, lines, _ in outcomes:
        assert lines, hostile.name
        for line in lines:
            again = json.loads(json.dumps(line, allow_nan=False))
            assert again["verdict"] in ("real", "fake", "inconclusive"), hostile.name
            if again["score"] is not None:
                assert 0 <= again["score"] <= 1 and math.isfinite(again["score"])
            else:
                assert again["verdict"] == "inconclusive" and again["reasons"], hostile.name
            assert "Traceback" not in again.get("message", "") and "/tmp" not in again.get("message", "")


def test_nothing_was_unforeseen(outcomes):
    """`internal_error` keeps a batch alive; here none of the files may need it."""
    assert [h.name for h, lines, _ in outcomes if lines[0]["reasons"][:1] == ["internal_error"]] == []


def test_what_did_not_decode_whole_gets_no_verdict(outcomes):
    """Lower halves of JPEGs were destroyed, and the line said `real` or `fake` without a word of damage."""
    destroyed = [(hostile, line) for hostile, lines, _ in outcomes if hostile.destroyed for line in lines]
    assert len(destroyed) > 50
    assert [h.name for h, line in destroyed if line["verdict"] != "inconclusive"] == []


def test_sound_files_among_them_are_judged(outcomes):
    """The test above must not pass because nothing is ever judged."""
    assert sum(lines[0]["verdict"] == "real" for _, lines, _ in outcomes) > 20


def test_no_file_takes_longer_than_the_limits_say(outcomes):
    for hostile, lines, seconds in outcomes:
        limit = PASS_SECONDS if "frames" in lines[0] or "video" in lines[0] else PHOTO_SECONDS
        assert seconds < limit + 5, hostile.name


def test_what_files_ask_for_is_asked_for_elsewhere(before, outcomes):
    """A 33 KB JPEG took 12 GB. Peaks only grow, so the whole run counts; decoders are held to theirs by the
    system, see media.decoding.sandbox."""
    for peak, earlier, limit in zip(peaks(), before, (3 * 2**30, 2.5 * 2**30), strict=True):
        assert peak < limit or peak == earlier
