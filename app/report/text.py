"""What the HTML and the PDF form of a report have in common: captions, and rows of name and value."""

from __future__ import annotations

from typing import Any, NamedTuple

Rows = list[tuple[str, str]]

PHOTO_CAPTION = "The photograph. Boxes are numbered as the faces are in this report."
STILLS_CAPTION = "One frame of the video for each face. Boxes are numbered as the faces are in this report."
CROP_CAPTION = "The square the detector read"
OVERLAY_CAPTION = "The same with the heat map over it"
GRAD_CAM_CAPTION = "What the score rests on (Grad-CAM)"
FRAME_COLUMNS = ("Frame at", "Score", "0 to 1", "Read by itself as")
REGION_COLUMNS = ("Region (left is the person’s left)", "Mean of the heat map", "0 to 1", "In the finding")
TRANSCRIPT_NOTE = (
    "The answers below were written by the language model, word for word as shown to the user; only what "
    "stands in brackets is Unmask's own. They are no part of the finding: where one differs from it, the "
    "finding holds."
)


class Bar(NamedTuple):
    """A row of a table with bars: a name, a value in [0, 1] or none, words, and what colours it.

    kind: "named" (a region of the finding), a verdict, or "".
    """

    name: str
    value: float | None
    words: str
    kind: str


def medium(data: dict[str, Any]) -> str:
    """What was examined, in a word."""
    return "video" if data["file"].get("video") else "photograph"


def kind(data: dict[str, Any]) -> str:
    """What the report is."""
    return f"Examination of a {medium(data)} for face manipulation"


def photo_caption(data: dict[str, Any]) -> str:
    """What stands under the first picture."""
    if medium(data) == "photograph":
        return PHOTO_CAPTION
    return STILLS_CAPTION if data["faces"] else "The first of the frames examined."


def heading_rows(data: dict[str, Any]) -> Rows:
    """What was examined, when, with what."""
    file, software = data["file"], data["software"]
    size = "" if file["bytes"] is None else f", {file['bytes']:,} bytes"
    video = file.get("video")
    return [
        ("Examined", file["name"]),
        ("Kind", f"{file['format']}, {file['width']} × {file['height']} pixels{size}"),
        *([("Frames", video["words"])] if video else []),
        ("SHA-256", file["sha256"] or f"of the pixels: {file['pixels_sha256']}"),
        ("Date", data["created"].replace("T", " ").replace("Z", " UTC")),
        ("Examined with", f"{software['name']} {software['version']}, models “{data['models']['name']}”"),
        ("Answers by", data["models"]["language_model"]["words"]),
    ]


def face_lines(data: dict[str, Any]) -> list[str]:
    """The finding about every face with its strength: what a reader of the first page must know."""
    return [f"{face['finding']} {face['evidence']['words']}" for face in data["faces"]]


def face_rows(face: dict[str, Any]) -> Rows:
    """Verdict, score, reasons and position of one face."""
    rows = [("Verdict", face["verdict_words"])]
    rows += [
        ("Score", "none" if face["score"] is None else f"{face['score']:.4f} of 1; what it means is below")
    ]
    if face["evidence"]["log10_lr"] is not None:
        rows += [("Likelihood ratio", face["evidence"]["row"])]
    rows += [("Reason", reason["words"]) for reason in face["reasons"]]
    x0, y0, x1, y1 = face["box"]
    rows += [("Position", f"x {x0} to {x1}, y {y0} to {y1} pixels from the upper left corner")]
    return rows + ([("Frames", face["track"]["words"])] if face.get("track") else [])


def region_bars(face: dict[str, Any]) -> list[Bar]:
    """The regions of a face; those that the finding names stand out."""
    return [
        Bar(row["words"], row["score"], "named" if row["named"] else "", "named" if row["named"] else "")
        for row in face["region_table"]
    ]


def frame_bars(face: dict[str, Any]) -> list[Bar]:
    """Every frame that shows a face in a video, with its verdict and why it has none."""
    bars = []
    for frame in face["track"]["frames"] if face.get("track") else []:
        why = ", ".join(reason["words"] for reason in frame["reasons"])
        words = frame["verdict_words"].lower() + (f": {why}" if why else "")
        words += " (shown above)" if frame["shown"] else ""
        bars.append(Bar(frame["clock"], frame["score"], words, frame["verdict"]))
    return bars


def strength_line(face: dict[str, Any]) -> str:
    """How strongly the score speaks, and what that means and does not mean."""
    return f"{face['evidence']['words']} {face['evidence']['meaning']}".strip()


def identification_rows(data: dict[str, Any]) -> Rows:
    """Digests of the photograph, of every file of weights and of the program; thresholds and libraries."""
    file, thresholds = data["file"], data["thresholds"]
    return [
        ("SHA-256 of the file", file["sha256"] or "none: the photograph was not given as a file"),
        (
            "SHA-256 of the examined frames" if file.get("video") else "SHA-256 of its pixels",
            file["pixels_sha256"],
        ),
        (
            "Thresholds",
            "no signs up to {real_at_most:.4f}, manipulated from {fake_at_least:.4f}".format(**thresholds),
        ),
        ("Calibrated on", thresholds["fitted_on"]),
        *((weights["name"], weights["sha256"]) for weights in data["models"]["files"]),
        ("Program", data["software"]["sha256"]),
        ("Computed with", ", ".join(f"{name} {had}" for name, had in data["software"]["libraries"].items())),
    ]


def question_line(exchange: dict[str, Any]) -> str:
    """The question of an exchange, and which face it was about."""
    return f"On face {exchange['face']}: {exchange['question']}"


def answer_line(exchange: dict[str, Any]) -> str:
    """The answer of an exchange; one that was broken off or failed says so, and a remark follows it."""
    broken_off = not exchange["complete"] and not exchange["failure"]
    answer = exchange["answer"] + (" [broken off]" if broken_off else "")
    return answer_words(answer, exchange["failure"], exchange["remark"])


def answer_words(answer: str, failure: str = "", remark: str = "") -> str:
    """An answer; where it failed why there is no more of it; and in brackets what Unmask remarks on it."""
    added = (f"[failed: {failure}]" if failure else "", f"[{remark}]" if remark else "")
    return " ".join(part for part in (answer, *added) if part)
