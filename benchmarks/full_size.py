"""Measure, or compute, what the full-size system costs: time, FLOPs, memory.

    python -m benchmarks.full_size --out runs/full_size.json            # one GPU of 24 GB, minutes
    python -m benchmarks.full_size --tasks qlora chat                   # some of it
    python -m benchmarks.full_size --computed --out runs/computed.json  # no GPU: FLOPs and bytes from shapes
    python -m benchmarks.full_size --size tiny --device cpu             # the same code in seconds
    python -m benchmarks.table runs/full_size.json                      # as Markdown

Weights are random and made on the spot: time and memory do not depend on them, and nothing is downloaded.
Tasks: kfd-inference and kfd-training (ImageBind-Huge, batch of 64), qlora (a step at 8 x 512 tokens) and chat
(the first question about a face) with a Vicuna-7B and a Qwen2.5-7B shape.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch

from benchmarks.cost.rows import TASKS, Row, save_rows
from common.cli import parse

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure, on what."""

    size: Literal["full", "tiny"] = "full"  # the paper's shapes, or some for a rehearsal
    tasks: tuple[Literal["kfd-inference", "kfd-training", "qlora", "chat"], ...] = TASKS
    computed: bool = False  # count from the shapes instead of measuring
    device: str = "cuda"  # "cuda" or "cpu"; without meaning where computed
    tflops: float = 989.0  # bf16 matrix rate for bounds, 10^12 per second; by default an H200's data sheet
    bandwidth: float = 4.8  # memory rate for bounds, 10^12 bytes per second; likewise
    out: Path | None = None  # a JSON file

    def __post_init__(self) -> None:
        problems = []
        if not self.computed and self.device == "cuda" and not torch.cuda.is_available():
            problems.append(
                "expected a CUDA device, got none: pass --computed, or --size tiny --device cpu to rehearse"
            )
        if not self.computed and self.device == "cpu" and self.size == "full":
            problems.append("the full size takes hours on a CPU: pass --size tiny, or --computed")
        if min(self.tflops, self.bandwidth) <= 0:
            problems.append(f"rates must be positive, got {self.tflops} and {self.bandwidth}")
        if problems:
            raise ValueError("; ".join(problems))


def run(config: BenchmarkConfig) -> tuple[list[Row], dict[str, object]]:
    """The rows, and the facts that belong to them. Prints a line for each row as it is done."""
    facts: dict[str, object] = {
        "command": {key: str(value) for key, value in asdict(config).items()},
        "software": {name: _version(name) for name in PACKAGES},
    }
    rows = []
    for row in _rows(config, facts):
        rates = " ".join(f"{rate:.4g} {unit}" for unit, rate in row.rates.items())
        seconds = row.least_seconds if row.seconds is None else row.seconds
        print(f"{row.task}, {row.model}, {row.setting}: {seconds:.4g} s, {rates} ({row.source})", flush=True)
        rows.append(row)
    return rows, facts


def _rows(config: BenchmarkConfig, facts: dict[str, object]) -> Iterator[Row]:
    from benchmarks.cost.computed import Machine, computed_rows
    from benchmarks.cost.measure import matrix_tflops, measured_rows
    from benchmarks.cost.sizes import SIZES

    size = SIZES[config.size]
    if config.computed:
        facts["bounds_for"] = {"tflops": config.tflops, "terabytes_per_second": config.bandwidth}
        yield from computed_rows(size, config.tasks, Machine(config.tflops, config.bandwidth))
        return
    on_gpu = config.device != "cpu"
    facts["machine"] = torch.cuda.get_device_name(config.device) if on_gpu else platform.processor() or "CPU"
    facts["matrix_tflops"] = matrix = matrix_tflops(size, config.device)
    print(f"{facts['machine']}: {matrix:.4g} TFLOP/s in a product of {size.matrix}²", flush=True)
    yield from measured_rows(size, config.tasks, config.device, matrix)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def main(args: list[str] | None = None) -> None:
    """Read the command line, measure, write."""
    config = parse(BenchmarkConfig, __doc__, args)
    rows, facts = run(config)
    if config.out is not None:
        save_rows(rows, facts, config.out)
        print(f"saved {config.out}; as a table: python -m benchmarks.table {config.out}")


if __name__ == "__main__":
    main()
