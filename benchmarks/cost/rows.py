"""One measurement or computation, and the file that holds many."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.storage import write_text
from common.strict_json import read_json, to_json

SCHEMA = "unmask-benchmark/1"
ADVICE = "give a file of python -m benchmarks.full_size"
TASKS = ("kfd-inference", "kfd-training", "qlora", "chat")


@dataclass(frozen=True)
class Row:
    """One task of one model.

    task: one of TASKS. model, setting: in words. flops: of one step; of one token in a chat.
    seconds: measured, median of a step; in a chat until the first piece of text. None where computed.
    least_seconds: a bound, no measurement: see benchmarks.cost.computed.Machine. None where measured.
    rates: amount per second by unit, measured or bounds like the above.
    bytes: by what holds them; computed. peak_bytes, reserved_bytes: most memory that tensors had, and that
        PyTorch had taken from the GPU, measured; None where nothing can be measured (CPU).
    share: of the matrix rate measured on the same device; None where computed.
    parameters: trained and frozen; quantised ones count as they were before.
    """

    task: str
    model: str
    setting: str
    flops: float
    seconds: float | None = None
    least_seconds: float | None = None
    rates: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, float] = field(default_factory=dict)
    peak_bytes: int | None = None
    reserved_bytes: int | None = None
    share: float | None = None
    parameters: tuple[int, int] = (0, 0)

    @property
    def source(self) -> str:
        """Where the figures come from."""
        return "computed from shapes" if self.seconds is None else "measured"


def save_rows(rows: list[Row], facts: dict[str, object], path: Path) -> None:
    """Write a JSON file. facts: machine, software, command, and what bounds were computed for."""
    values = {"schema": SCHEMA, **facts, "rows": [{"source": row.source, **asdict(row)} for row in rows]}
    text = to_json(values, indent=2) + "\n"
    write_text(path, text)


def load_rows(path: Path) -> tuple[list[Row], dict[str, object]]:
    """Read what `save_rows` wrote. Raises ValueError for any other file, FileNotFoundError for none."""
    try:
        values = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; give a file of python -m benchmarks.full_size") from None
    if not isinstance(values, dict) or values.pop("schema", None) != SCHEMA:
        raise ValueError(f"{path}: expected schema {SCHEMA!r}; give a file of python -m benchmarks.full_size")
    rows = [
        Row(**{k: tuple(v) if k == "parameters" else v for k, v in row.items() if k != "source"})
        for row in values.pop("rows")
    ]
    return rows, values
