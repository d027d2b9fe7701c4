"""One reader for tables of files: manifest.csv, failures.csv, a data set's own lists.

Each fault of a table is one clear error.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path, PurePosixPath, PureWindowsPath

LABELS = ("real", "fake")
SPLITS = ("train", "val", "test")
NUM_LANDMARKS = 68
MAX_FIELD = 2**20  # characters; landmarks of one face take about a thousand
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class ManifestError(ValueError):
    """A table that cannot be used; the message names the file, the line, and what to do."""


def read_table(path: str | Path, required: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, each with all of its columns.

    required: columns that it must have. Line N + 2 of the file is row N, unless fields hold line breaks.
    Raises ManifestError, and OSError when there is no such file.
    """
    path = Path(path)
    text = _decoded(path)
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        _check_header(path, header, required)
        rows = []
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise ManifestError(
                    f"{path}, line {reader.line_num}: {len(values)} values, expected the "
                    f"{len(header)} of the header"
                )
            rows.append(dict(zip(header, values, strict=True)))
    except csv.Error as error:
        raise ManifestError(f"{path}, line {reader.line_num}: not CSV ({error})") from None
    return rows


def read_manifest(path: str | Path, inside: bool = True) -> list[dict[str, str]]:
    """The rows of a manifest: at least path and label, each checked.

    Labels are real or fake; splits, where there is that column, train, val or test; no path has two labels.
    inside: paths must not lead out of the folder that they are relative to. Raises like `read_table`.
    """
    path = Path(path)
    rows = read_table(path, ("path", "label"))
    labels: dict[str, tuple[str, int]] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{path}, line {number}"
        if row["label"] not in LABELS or not row["path"]:
            raise ManifestError(f"{where}: needs a path and a label real or fake, got {_shown(row)}")
        if row.get("split", "train") not in SPLITS:
            raise ManifestError(f"{where}: split {row['split']!r}; expected {', '.join(SPLITS)}")
        for column in ("path", "mask"):
            if inside and row.get(column):
                _check_inside(where, column, row[column])
        if row.get("landmarks") and len(row["landmarks"].split()) != 2 * NUM_LANDMARKS:
            raise ManifestError(f'{where}: landmarks must be {NUM_LANDMARKS} pairs "x y"')
        label, first = labels.setdefault(str(PurePosixPath(row["path"])), (row["label"], number))
        if label != row["label"]:
            raise ManifestError(
                f"{path}: {row['path']} is {label} in line {first} and {row['label']} in line {number}; "
                "one picture has one label"
            )
    return rows


def _decoded(path: Path) -> str:
    data = path.read_bytes()
    if data.startswith(_UTF_16):
        raise ManifestError(f"{path} is UTF-16; save it as UTF-8 (“CSV UTF-8” in a spreadsheet)")
    if b"\0" in data:
        raise ManifestError(f"{path} is not a text file; expected CSV in UTF-8")
    try:
        return data.decode("utf-8-sig")  # Excel puts a mark in front
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path}, line {line}: the byte 0x{data[error.start]:02x} is not UTF-8; save it as UTF-8 "
            "(“CSV UTF-8” in a spreadsheet)"
        ) from None


def _check_header(path: Path, header: list[str], required: Sequence[str]) -> None:
    missing = [name for name in required if name not in header]
    if not missing:
        if len(set(header)) < len(header):
            raise ManifestError(f"{path}: a column stands twice in the header {', '.join(header)}")
        return
    line = ",".join(header)
    for separator, words in _OTHER_SEPARATORS.items():
        if set(required) <= {name.strip() for name in line.split(separator)}:
            raise ManifestError(f"{path}: columns are separated by {words}; expected commas")
    found = f"the header {line[:200]!r}" if header else "an empty file"
    near = [name for name in header if name.strip().lower() in missing]
    hint = f"; {', '.join(map(repr, near))} must be written in small letters, without spaces" if near else ""
    raise ManifestError(f"{path}: expected the columns {', '.join(required)}, got {found}{hint}")


def _check_inside(where: str, column: str, value: str) -> None:
    """Raise ManifestError for a path that leads out of the folder: a manifest names its own files only."""
    absolute = PurePosixPath(value).is_absolute() or PureWindowsPath(value).anchor
    if absolute or ".." in PurePosixPath(value).parts or ".." in PureWindowsPath(value).parts:
        raise ManifestError(f"{where}: {column} {value!r} leads out of the folder; expected one inside it")


def _shown(row: dict[str, str]) -> dict[str, str]:
    return {name: value[:80] for name, value in list(row.items())[:6]}
