"""What a detector learnt from, by source and kind, kept beside its weights as trained_on.json.

    {"faces": [{"label": "fake", "source": "dfdc", "kind": "dfdc-aligned", "count": 2137}, ...]}

A figure on a kind of forgery that was trained on and one on a kind that was not are two different things:
evaluation.detector tells them apart by this file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from common.storage import write_text
from common.strict_json import read_json_object, to_json

TRAINED_FILE = "trained_on.json"
World = tuple[str, str, str]  # label, source, kind


def read_worlds(folder: str | Path) -> dict[World, int] | None:
    """How many faces of each world the detector in a folder was trained on; None where nothing tells.

    Raises ValueError for a file that is no such record.
    """
    path = Path(folder) / TRAINED_FILE
    if not path.is_file():
        return None
    try:
        faces = read_json_object(path)["faces"]
        return {(world["label"], world["source"], world["kind"]): int(world["count"]) for world in faces}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no record of training faces ({error}); delete it or train again"
        ) from None


def save_worlds(
    folder: str | Path, rows: Iterable[Mapping[str, str]], before: Mapping[World, int] | None
) -> None:
    """Write the record of a run on the faces of some manifest rows.

    before: of the detector it went on from, whose faces count too: of each world the larger number.
    """
    counts = Counter((row["label"], row["source"], row["kind"]) for row in rows)
    worlds = {world: max(counts[world], (before or {}).get(world, 0)) for world in {*counts, *(before or {})}}
    faces = [
        {"label": label, "source": source, "kind": kind, "count": worlds[label, source, kind]}
        for label, source, kind in sorted(worlds)
    ]
    write_text(Path(folder) / TRAINED_FILE, to_json({"faces": faces}, indent=1) + "\n")
