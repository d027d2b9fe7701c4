"""The file that a measurement leaves behind: JSON from which every figure can be computed again.

    schema, command, created, config, environment, seeds      how it was made
    checkpoint, data                                          what was measured, by digest
    decision                                                  from logits to verdicts, see kfd.config.Decision
    failures, note                                            what was left out, and what to keep in mind
    results, calibration, confounders, fairness               figures (evaluation.metrics.classification)
    seen                                                      what was trained on, see evaluation.seen
    aggregation, aggregations                                 of videos, where there are any
    items                                                     one line per scored face

Two files are comparable when the digests of their data agree. No value is NaN or infinite.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from common.storage import digest_of, write_text
from common.strict_json import read_json, to_json
from common.verdicts import Verdict
from data_sim.dataset import FaceSet, read_failures
from data_sim.manifests import read_table
from evaluation.metrics.video import Frame, video_key

SCHEMA = "unmask.results/1"
SIMULATED = "simulated"  # the kind of forgeries made of a split's real faces, and of those faces beside them
PLACES_IN_SET = ("split", "pair", "mask")  # columns that say where in a set something lies, not what it is
PACKAGES = ("unmask", "torch", "transformers", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Item:
    """One scored face.

    path: of the photograph, as in the manifest. label: "real" or "fake". kind: manipulation; empty for a real
    face, "simulated" for a simulated forgery and for the pristine face beside it.
    unit: what the bootstrap draws whole, see data_sim.dataset.unit_of. video, track: as in the manifest.
    logit: of the classifier, any range. score: calibrated P(fake).
    verdict: as users see it; reasons: why inconclusive, joined by "|".
    local: see evaluation.metrics.video.vla_score, or None.
    """

    path: str
    label: str
    kind: str
    source: str
    unit: str
    video: str
    track: str
    logit: float
    score: float
    verdict: Verdict
    reasons: str = ""
    local: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """The name of the item in every run on the same data."""
        return self.path, self.kind, self.label

    @property
    def frame(self) -> Frame:
        key = video_key(self.label, self.source, self.kind, self.video, self.path)
        return Frame(key, self.track, self.logit, self.score, self.local)


def header(config: object, seeds: Mapping[str, int], module: str) -> dict[str, object]:
    """Tell how a run was made: the first fields of its file.

    config: the run's dataclass. module: of the command, such as "evaluation.detector".
    """
    return {
        "schema": SCHEMA,
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": json.loads(json.dumps(asdict(config), default=str)),
        "seeds": dict(seeds),
        "environment": environment(getattr(config, "device", "cpu")),
    }


def environment(device: str) -> dict[str, object]:
    """Versions and machine, as far as they can change a figure. device: what computed, "cpu" or "cuda:1"."""
    import torch

    on_gpu = torch.device(device).type == "cuda"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.machine(),
        "threads": torch.get_num_threads(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the code that runs, with "+changes" where files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+changes"],
            cwd=here, capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None


def folder_digest(folder: str | Path) -> str:
    """SHA-256, in hex, of a folder's files and their names."""
    folder, found = Path(folder), hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder).as_posix()}\0{digest_of(path)}\n".encode())
    return found.hexdigest()


def data_digest(faces: FaceSet) -> str:
    """SHA-256, in hex, of a split: its rows and its pixels, wherever the set lies on disk."""
    found = hashlib.sha256(f"{faces.size}".encode())
    for row, position in zip(faces.rows, faces.index, strict=True):
        told = {name: value for name, value in sorted(row.items()) if value and name not in PLACES_IN_SET}
        found.update(json.dumps(told).encode())
        found.update(faces.crops[position].tobytes())
        found.update(faces.landmarks[position].tobytes())
        if row["mask"] and faces.masks is not None:
            found.update(faces.masks[int(row["mask"])].tobytes())
    return found.hexdigest()


def failures(folder: Path, split: str) -> list[dict[str, object]]:
    """Files that gave no face to score, counted by reason: they have no score and are in no figure.

    A set too old to tell them by split tells of all its files, under the split "any".
    """
    told = read_failures(folder, split)
    if told is not None:
        return told
    if not (folder / "rejected.csv").is_file():
        return []
    rows = read_table(folder / "rejected.csv", ("path", "reason"))
    reasons = [row["reason"].split(" of ")[0] for row in rows]  # "duplicate of PATH"
    return [{"split": "any", "reason": reason, "count": count} for reason, count in Counter(reasons).items()]


def write_results(path: Path, results: Mapping[str, object], items: Sequence[Item]) -> None:
    """Write one JSON file, the items one per line.

    Raises ValueError when a value is NaN or infinite: such a figure must say why it is missing.
    """
    text = to_json({**results, "items": []}, indent=1)
    lines = ",\n  ".join(to_json(asdict(item)) for item in items)
    head, mark, tail = text.rpartition('"items": []')
    assert mark and tail == "\n}"
    write_text(path, f'{head}"items": [\n  {lines}\n ]\n}}\n')


def read_results(path: Path) -> tuple[dict[str, object], list[Item]]:
    """A file of `write_results`: all but the items, and the items.

    Raises FileNotFoundError or ValueError that says what to do.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; write it with python -m evaluation.detector ... --out {path}"
        )
    try:
        results = read_json(path)
        if results.get("schema") != SCHEMA:
            raise ValueError(f"schema {results.get('schema')!r}")
        names = {field.name for field in dataclasses.fields(Item)}
        lines = ({k: v for k, v in line.items() if k in names} for line in results.pop("items"))
        items = [Item(**line | {"verdict": Verdict(line["verdict"])}) for line in lines]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} is not an {SCHEMA} file ({error}); measure again with this version"
        ) from None
    return results, items
