"""Run what nobody has run at full size, at reduced counts, check each result, and write one report.

    python -m benchmarks.first_gpu_day --data runs/set224 --out runs/gpu-day       # one GPU of 24 GB, an hour
    python -m benchmarks.first_gpu_day --data runs/set224 --out runs/gpu-day --only kfd kfd-resumed
    python -m benchmarks.first_gpu_day --list                                      # the commands, as Markdown

The set has crops of 224 pixels and the splits train, val and test. Weights: ImageBind-Huge as --imagebind
says; Vicuna and Llama from the hub, or where the files under --configs name them. Ends with status 1 where a
check fails; for another try name another --out, or move away what the command wrote.

Writes OUT/report.md and OUT/report.json: of every command its time, its memory, and what the check found.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import re
import shlex
import sys
import time
import traceback
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.gpu_day.checks import Outcome
from benchmarks.gpu_day.entries import ENTRIES, Entry, as_list
from common.cli import parse
from common.locks import one_writer
from common.storage import write_text
from common.strict_json import to_json

CONFIGS = "configs/tables"


@dataclass(frozen=True)
class DayConfig:
    """Where things are, and how much memory there is."""

    data: Path = Path("runs/set224")  # a face set of 224-pixel crops
    out: Path = Path("runs/gpu-day")  # folder of all that is written
    imagebind: Path = Path("checkpoints/imagebind_huge.pth")  # its weights
    configs: Path = Path(CONFIGS)  # the tables' files; smaller ones for a rehearsal
    device: str = "cuda"
    size: str = "full"  # of what benchmarks.full_size measures; tiny for a rehearsal
    memory_gib: float = 24.0  # a command that takes more has failed
    only: tuple[str, ...] = ()  # names of commands; empty: all of them
    list: bool = False  # print the list and do nothing

    def __post_init__(self) -> None:
        unknown = set(self.only) - {entry.name for entry in ENTRIES}
        if unknown:
            raise ValueError(f"only: {sorted(unknown)} not among {[entry.name for entry in ENTRIES]}")

    @property
    def words(self) -> dict[str, str]:
        """What stands for the names in braces of a command."""
        names = ("data", "out", "imagebind", "configs", "device", "size")
        return {name: shlex.quote(str(getattr(self, name))) for name in names}


@dataclass(frozen=True)
class Result:
    """One command of the day. memory_gib: most that tensors took of the GPU; None on a CPU."""

    name: str
    command: str
    passed: bool
    said: str
    seconds: float
    memory_gib: float | None = None


class _BrokenOff(BaseException):
    """The command is stopped where it stands, as by a signal: nothing in it may handle that."""


class _Heard(io.TextIOBase):
    """Passes on what a command prints and keeps it; breaks the command off at a line that begins so."""

    def __init__(self, passed_on: io.TextIOBase, stop: str = ""):
        self.passed_on, self.stop, self.text = passed_on, stop, ""

    def write(self, text: str) -> int:
        self.passed_on.write(text)
        self.text += text
        if self.stop and re.search(rf"^{re.escape(self.stop)}", self.text, re.M):
            self.stop = ""
            raise _BrokenOff
        return len(text)

    def flush(self) -> None:
        self.passed_on.flush()


def run_entry(entry: Entry, config: DayConfig) -> Result:
    """Run one command, a second time where it is broken off, and check what came of it."""
    command = entry.command.format(**config.words)
    print(f"python -m {command}", flush=True)
    on_gpu = torch.device(config.device).type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    heard, start, memory = _Heard(sys.stdout, entry.stop), time.monotonic(), None
    try:
        try:
            _call(command, heard)
            if entry.stop:
                raise ValueError(f"it never printed {entry.stop!r}, so it was not broken off")
        except _BrokenOff:
            _call(command, heard)
        memory = torch.cuda.max_memory_allocated() if on_gpu else None
        place = config.out / entry.name
        said = entry.check(Outcome(place, heard.text, config.device, config.memory_gib, memory))
        passed = True
    except (Exception, SystemExit) as error:  # whatever it is, the other commands are still worth running
        traceback.print_exc()
        said, passed = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", False
    seconds = time.monotonic() - start
    print(f"{entry.name}: {'passed' if passed else 'FAILED'}, {said}, {seconds:.0f} s", flush=True)
    gib = None if memory is None else memory / 2**30
    return Result(entry.name, f"python -m {command}", passed, said, round(seconds, 1), gib)


def _call(command: str, heard: _Heard) -> None:
    module, *words = shlex.split(command)
    name = f"{module}.__main__" if importlib.util.find_spec(module).submodule_search_locations else module
    before = sys.argv
    sys.argv = [module, *words]
    try:
        with redirect_stdout(heard):
            importlib.import_module(name).main()
    finally:
        sys.argv = before


def report(results: list[Result], config: DayConfig) -> str:
    """The day in Markdown."""
    on_gpu = torch.device(config.device).type == "cuda"
    machine = torch.cuda.get_device_name() if on_gpu else "a CPU"
    failed = sum(not result.passed for result in results)
    lines = [
        f"{len(results)} commands on {machine}, {failed} failed.",
        "",
        "| command | result | what was found | seconds |",
        "|---|---|---|--:|",
    ]
    lines += [
        f"| `{r.command}` | {'passed' if r.passed else '**failed**'} | {r.said.replace('|', '/')} "
        f"| {r.seconds:.0f} |"
        for r in results
    ]
    return "\n".join(lines) + "\n"


def main(args: list[str] | None = None) -> None:
    config = parse(DayConfig, __doc__, args)
    if config.list:
        print(as_list(config.words))
        return
    chosen = [entry for entry in ENTRIES if not config.only or entry.name in config.only]
    there = [str(config.out / entry.name) for entry in chosen if (config.out / entry.name).exists()]
    if there:  # a finished run would not train again, and its losses could not be read
        sys.exit(f"error: {', '.join(there)} exist already; name another --out, or move them away")
    config.out.mkdir(parents=True, exist_ok=True)
    with one_writer(config.out / "report.json"):
        results = []
        for entry in chosen:
            results.append(run_entry(entry, config))
            write_text(config.out / "report.md", report(results, config))
            write_text(config.out / "report.json", to_json([asdict(r) for r in results], indent=2))
    print(f"wrote {config.out / 'report.md'}")
    if not all(result.passed for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
