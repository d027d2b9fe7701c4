"""Files of python -m benchmarks.full_size as one Markdown table.

python -m benchmarks.table runs/full_size.json
python -m benchmarks.table runs/full_size.json runs/computed.json   # a computed row fills in what is missing
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.cost.rows import Row, load_rows

NAMES = {
    "kfd-inference": "KFD inference",
    "kfd-training": "KFD training step",
    "qlora": "QLoRA step",
    "chat": "chat, first question",
}
HEAD = ("what", "model", "batch", "TFLOP", "time", "rate", "of the matrix rate", "peak memory", "source")
GIB = 2**30


@dataclass(frozen=True)
class TableConfig:
    """What to print."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]  # JSON files; the first that has a row gives it


def table(files: tuple[Path, ...]) -> str:
    """Markdown. Raises FileNotFoundError or ValueError for a file of another kind."""
    rows: dict[tuple[str, str, str], Row] = {}
    notes = []
    for path in files:
        found, facts = load_rows(path)
        rows = {(row.task, row.model, row.setting): row for row in found} | rows
        if "bounds_for" in facts:
            rates = "{tflops:g} TFLOP/s and {terabytes_per_second:g} TB/s".format(**facts["bounds_for"])
            notes.append(
                f"≥ and ≤ are bounds at {rates}, no measurements; memory is computed, without CUDA's own."
            )
        else:
            notes.append(
                f"Measured on {facts['machine']}: {facts['matrix_tflops']:.3g} TFLOP/s in a product."
            )
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows.values()]
    return "\n".join([*lines, "", *notes])


def _cells(row: Row) -> list[str]:
    computed = row.seconds is None
    least, most = ("≥ ", "≤ ") if computed else ("", "")
    seconds = row.least_seconds if computed else row.seconds
    return [
        NAMES[row.task],
        row.model,
        row.setting,
        _number(row.flops / 1e12) + (" a token" if row.task == "chat" else ""),
        f"{least}{_number(1000 * seconds)} ms" + (" to the first word" if row.task == "chat" else ""),
        ", ".join(f"{most}{_number(rate)} {unit}" for unit, rate in row.rates.items()),
        "" if row.share is None else f"{100 * row.share:.0f} %",
        _memory(row),
        row.source,
    ]


def _memory(row: Row) -> str:
    if row.peak_bytes is not None:
        return f"{row.peak_bytes / GIB:.1f} GiB ({row.reserved_bytes / GIB:.1f} reserved)"
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in row.bytes.items())
    return f"{sum(row.bytes.values()) / GIB:.1f} GiB: {parts}" if parts else "not measured"


def _number(value: float) -> str:
    """Three digits that count: 26,200 or 12.7 or 0.0133."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def main(args: list[str] | None = None) -> None:
    """Print the table."""
    from common.cli import parse

    try:
        print(table(parse(TableConfig, __doc__, args).files))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
