"""The first day on a GPU, rehearsed on a CPU with tiny random models: every command and check, one report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import first_gpu_day
from benchmarks.first_gpu_day import DayConfig, run_entry
from benchmarks.gpu_day.checks import GIB, Outcome, learned, resumed
from benchmarks.gpu_day.entries import ENTRIES, as_list
from tests.tiny.tables import save_set, save_tables

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> DayConfig:
    place = tmp_path_factory.mktemp("day")
    save_tables(place, head_lr=0.01, lr=0.01, soft_lr=0.01, batch_size=4)
    save_set(place / "set", 0)
    return DayConfig(
        data=place / "set", out=place / "out", imagebind=place / "imagebind", configs=place, device="cpu",
        size="tiny",
    )  # fmt: skip


@pytest.mark.slow
def test_every_command_of_the_day_passes_its_check(day: DayConfig, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    words = [w for name in ("data", "out", "imagebind", "configs", "device", "size")
             for w in (f"--{name}", str(getattr(day, name)))]  # fmt: skip
    first_gpu_day.main(words)
    results = json.loads((day.out / "report.json").read_text())
    assert [result["name"] for result in results] == [entry.name for entry in ENTRIES]
    assert all(result["passed"] for result in results)
    told = (day.out / "report.md").read_text()
    assert told.startswith(f"{len(ENTRIES)} commands on a CPU, 0 failed.")
    assert "weights within 0 of those of kfd" in told and "weights within 0 of those of vicuna" in told
    with pytest.raises(SystemExit, match="exist already"):
        first_gpu_day.main([*words, "--only", "kfd"])


def test_a_command_that_fails_is_a_line_of_the_report(day: DayConfig) -> None:
    entry = replace(ENTRIES[1], name="nowhere", command="kfd.train --data {data}/none --out {out}/nowhere")
    result = run_entry(entry, day)
    assert not result.passed and "SystemExit: error: " in result.said
    never = replace(entry, command="benchmarks.full_size --computed --size tiny", stop="never")
    assert "was not broken off" in run_entry(never, day).said


def test_the_checks_do_not_pass_what_is_wrong(tmp_path: Path) -> None:
    found = Outcome(tmp_path, "", "cuda", 24.0, memory=25 * GIB)
    falling = "".join(f"step {n} loss {9 - n}.0 cls 1\n" for n in range(1, 7))
    with pytest.raises(ValueError, match=r"took 25.0 GiB, expected at most 24"):
        learned(replace(found, printed=falling))
    assert learned(replace(found, printed=falling, memory=GIB)) == "loss 7.500 to 3.500, 1.0 GiB"
    with pytest.raises(ValueError, match="does not fall"):
        learned(replace(found, printed="\n".join(reversed(falling.splitlines()))))
    with pytest.raises(ValueError, match="all finite"):
        learned(replace(found, printed="step 1 loss nan\nstep 2 loss 1\nstep 3 loss 1\n"))
    with pytest.raises(ValueError, match="began anew"):
        resumed("kfd")(replace(found, printed=falling))


def test_the_list_in_the_docs_is_that_of_the_script() -> None:
    page = (ROOT / "docs" / "full_size.md").read_text(encoding="utf-8")
    assert as_list(DayConfig().words) in page, "write it anew: python -m benchmarks.first_gpu_day --list"
