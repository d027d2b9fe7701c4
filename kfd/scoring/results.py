"""A file of such lines: read, continued, and told in a sentence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from common.strict_json import parse_json
from common.verdicts import Reason
from kfd.scoring.described import HIDDEN, SKIPPED, Line

SCALES = {  # fields that all lines of a file share, and what they tell
    "checkpoint": "weights",
    "decision": "thresholds or calibration",
    "opinion_checkpoints": "second opinions",
    "opinion_decisions": "thresholds of second opinions",
    "withheld": "verdicts withheld beside second opinions",
}


def outcome(lines: list[Line]) -> str:
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


def resume(out: Path, scale: Line) -> dict[str, str]:
    """Paths that `out` holds completely, each with its outcome.

    What a kill may have cut short is cut off the file. scale: of the run that goes on.
    """
    if not out.is_file():
        return {}
    done: dict[str, str] = {}
    last, whole, end = None, 0, 0
    for line, position in read_lines(out):
        for name, what in SCALES.items():
            if line.get(name) != scale.get(name):
                raise ValueError(f"{out} was made with other {what}; choose another --out")
        if line["path"] != last:  # the lines of a file stand together
            last, whole = line["path"], end
        end = position
        done[line["path"]] = outcome([line])
    # The last photograph may have lost faces: a kill can fall between two of its lines.
    done.pop(last, None)
    os.truncate(out, whole)
    return done


def read_lines(out: Path) -> Iterator[tuple[Line, int]]:
    """The whole lines of a file of this command, each with the byte at which it ends; one that a kill cut
    short is left out.

    Raises ValueError for a file of something else.
    """
    end = 0
    with out.open("rb") as file:
        for written in file:
            if not written.endswith(b"\n"):
                return
            end += len(written)
            yield _checked(written, out), end


def _checked(written: bytes, out: Path) -> Line:
    try:
        line = parse_json(written[:-1], out)
        path, reasons = line["path"], line["reasons"]
        is_told = line["face"] is not None or (isinstance(reasons, list) and reasons)
        if not isinstance(path, str) or not isinstance(line["checkpoint"], str) or not is_told:
            raise TypeError("a field of another type")
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{out} is no file of kfd.score; choose another --out") from None
    return line
