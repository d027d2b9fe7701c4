"""The order of a report: its JSON values as the blocks that every form of it is drawn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from app.court import LABELS, OPINION
from app.report.blocks import (
    Block,
    Bullets,
    Caution,
    Document,
    Facts,
    Note,
    Paragraph,
    Rows,
    Section,
    Signature,
    Title,
    Verdict,
)
from app.report.data import files_of
from app.report.file_sections import (
    annex,
    author_of,
    digest_rows,
    examiner_blocks,
    file_rows,
    file_sections,
    finding_blocks,
    place_of,
)
from app.wording.case import OPENED_HEADING, UNREAD_HEADING, file_label
from app.wording.checking import signer_words
from app.wording.court import (
    OPINION_NOTE,
    PROPOSITIONS_LABEL,
    SIGNATURE_HEADING,
    SIGNATURE_LABELS,
    propositions_words,
)
from app.wording.translated import ENGLISH, Stated, finding_sentences, label_in, sentences


def document(data: dict[str, Any]) -> Document:
    """Lay a report out. data: its JSON values (app.report.data), with their seal."""
    return _in_language(data.get("language", ENGLISH), _in_english(data))


def _in_english(data: dict[str, Any]) -> Document:
    files = files_of(data)
    what = _medium(files[0]) if len(files) == 1 else f"{len(files)} files"
    subject = f"Examination of {'a ' if len(files) == 1 else ''}{what} for face manipulation"
    named = files[0]["file"]["name"] if len(files) == 1 else f"{len(files)} files"
    authors = {author_of(exchange) for file in files for exchange in file["transcript"]}
    return Document(
        title=f"Report on {named}",
        author=f"{data['software']['name']} {data['software']['version']}",
        subject=subject,
        file_name=named,
        seal=data["seal"],
        opening=(Title(subject, "Report"), Facts(_heading_rows(data, files))),
        sections=(
            Section("Finding", tuple(_finding(data, files))),
            *_unread(data.get("not_examined", [])),
            *_summary(data, files),
            *_opinion(data.get("court_form", {})),
            *_opened(data.get("opened_from")),
            *(
                section
                for number, file in enumerate(files, 1)
                for section in file_sections(number, file, data, files)
            ),
            Section("Method", tuple(Paragraph(text) for text in data["method"])),
            Section("Limits", (Bullets(tuple(data["limits"])),)),
            Section(
                "Identification of the file and of the models",
                (Facts(_identification_rows(data, files), long_names=True),),
            ),
            Section(
                "How to check this report",
                (Bullets(tuple(data["checking"])), Facts(_seal_rows(data))),
            ),
            *(
                section
                for number, file in enumerate(files, 1)
                for section in annex(place_of(number, files), file, len(authors) < 2)
            ),
        ),
    )


def _in_language(language: str, document: Document) -> Document:
    """A document with its labels in a language. Sentences stay English, because they alone are binding."""
    if language == ENGLISH:
        return document

    def named(block: Block) -> Block:
        match block:
            case Title():
                return replace(
                    block, kind=label_in(language, block.kind), text=label_in(language, block.text)
                )
            case Facts():
                rows = tuple((label_in(language, name), value) for name, value in block.rows)
                return replace(block, rows=rows, language=language)
            case Signature():
                return replace(block, labels=tuple(label_in(language, label) for label in block.labels))
        return block

    def headed(section: Section) -> Section:
        heading, blocks = label_in(language, section.heading), tuple(map(named, section.blocks))
        spoken = section.language if heading == section.heading else language
        return replace(section, heading=heading, heading_language=spoken, blocks=blocks)

    opening, sections = tuple(map(named, document.opening)), tuple(map(headed, document.sections))
    return replace(document, opening=opening, sections=sections, language=language)


def _medium(file: dict[str, Any]) -> str:
    return "video" if file["file"].get("video") else "photograph"


def _summary(data: dict[str, Any], files: list[dict[str, Any]]) -> Iterator[Section]:
    """Finding, strength and limits in the language shown besides English, where there is one."""
    language = data.get("language", ENGLISH)
    if language == ENGLISH:
        return
    words = sentences(language)
    blocks = (
        Note(words["note"]),
        *(block for file in files for block in _summary_of(file, language, len(files) > 1)),
        Note(words["not_a_probability"]),
        Paragraph("", lead=words["limits_heading"]),
        Bullets(tuple(words["limits"])),
    )
    yield Section(
        words["heading"], blocks, tall=True, language=language, right_to_left=words["right_to_left"]
    )


def _summary_of(file: dict[str, Any], language: str, one_of_many: bool) -> Iterator[Block]:
    words = sentences(language)
    if one_of_many:
        yield Paragraph("", lead=file["file"]["name"])
    yield Verdict(words["verdict"][file["verdict"]], file["verdict"])
    for face in map(Stated.in_report, file["faces"]):
        yield Paragraph(finding_sentences(language, face), lead=words["face"].format(number=face.number))
    if not file["faces"]:
        yield Paragraph(words["no_face"])


def _seal_rows(data: dict[str, Any]) -> Rows:
    """The seal, the key and the signature; reports of older versions know of no key."""
    signature, key = data.get("signature"), data.get("signed_by")
    return (
        ("Seal", data["seal"]),
        ("Signed by", signer_words(key, bool(signature))),
        *((("Signature", signature),) if signature else ()),
    )


def _heading_rows(data: dict[str, Any], files: list[dict[str, Any]]) -> Rows:
    """The examiner's own entries, the examined files, the date, and the models."""
    software, entries = data["software"], data.get("court_form", {})
    if len(files) == 1:
        examined = (("Examined", files[0]["file"]["name"]), *file_rows(files[0]))
    else:
        examined = tuple((f"File {number}", file["file"]["name"]) for number, file in enumerate(files, 1))
    return (
        *((label, entries[name]) for name, label in LABELS.items() if name in entries),
        *((PROPOSITIONS_LABEL, propositions_words(pair)) for pair in [data.get("propositions")] if pair),
        *examined,
        ("Date", _date(data["created"])),
        ("Examined with", f"{software['name']} {software['version']}, models “{data['models']['name']}”"),
        ("Answers by", data["models"]["language_model"]["words"]),
    )


def _date(created: str) -> str:
    return created.replace("T", " ").replace("Z", " UTC")


def _finding(data: dict[str, Any], files: list[dict[str, Any]]) -> Iterator[Block]:
    """Everything that a reader of the first page must know."""
    if len(files) == 1:
        yield from finding_blocks(files[0])
    else:
        yield Paragraph(data["finding"])
        for number, file in enumerate(files, 1):
            yield Verdict(f"{file_label(number, file['file']['name'])}. {file['finding']}", file["verdict"])
            yield from examiner_blocks(file, with_notes=False)
    yield Caution(data["models"]["good_for"], lead="Models used.")


def _unread(files: list[dict[str, str]]) -> Iterator[Section]:
    """The files of a case that gave nothing to examine."""
    if files:
        yield Section(
            UNREAD_HEADING, (Bullets(tuple(f"{told['name']}: {told['reason']}" for told in files)),)
        )


def _opened(opened: dict[str, Any] | None) -> Iterator[Section]:
    """The saved case behind this one."""
    if opened:
        yield Section(OPENED_HEADING, (Bullets(tuple(opened["words"])),))


def _opinion(entries: dict[str, str]) -> Iterator[Section]:
    """The examiner's own conclusion and the lines to sign on, where any entry of the court form was made."""
    signature = Signature(SIGNATURE_LABELS, entries.get("examiner", ""))
    if "examiner_opinion" in entries:
        yield Section(OPINION, (Paragraph(entries["examiner_opinion"]), Note(OPINION_NOTE), signature))
    elif entries:
        yield Section(SIGNATURE_HEADING, (signature,))


def _identification_rows(data: dict[str, Any], files: list[dict[str, Any]]) -> Rows:
    """Digests of the files, of every file of weights and of the program; thresholds and libraries."""
    thresholds, libraries = data["thresholds"], data["software"]["libraries"]
    zones = "no signs up to {real_at_most:.4f}, manipulated from {fake_at_least:.4f}".format(**thresholds)
    return (
        *(
            row
            for number, told in enumerate(files, 1)
            for row in digest_rows(place_of(number, files), told["file"])
        ),
        ("Thresholds", zones),
        ("Calibrated on", thresholds["fitted_on"]),
        *((weights["name"], weights["sha256"]) for weights in data["models"]["files"]),
        ("Program", data["software"]["sha256"]),
        ("Computed with", ", ".join(f"{name} {version}" for name, version in libraries.items())),
    )
