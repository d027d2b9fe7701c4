"""The sections of a report on one of its files: the finding, what was examined, each face, the questions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.cases.case import Override
from app.report.blocks import (
    Bar,
    Bars,
    Block,
    Bullets,
    FacePictures,
    Facts,
    Note,
    Paragraph,
    Picture,
    Rows,
    Section,
    Transcript,
    Verdict,
)
from app.wording.answers import answer_words
from app.wording.case import NOTES_LEAD, OVERRIDE_LEAD, OVERRIDE_NOTE, file_label, override_words
from app.wording.court import ANNEX, FRAMES_HEADING, PHOTO_HEADING
from app.wording.provenance import HEADING

PHOTO_CAPTION = "The photograph. Boxes are numbered as the faces are in this report."
STILLS_CAPTION = "One frame of the video for each face. Boxes are numbered as the faces are in this report."
NO_FACE_CAPTION = "The first of the frames examined."
FACE_CAPTIONS = {
    "crop": "The square the detector read",
    "overlay": "The same with the heat map over it",
    "grad_cam_overlay": "What the score rests on (Grad-CAM)",
}
FRAME_COLUMNS = ("Frame at", "Score", "0 to 1", "Read by itself as")
REGION_COLUMNS = ("Region (left is the person’s left)", "Mean of the heat map", "0 to 1", "In the finding")
FRAME_WIDTHS, REGION_WIDTHS = (10, 11, 33, 46), (32, 21, 33, 14)
NARRATIVE = "Narrative on face {number}"
TRANSCRIPT_NOTE = (
    "The answers below were written by the language model, word for word as shown to the user; only what "
    "stands in brackets is Unmask's own. They are no part of the finding: where one differs from it, the "
    "finding holds."
)


def place_of(number: int, files: list[dict[str, Any]]) -> str:
    """What stands before a heading about one of several files; "" where there is one."""
    return f"File {number}, " if len(files) > 1 else ""


def _titled(place: str, heading: str) -> str:
    """A heading, which begins with a small letter behind the file that it is about."""
    return place + (heading[:1].lower() + heading[1:] if place else heading)


def file_sections(
    number: int, file: dict[str, Any], data: dict[str, Any], files: list[dict[str, Any]]
) -> Iterator[Section]:
    """The sections on one file: of several, the first of them is on the file as a whole."""
    place = place_of(number, files)
    if place:
        blocks = (*finding_blocks(file), Facts(file_rows(file)))
        yield Section(file_label(number, file["file"]["name"]), blocks, tall=True)
    yield from _pictures(place, file, data)
    yield from _frame_tables(place, file["faces"])
    yield from _provenance(place, file.get("provenance"))
    for face in file["faces"]:
        heading = _titled(place, f"Face {face['number']}")
        yield Section(heading, tuple(_face(face, data["pictures"])), tall=True)
        yield from _narrative(_titled(place, NARRATIVE.format(number=face["number"])), face.get("narrative"))


def finding_blocks(file: dict[str, Any]) -> Iterator[Block]:
    """The finding about a file, what weakens it, and beside it what the examiner says."""
    yield Verdict(file["finding"], file["verdict"])
    if file["faces"]:
        yield Bullets(tuple(_face_words(face, len(file["faces"]) > 1) for face in file["faces"]))
    if file["warnings"]:
        yield Bullets(tuple(file["warnings"]))
    yield from examiner_blocks(file)


def _face_words(face: dict[str, Any], one_of_many: bool) -> str:
    """A face on the first page: the finding, when in a clip, and how strong the evidence is."""
    when = face.get("stretches") if one_of_many else ""  # of the only face it stands in the finding above
    return " ".join(filter(None, (face["finding"], when, face["evidence"]["words"])))


def examiner_blocks(file: dict[str, Any], with_notes: bool = True) -> Iterator[Block]:
    """The examiner's own verdict and notes, where there are any."""
    said = file.get("examiner") or {"notes": "", "override": None}
    if said["override"]:
        override = Override(said["override"]["verdict"], said["override"]["reason"])
        yield Paragraph(override_words(override), lead=OVERRIDE_LEAD)
        yield Note(OVERRIDE_NOTE)
    if with_notes and said["notes"]:
        first, *more = said["notes"].splitlines()
        yield Paragraph(first, lead=NOTES_LEAD)
        yield from map(Paragraph, filter(None, more))


def file_rows(told: dict[str, Any]) -> Rows:
    """What a file is, and its digest."""
    file = told["file"]
    size = "" if file["bytes"] is None else f", {file['bytes']:,} bytes"
    video = file.get("video")
    return (
        ("Kind", f"{file['format']}, {file['width']} × {file['height']} pixels{size}"),
        *((("Frames", video["words"]),) if video else ()),
        *((("Faces", told["faces_found"]["words"]),) if "faces_found" in told else ()),
        ("SHA-256", file["sha256"] or f"of the pixels: {file['pixels_sha256']}"),
    )


def _pictures(place: str, file: dict[str, Any], data: dict[str, Any]) -> Iterator[Section]:
    """What was examined, with numbered faces."""
    stills = STILLS_CAPTION if file["faces"] else NO_FACE_CAPTION
    caption = stills if file["file"].get("video") else PHOTO_CAPTION
    picture = file["photo"] if "photo" in file else data["pictures"]["photo"]  # of older versions
    blurred = (file.get("blurred") or {"words": ""})["words"]
    note = (Note(blurred),) if blurred else ()
    yield Section(_titled(place, PHOTO_HEADING), (Picture(picture, caption), *note))


def _frame_tables(place: str, faces: list[dict[str, Any]]) -> Iterator[Section]:
    """A video's frames, a table for each person."""
    for face in faces:
        if face.get("track"):
            bars = Bars(FRAME_COLUMNS, FRAME_WIDTHS, tuple(map(_frame_bar, face["track"]["frames"])))
            yield Section(_titled(place, FRAMES_HEADING.format(number=face["number"])), (bars,))


def _frame_bar(frame: dict[str, Any]) -> Bar:
    """A frame that shows a face in a video, with its verdict and why it has none."""
    why = ", ".join(reason["words"] for reason in frame["reasons"])
    words = frame["verdict_words"].lower() + (f": {why}" if why else "")
    words += " (shown above)" if frame["shown"] else ""
    return Bar(frame["clock"], frame["score"], words, frame["verdict"])


def _provenance(place: str, provenance: dict[str, Any] | None) -> Iterator[Section]:
    """What the file tells of its origin, apart from the finding."""
    if provenance:
        rows = tuple((row["name"], row["words"]) for row in provenance["rows"])
        yield Section(_titled(place, HEADING), (Note(provenance["note"]), Facts(rows)))


def _face(face: dict[str, Any], shared: dict[str, str]) -> Iterator[Block]:
    yield Verdict(" ".join(filter(None, (face["finding"], face.get("stretches")))), face["verdict"])
    yield Facts(_face_rows(face))
    yield Paragraph(face["meaning"], lead="What this score means.")
    strength = f"{face['evidence']['words']} {face['evidence']['meaning']}".strip()
    yield Paragraph(strength, lead="Strength of the evidence.")
    yield Paragraph(face["error_rate"]["words"], lead="Error rate.")
    if face.get("opinions"):
        yield Paragraph(face["agreement"], lead="Second opinions.")
        yield Bullets(tuple(opinion["words"] for opinion in face["opinions"]))
    yield _face_pictures(face["pictures"], shared)
    yield Paragraph(face["explanation"])
    if face["region_table"]:
        yield Bars(REGION_COLUMNS, REGION_WIDTHS, tuple(_region_bar(row) for row in face["region_table"]))
    yield Note(face["quality"]["words"])


def _narrative(heading: str, narrative: dict[str, Any] | None) -> Iterator[Section]:
    """What the findings come to, in connected sentences, with who wrote them; none in older reports."""
    if narrative and narrative["passages"]:
        told = (Paragraph(part["text"], lead=f"{part['heading']}.") for part in narrative["passages"])
        yield Section(heading, (Note(narrative["words"]), *told))


def _face_rows(face: dict[str, Any]) -> Rows:
    """Verdict, score, reasons and position of one face."""
    score = "none" if face["score"] is None else f"{face['score']:.4f} of 1"  # of older versions
    rows = [("Verdict", face["verdict_words"])]
    if face["evidence"]["log10_lr"] is not None:
        rows.append(("Likelihood ratio", face["evidence"]["row"]))
    rows.append(("Score", face.get("score_row", score)))
    rows += [("Reason", reason["words"]) for reason in face["reasons"]]
    x0, y0, x1, y1 = face["box"]
    rows.append(("Position", f"x {x0} to {x1}, y {y0} to {y1} pixels from the upper left corner"))
    if face.get("track"):
        rows.append(("Frames", face["track"]["words"]))
    return tuple(rows)


def _face_pictures(pictures: dict[str, str | None], shared: dict[str, str]) -> FacePictures:
    shown = tuple(Picture(pictures[name], words) for name, words in FACE_CAPTIONS.items() if pictures[name])
    scale = Picture(shared["legend"], shared["legend_words"]) if pictures["overlay"] else None
    return FacePictures(shown, scale, (shared["grad_cam_words"],) if pictures["grad_cam_overlay"] else ())


def _region_bar(row: dict[str, Any]) -> Bar:
    """A region of a face; those that the finding names stand out."""
    if row["named"]:
        return Bar(row["words"], row["score"], "named", "fake", bold=True)
    return Bar(row["words"], row["score"], "", "bar")


def annex(place: str, file: dict[str, Any], one_author: bool) -> Iterator[Section]:
    """Questions and answers; that they were left out, where the examiner wished so.

    one_author: all answers of the report are by one language model; else each names its own.
    """
    heading = f"{ANNEX} ({place.strip(', ').lower()})" if place else ANNEX
    if file["transcript"]:
        told = tuple(
            (f"On face {row['face']}: {row['question']}", _answer(row, "" if one_author else author_of(row)))
            for row in file["transcript"]
        )
        yield Section(heading, (Transcript(TRANSCRIPT_NOTE, told),))
    elif file.get("transcript_left_out"):
        yield Section(heading, (Note(file["transcript_left_out"]),))


def author_of(exchange: dict[str, Any]) -> str:
    """The language model of an answer, in words; "" where an older version did not note it."""
    return exchange.get("answered_by", {"words": ""})["words"]


def _answer(exchange: dict[str, Any], author: str) -> str:
    """An answer; one that was broken off or failed says so, and a remark follows it."""
    broken_off = not exchange["complete"] and not exchange["failure"]
    answer = exchange["answer"] + (" [broken off]" if broken_off else "")
    return answer_words(answer, exchange["failure"], exchange["remark"], author)


def digest_rows(place: str, file: dict[str, Any]) -> Rows:
    pixels = "SHA-256 of the examined frames" if file.get("video") else "SHA-256 of its pixels"
    none = "none: the photograph was not given as a file"
    return (f"{place}SHA-256 of the file", file["sha256"] or none), (
        f"{place}{pixels}",
        file["pixels_sha256"],
    )
