"""A report held against its signature, its seal, the file it is on, and the figures that come out again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.assistant import Assistant
from app.models.choice import ModelChoice
from app.report.data import finding_data
from app.report.embedded import json_form
from app.report.program import draws_alike
from app.report.sealed import Report, seal_of
from app.signing import public_key_of
from app.wording.checking import PROVED, TOLERANCE
from common.terminal import printable
from media.files import open_file

SIGNED = {
    True: "fits the content: unchanged since it was signed",
    False: "CHANGED since it was signed, or signed with another key than it names",
}
SIGNER = {True: "is the one given", False: "is ANOTHER than the one given"}
CHECKSUM = {
    True: "the checksum fits the content",
    False: "CHANGED: the content is not what the seal was computed of",
}
EXPECTED = {
    True: "agrees; this is the report whose seal was noted",
    False: "DIFFERS; this is not the report whose seal was noted",
}
PHOTO = {
    True: "is the file that the report is on",
    False: "is ANOTHER file than the one that the report is on",
}
SHOWN = {
    True: "shows what its data say",
    False: "does NOT show what its data say; only its JSON form counts",
    None: "was drawn by another version of the program or of what it draws with, so that what it shows was "
    "not compared with its data",
}
SAME = {True: "the same", False: "DIFFERENT"}
NOT_PROVEN = (
    "This shows accidental changes alone: whoever changes a report on purpose can compute its seal anew. "
    "Compare it with the one that was noted when the report was handed over: --expect SEAL."
)
ASK_FOR_KEY = "Whose key is that? Compare it with the one that the examiner gave out: --signer KEY."
MAX_DIFFERENCES = 5  # that are told
FIGURES = ("number", "box", "verdict", "score", "regions", "quality", "error_rate")
SLACK = {  # by how much figures may differ: by TOLERANCE, or by one in the last of the digits that are told
    **dict.fromkeys(("score", "region_table", "frames", "opinions"), TOLERANCE),
    **{"box": 1, "face_pixels": 0.1, "sharpness": 0.1, "jpeg_loss": 0.001, "video_loss": 0.001},
    "log10_lr": 0.01,
}
EXACT = 1e-9  # more than subtracting such figures rounds
COMPUTED_BY = ("kfd/", "encoder ", "second opinion ")  # weights that figures depend on


@dataclass(frozen=True)
class Check:
    """One thing that was compared. agrees: None where it could not be. words: a line about it."""

    agrees: bool | None
    words: str


def verify(
    path: Path,
    expect: str | None = None,
    photos: Sequence[Path] = (),
    signer: str | None = None,
    rerun: ModelChoice | None = None,
) -> bool:
    """Print what of a report (JSON, HTML or PDF) agrees with what it is compared with, a line for each.

    expect: the seal that was noted, 16 or more of its digits. photos: files that it is said to be on.
    signer: the examiner's public key, or the file that holds it. rerun: the models with which `photos` are
    examined again. Returns whether all of it agrees. Raises ValueError for a file that is no report, OSError
    and ImageError for one that cannot be read.
    """
    if expect is not None and not re.fullmatch("[0-9a-fA-F]{16,64}", expect.strip()):
        raise ValueError(f"--expect: expected 16 to 64 hexadecimal digits, got {expect!r}")
    key = None if signer is None else public_key_of(signer)
    content = path.read_bytes()
    source, form = json_form(content)
    report = Report.from_json(source)
    for told in report.files:
        file = {name: printable(str(told["file"][name])) for name in ("name", "sha256")}
        print(f"report of {printable(report.data['created'])} on {file['name']}, SHA-256 {file['sha256']}")
    agrees = True
    for check in _checks(report, content, form, expect, photos, key, rerun):
        print(check.words, flush=True)
        agrees &= check.agrees is not False
    if report.is_signed:
        print(PROVED)
    return agrees


def _checks(
    report: Report,
    content: bytes,
    form: str,
    expect: str | None,
    photos: Sequence[Path],
    key: str | None,
    rerun: ModelChoice | None,
) -> Iterator[Check]:
    yield from _signature(report, key)
    yield Check(report.intact, f"seal {report.data['seal']}: {CHECKSUM[report.intact]}")
    if expect is not None:
        noted = seal_of(report.data).startswith(expect.strip().lower())
        yield Check(noted, f"the seal noted elsewhere: {EXPECTED[noted]}")
    elif report.intact and report.signer is None:
        yield Check(None, NOT_PROVEN)
    if form != ".json":
        shown = _shows_its_data(report, content, form)
        yield Check(shown, f"the {form[1:].upper()} form {SHOWN[shown]}")
    yield from _photos(report, photos, rerun)


def _photos(report: Report, photos: Sequence[Path], rerun: ModelChoice | None) -> Iterator[Check]:
    """Which of the files of a report each of some files is, and whether its figures come out again."""
    assistant = None if rerun is None or not photos else Assistant.load(rerun)
    for photo in photos:
        with open_file(photo) as opened:
            which = [told for told in report.files if told["file"]["sha256"] == opened.sha256]
        yield Check(bool(which), f"{printable(str(photo))}: {PHOTO[bool(which)]}")
        if assistant is not None:
            yield from _again(report, (which or report.files)[0], photo, assistant)


def _signature(report: Report, key: str | None) -> Iterator[Check]:
    named = report.signer
    if named is None:
        # Whoever takes a signature away can do no better than this, so that a key which was asked for fails.
        yield Check(None if key is None else False, "signature: none; nothing shows who wrote this report")
        return
    if "signature" not in report.data:
        yield Check(False, f"signature: none; names a key but is not signed by it: {printable(str(named))}")
        return
    yield Check(report.is_signed, f"signature: {SIGNED[report.is_signed]}")
    if not report.is_signed:
        return
    if key is None:
        yield Check(None, f"signed with the key {printable(str(named))}. {ASK_FOR_KEY}")
    else:
        yield Check(named == key, f"the key {printable(str(named))} that signed it {SIGNER[named == key]}")


def _shows_its_data(report: Report, content: bytes, form: str) -> bool | None:
    """Whether a page or document is what these data are drawn as; None where another program drew it."""
    try:
        drawn = report.to_html().encode("utf-8", "replace") if form == ".html" else report.to_pdf()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):  # fields that this version lacks
        drawn = b""
    if drawn == content:
        return True
    software = report.data.get("software")
    return False if drawn and isinstance(software, dict) and draws_alike(software) else None


def _again(report: Report, told: dict[str, Any], photo: Path, assistant: Assistant) -> Iterator[Check]:
    """Examine the file once more and compare program, weights and figures with what is told of it."""
    again, before = finding_data(assistant.analyse(photo)), report.data
    program = _at(before, "software", "sha256") == again["software"]["sha256"]
    yield Check(program, f"the program is {SAME[program]}")
    weights = _weights(before) == _weights(again)
    yield Check(weights, f"the weights are {SAME[weights]}")
    shared = {"thresholds": before.get("thresholds")}
    differ = differing({**told, **shared}, again)
    yield Check(not differ, f"the figures, examined again, are {SAME[not differ]}")
    for name, (old, new) in list(differ.items())[:MAX_DIFFERENCES]:
        yield Check(False, printable(f"  {name}: {old!r} in the report, {new!r} now"))
    if len(differ) > MAX_DIFFERENCES:
        yield Check(False, f"  and {len(differ) - MAX_DIFFERENCES} more")


def differing(told: dict[str, Any], again: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The figures of a file that do not come out again, each by its name: as told, and now.

    told, again: of a file in a report, with the report's thresholds. Figures agree that differ by less than
    another processor or library changes them; a verdict has to be the same.
    """
    old, new = dict(_flat(_figures(told))), dict(_flat(_figures(again)))
    same = {name for name in old.keys() & new.keys() if _agree(name, old[name], new[name])}
    names = sorted((old.keys() | new.keys()) - same)
    return {name: (old.get(name, "nothing"), new.get(name, "nothing")) for name in names}


def _agree(name: str, told: Any, now: Any) -> bool:
    """Whether a figure is the same but for its last digits. told: any value, a number of any size too."""
    slack = SLACK.get(re.sub(r"\[\d+\]$", "", name).rpartition(".")[2], 0)
    if not slack or not all(type(value) in (int, float) for value in (told, now)):
        return told == now
    return now - slack - EXACT <= told <= now + slack + EXACT


def _figures(data: dict[str, Any]) -> dict[str, Any]:
    """What of a finding was computed from the file: all but its words, its pictures and its answers."""
    faces = data.get("faces")
    return {
        "pixels_sha256": _at(data, "file", "pixels_sha256"),
        "verdict": data.get("verdict"),
        "thresholds": data.get("thresholds"),
        "faces": [_face(face) for face in faces if isinstance(face, dict)] if isinstance(faces, list) else [],
    }


def _face(face: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: face.get(name) for name in FIGURES},
        "reasons": _column(face.get("reasons"), "code"),
        "region_table": _column(face.get("region_table"), "score"),
        "log10_lr": _at(face, "evidence", "log10_lr"),
        "frames": [
            *_column(_at(face, "track", "frames"), "score"),
            *_column(_at(face, "track", "frames"), "verdict"),
        ],
        "opinions": _column(face.get("opinions"), "score"),
    }


def _column(rows: object, name: str) -> list[Any]:
    return [row.get(name) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _at(data: dict[str, Any], outer: str, inner: str) -> Any:
    value = data.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _weights(data: dict[str, Any]) -> list[tuple[str, str]]:
    files = _at(data, "models", "files")
    rows = [row for row in files if isinstance(row, dict)] if isinstance(files, list) else []
    named = [(str(row.get("name")), str(row.get("sha256"))) for row in rows]
    return sorted(row for row in named if row[0].startswith(COMPUTED_BY))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested JSON values with the way to each, without those in words."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "words":
                continue
            yield from _flat(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{number}]")
    else:
        yield name, value
