"""A file of such lines: read, continued, and told in a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from common.storage import write_text
from common.strict_json import parse_json, to_json
from common.verdicts import Reason
from kfd.detector import Detector
from kfd.opinions import SecondReader
from kfd.scoring.lines import HIDDEN, SKIPPED, start_line

SCALES = {  # fields that all lines of a file share, and what they tell
    "checkpoint": "weights",
    "decision": "thresholds or calibration",
    "opinion_checkpoints": "second opinions",
    "opinion_decisions": "thresholds of second opinions",
}


def outcome(lines: list[dict[str, object]]) -> str:
    """What became of a file: "scored", or the reason why nothing was."""
    return "scored" if lines[0]["face"] is not None else str(lines[0]["reasons"][0])


def account(tally: Counter[str], hidden: int) -> str:
    """A sentence on what became of every entry."""
    rest = tally.copy()
    faces, none, skipped = rest.pop("scored", 0), rest.pop(Reason.NO_FACE, 0), rest.pop(SKIPPED, 0)
    rest.pop(HIDDEN, None)
    why = f" ({', '.join(f'{reason} {count}' for reason, count in sorted(rest.items()))})" if rest else ""
    return (
        f"{faces} files with faces, {none} without a face, {rest.total()} unreadable{why}, {skipped} "
        f"skipped, {hidden} hidden and passed over"
    )


def resume(out: Path, detector: Detector, readers: Sequence[SecondReader] = ()) -> dict[str, str]:
    """Paths that `out` holds completely, each with its outcome.

    What a kill may have cut short is taken out of the file. detector, readers: those that go on.
    """
    if not out.is_file():
        return {}
    lines, own = read_lines(out), start_line(out, detector, readers)
    for name, what in SCALES.items():
        if any(line.get(name) != own.get(name) for line in lines):
            raise ValueError(f"{out} was made with other {what}; choose another --out")
    # The last photograph may have lost faces: a kill can fall between two of its lines.
    last = lines[-1]["path"] if lines else None
    kept = [line for line in lines if line["path"] != last]
    write_text(out, "".join(to_json(line) + "\n" for line in kept))
    return {line["path"]: outcome([line]) for line in kept}


def read_lines(out: Path) -> list[dict[str, object]]:
    """The whole lines of a file of this command; one that a kill cut short is left out.

    Raises ValueError for a file of something else.
    """
    data = out.read_bytes()
    try:
        lines = [parse_json(line, out) for line in data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]]
        for line in lines:
            path, reasons = line["path"], line["reasons"]
            is_told = line["face"] is not None or (isinstance(reasons, list) and reasons)
            if not isinstance(path, str) or not isinstance(line["checkpoint"], str) or not is_told:
                raise TypeError("a field of another type")
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{out} is no file of kfd.score; choose another --out") from None
    return lines
