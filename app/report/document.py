"""The order of a report: its JSON values as the blocks that every form of it is drawn from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.court import LABELS, OPINION
from app.report.blocks import (
    Bar,
    Bars,
    Block,
    Bullets,
    Caution,
    Document,
    FacePictures,
    Facts,
    Note,
    Paragraph,
    Picture,
    Rows,
    Section,
    Signature,
    Title,
    Transcript,
    Verdict,
)
from app.wording.answers import answer_words
from app.wording.checking import signer_words
from app.wording.court import (
    ANNEX,
    FRAMES_HEADING,
    OPINION_NOTE,
    PHOTO_HEADING,
    PROPOSITIONS_LABEL,
    SIGNATURE_HEADING,
    SIGNATURE_LABELS,
    propositions_words,
)
from app.wording.provenance import HEADING
from app.wording.translated import ENGLISH, Stated, finding_sentences, sentences

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
TRANSCRIPT_NOTE = (
    "The answers below were written by the language model, word for word as shown to the user; only what "
    "stands in brackets is Unmask's own. They are no part of the finding: where one differs from it, the "
    "finding holds."
)


def document(data: dict[str, Any]) -> Document:
    """Lay a report out. data: its JSON values (app.report.data), with their seal."""
    medium = "video" if data["file"].get("video") else "photograph"
    subject = f"Examination of a {medium} for face manipulation"
    return Document(
        title=f"Report on {data['file']['name']}",
        author=f"{data['software']['name']} {data['software']['version']}",
        subject=subject,
        file_name=data["file"]["name"],
        seal=data["seal"],
        opening=(Title(subject, "Report"), Facts(_heading_rows(data))),
        sections=(
            Section("Finding", tuple(_finding(data))),
            *_summary(data),
            *_opinion(data.get("court_form", {})),
            *_pictures(data),
            *_frame_tables(data["faces"]),
            *_provenance(data.get("provenance")),
            *(
                Section(f"Face {face['number']}", tuple(_face(face, data)), tall=True)
                for face in data["faces"]
            ),
            Section("Method", tuple(Paragraph(text) for text in data["method"])),
            Section("Limits", (Bullets(tuple(data["limits"])),)),
            Section(
                "Identification of the file and of the models",
                (Facts(_identification_rows(data), long_names=True),),
            ),
            Section(
                "How to check this report",
                (Bullets(tuple(data["checking"])), Facts(_seal_rows(data))),
            ),
            *_annex(data),
        ),
    )


def _summary(data: dict[str, Any]) -> Iterator[Section]:
    """Finding, strength and limits in the language shown besides English, where there is one."""
    language = data.get("language", ENGLISH)
    if language == ENGLISH:
        return
    words = sentences(language)
    faces = [Stated.in_report(face) for face in data["faces"]]
    said = [finding_sentences(language, face) for face in faces] or [words["no_face"]]
    leads = [words["face"].format(number=face.number) for face in faces] or [""]
    blocks = (
        Note(words["note"]),
        Verdict(words["verdict"][data["verdict"]], data["verdict"]),
        *(Paragraph(text, lead) for text, lead in zip(said, leads, strict=True)),
        Note(words["not_a_probability"]),
        Paragraph("", lead=words["limits_heading"]),
        Bullets(tuple(words["limits"])),
    )
    yield Section(
        words["heading"], blocks, tall=True, language=language, right_to_left=words["right_to_left"]
    )


def _seal_rows(data: dict[str, Any]) -> Rows:
    """The seal, the key and the signature; reports of older versions know of no key."""
    signature = (("Signature", data["signature"]),) if data.get("signature") else ()
    return (("Seal", data["seal"]), ("Signed by", signer_words(data.get("signed_by"))), *signature)


def _heading_rows(data: dict[str, Any]) -> Rows:
    """The examiner's own entries, the examined file, the date, and the models."""
    file, software = data["file"], data["software"]
    size = "" if file["bytes"] is None else f", {file['bytes']:,} bytes"
    video, entries = file.get("video"), data.get("court_form", {})
    return (
        *((label, entries[name]) for name, label in LABELS.items() if name in entries),
        *((PROPOSITIONS_LABEL, propositions_words(pair)) for pair in [data.get("propositions")] if pair),
        ("Examined", file["name"]),
        ("Kind", f"{file['format']}, {file['width']} × {file['height']} pixels{size}"),
        *((("Frames", video["words"]),) if video else ()),
        *((("Faces", data["faces_found"]["words"]),) if "faces_found" in data else ()),
        ("SHA-256", file["sha256"] or f"of the pixels: {file['pixels_sha256']}"),
        ("Date", data["created"].replace("T", " ").replace("Z", " UTC")),
        ("Examined with", f"{software['name']} {software['version']}, models “{data['models']['name']}”"),
        ("Answers by", data["models"]["language_model"]["words"]),
    )


def _finding(data: dict[str, Any]) -> Iterator[Block]:
    """Everything that a reader of the first page must know."""
    yield Verdict(data["finding"], data["verdict"])
    if data["faces"]:
        yield Bullets(tuple(_face_words(face, len(data["faces"]) > 1) for face in data["faces"]))
    if data["warnings"]:
        yield Bullets(tuple(data["warnings"]))
    yield Caution(data["models"]["good_for"], lead="Models used.")


def _face_words(face: dict[str, Any], one_of_many: bool) -> str:
    """A face on the first page: the finding, when in a clip, and how strong the evidence is."""
    when = face.get("stretches") if one_of_many else ""  # of the only face it stands in the finding above
    return " ".join(filter(None, (face["finding"], when, face["evidence"]["words"])))


def _opinion(entries: dict[str, str]) -> Iterator[Section]:
    """The examiner's own conclusion and the lines to sign on, where any entry of the court form was made."""
    signature = Signature(SIGNATURE_LABELS, entries.get("examiner", ""))
    if "examiner_opinion" in entries:
        yield Section(OPINION, (Paragraph(entries["examiner_opinion"]), Note(OPINION_NOTE), signature))
    elif entries:
        yield Section(SIGNATURE_HEADING, (signature,))


def _pictures(data: dict[str, Any]) -> Iterator[Section]:
    """What was examined, with numbered faces."""
    stills = STILLS_CAPTION if data["faces"] else NO_FACE_CAPTION
    caption = stills if data["file"].get("video") else PHOTO_CAPTION
    yield Section(PHOTO_HEADING, (Picture(data["pictures"]["photo"], caption),))


def _frame_tables(faces: list[dict[str, Any]]) -> Iterator[Section]:
    """A video's frames, a table for each person."""
    for face in faces:
        if face.get("track"):
            bars = Bars(FRAME_COLUMNS, FRAME_WIDTHS, tuple(map(_frame_bar, face["track"]["frames"])))
            yield Section(FRAMES_HEADING.format(number=face["number"]), (bars,))


def _face(face: dict[str, Any], data: dict[str, Any]) -> Iterator[Block]:
    yield Verdict(" ".join(filter(None, (face["finding"], face.get("stretches")))), face["verdict"])
    yield Facts(_face_rows(face))
    yield Paragraph(face["meaning"], lead="What this score means.")
    strength = f"{face['evidence']['words']} {face['evidence']['meaning']}".strip()
    yield Paragraph(strength, lead="Strength of the evidence.")
    yield Paragraph(face["error_rate"]["words"], lead="Error rate.")
    if face.get("opinions"):
        yield Paragraph(face["agreement"], lead="Second opinions.")
        yield Bullets(tuple(opinion["words"] for opinion in face["opinions"]))
    yield _face_pictures(face["pictures"], data["pictures"])
    yield Paragraph(face["explanation"])
    if face["region_table"]:
        yield Bars(REGION_COLUMNS, REGION_WIDTHS, tuple(_region_bar(row) for row in face["region_table"]))
    yield Note(face["quality"]["words"])


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


def _frame_bar(frame: dict[str, Any]) -> Bar:
    """A frame that shows a face in a video, with its verdict and why it has none."""
    why = ", ".join(reason["words"] for reason in frame["reasons"])
    words = frame["verdict_words"].lower() + (f": {why}" if why else "")
    words += " (shown above)" if frame["shown"] else ""
    return Bar(frame["clock"], frame["score"], words, frame["verdict"])


def _provenance(provenance: dict[str, Any] | None) -> Iterator[Section]:
    """What the file tells of its origin, apart from the finding."""
    if provenance:
        rows = tuple((row["name"], row["words"]) for row in provenance["rows"])
        yield Section(HEADING, (Note(provenance["note"]), Facts(rows)))


def _annex(data: dict[str, Any]) -> Iterator[Section]:
    """Questions and answers; that they were left out, where the examiner wished so."""
    if data["transcript"]:
        told = ((f"On face {row['face']}: {row['question']}", _answer(row)) for row in data["transcript"])
        yield Section(ANNEX, (Transcript(TRANSCRIPT_NOTE, tuple(told)),))
    elif data.get("transcript_left_out"):
        yield Section(ANNEX, (Note(data["transcript_left_out"]),))


def _answer(exchange: dict[str, Any]) -> str:
    """An answer; one that was broken off or failed says so, and a remark follows it."""
    broken_off = not exchange["complete"] and not exchange["failure"]
    answer = exchange["answer"] + (" [broken off]" if broken_off else "")
    return answer_words(answer, exchange["failure"], exchange["remark"])


def _identification_rows(data: dict[str, Any]) -> Rows:
    """Digests of the file, of every file of weights and of the program; thresholds and libraries."""
    file, thresholds, libraries = data["file"], data["thresholds"], data["software"]["libraries"]
    pixels = "SHA-256 of the examined frames" if file.get("video") else "SHA-256 of its pixels"
    zones = "no signs up to {real_at_most:.4f}, manipulated from {fake_at_least:.4f}".format(**thresholds)
    return (
        ("SHA-256 of the file", file["sha256"] or "none: the photograph was not given as a file"),
        (pixels, file["pixels_sha256"]),
        ("Thresholds", zones),
        ("Calibrated on", thresholds["fitted_on"]),
        *((weights["name"], weights["sha256"]) for weights in data["models"]["files"]),
        ("Program", data["software"]["sha256"]),
        ("Computed with", ", ".join(f"{name} {version}" for name, version in libraries.items())),
    )
