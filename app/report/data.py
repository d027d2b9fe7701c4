"""The content of a report as plain JSON values: the canonical form that every layout is rendered from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from app.analysis import Analysis, ChatRecord, Exchange
from app.cases.blur import hidden_faces, without_bystanders
from app.cases.case import Case, ExaminedFile, Opened
from app.court import CourtForm
from app.facts import facts_of
from app.models.narrative import composed_narrative
from app.pictures import GRAD_CAM_TEXT, LEGEND_TEXT, data_uri, face_pictures, legend, overview
from app.report.program import libraries, program_digest, software_version
from app.wording import answers, lead
from app.wording import findings as wording
from app.wording.case import blurred_words, case_sentence, opened_words
from app.wording.checking import checking
from app.wording.court import PROPOSITIONS, left_out_words
from app.wording.provenance import NOTE, provenance_rows
from app.wording.strength import RATIO_KEY, RATIO_WORDS, strength_data
from app.wording.translated import ENGLISH, sentences
from kfd.detection import FaceFinding
from kfd.scoring.opinions import agreement
from media.regions import REGION_NAMES

SCHEMA = "unmask-report/2"
FIRST_SCHEMA = "unmask-report/1"  # of one file, whose fields stood where those of the whole report stand now
CALIBRATION = (  # of kfd.config.Decision: what a score is computed of
    "method", "slope", "intercept", "knot_logits", "knot_log_odds",
    "clip_frames", "clip_slope", "clip_intercept", "clip_disagree",
)  # fmt: skip
PHOTO_SIDE = 1200  # pixels; the report identifies the photograph, it does not replace it
FACE_SIDE = 400


def report_data(
    case: Case,
    signer: str | None = None,
    form: CourtForm | None = None,
    language: str = ENGLISH,
    shown: Mapping[int, Collection[int] | None] | None = None,
    wishes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything a report says, without its seal and signature. Numbers are rounded as they are printed.

    signer: the public key of who will sign it; None where nobody does. form: the examiner's own entries.
    language: of the summary that the drawn forms show; the data are English. shown: files to their faces,
    both by their index from 0, that are not blurred in the pictures, while all others are; None blurs none,
    in all files or in one. wishes: what reports on a saved case are to leave out, see app.cases.opening.
    Raises ValueError for a language, a file or a face that there is not, for a case without files, for files
    examined by different models, and where not all faces of a file can be blurred.
    """
    sentences(language)
    form, found = form or CourtForm(), case.analyses
    if not found or any(analysis.models.files != found[0].models.files for analysis in found):
        raise ValueError(
            "a report is on one file or more, all examined by the same models; examine them again"
        )
    if unknown := sorted(set(shown or ()) - set(range(len(found)))):
        raise ValueError(f"the case has no file {unknown[0] + 1}; it has {len(found)}, counted from 1")
    return {
        "schema": SCHEMA,
        "signed_by": signer,
        "created": _utc(max(analysis.created for analysis in found)),
        "language": language,
        "court_form": form.as_json(),
        **({} if wishes is None else {"wishes": dict(wishes)}),
        "propositions": list(PROPOSITIONS),
        "finding": case_sentence(case),
        "opened_from": _opened(case.opened),
        "not_examined": [asdict(unread) for unread in case.unread],
        "files": [
            _file(file, form, None if shown is None else shown.get(number, ()))
            for number, file in enumerate(case)
        ],
        **_computed_by(found),
        "method": _once(map(_method, found)),
        "limits": _once(map(wording.limits, found)),
        "checking": _once(map(checking, found)),
        "pictures": {
            "legend": data_uri(legend(256, 16), "PNG"),
            "legend_words": LEGEND_TEXT,
            "grad_cam_words": GRAD_CAM_TEXT,
        },
    }


def finding_data(analysis: Analysis) -> dict[str, Any]:
    """What was found in a file, by which program and models: the report on it without pictures, conversation
    and the words around them."""
    return {**_found(analysis), **_computed_by((analysis,)), "limits": wording.limits(analysis)}


def files_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """What a report says of each of its files; a report of FIRST_SCHEMA is on the one it says all of."""
    return data["files"] if data.get("schema") == SCHEMA else [data]


def _file(file: ExaminedFile, form: CourtForm, shown: Collection[int] | None) -> dict[str, Any]:
    """A file of a report: the finding with its pictures, what the examiner says of it, what was asked.

    shown: its faces that are not blurred; None blurs nothing.
    """
    override, analysis = file.override, file.analysis
    found, exchanges = _found(analysis), analysis.session.exchanges
    blurred = hidden_faces(analysis, shown)
    analysis = analysis if shown is None else without_bystanders(analysis, shown)
    own = None if override is None else {"verdict": override.verdict, "reason": override.reason}
    return {
        **found,
        "faces": [
            {
                **told,
                "pictures": face_pictures(analysis, face, FACE_SIDE),
                "narrative": _narrative(analysis, face.index),
            }
            for told, face in zip(found["faces"], analysis.faces, strict=True)
        ],
        "photo": data_uri(overview(analysis, PHOTO_SIDE), "JPEG"),
        "blurred": {"faces": blurred, "words": blurred_words(blurred)},
        "examiner": {"notes": file.notes, "override": own},
        "transcript": [exchange_data(said, analysis.models.chat) for said in exchanges] if form.annex else [],
        "transcript_left_out": "" if form.annex else left_out_words(len(exchanges)),
    }


def _narrative(analysis: Analysis, face: int) -> dict[str, Any]:
    """Findings, both sides, limits and advice on a face in connected sentences, and who wrote them."""
    passages = analysis.session.narratives.get(face) or composed_narrative(facts_of(analysis, face))
    return {
        "words": answers.narrated_by(analysis.models.chat, [passage.by_model for passage in passages]),
        "passages": [asdict(passage) for passage in passages],
    }


def _found(analysis: Analysis) -> dict[str, Any]:
    """What was found in a file."""
    source, (width, height) = analysis.source, analysis.size
    return {
        "created": _utc(analysis.created),
        "file": {
            "name": source.name,
            "format": source.file_format,
            "bytes": source.num_bytes,
            "sha256": source.sha256,
            "pixels_sha256": source.pixels_sha256,
            "width": width,
            "height": height,
            "video": _video(analysis),
        },
        "verdict": analysis.verdict,
        "verdict_words": wording.VERDICT_WORDS[analysis.verdict],
        "reasons": _reasons(analysis.reasons),
        "finding": lead.whole_sentence(analysis),
        "warnings": list(analysis.warnings),
        "faces_found": {**analysis.count.as_json(), "words": analysis.count.words},
        "faces": [_face(analysis, face) for face in analysis.faces],
        "provenance": _provenance(analysis),
    }


def _computed_by(analyses: Sequence[Analysis]) -> dict[str, Any]:
    """The program, the models and their thresholds, the same for all files."""
    models = analyses[0].models
    real, fake = models.thresholds
    return {
        "software": {
            "name": "Unmask",
            "version": software_version(),
            "sha256": program_digest(),
            "libraries": libraries(),
        },
        "thresholds": {
            "real_at_most": round(real, 4),
            "fake_at_least": round(fake, 4),
            "fitted_on": models.fitted_on,
        },
        "calibration": {
            name: list(value) if isinstance(value := getattr(models.decision, name), tuple) else value
            for name in CALIBRATION
        },
        "models": {
            "name": models.name,
            "good_for": models.good_for,
            "files": [{"name": file.name, "sha256": file.sha256} for file in models.files],
            "language_model": _language_model(analyses),
        },
    }


def _method(analysis: Analysis) -> list[str]:
    return [*wording.method(analysis), *wording.second_method(analysis), f"{RATIO_WORDS} {RATIO_KEY}"]


def _opened(opened: Opened | None) -> dict[str, Any] | None:
    """The saved case that this one was opened from, in fields and in words; None of another."""
    if opened is None:
        return None
    fields = {"created": opened.created, "seal": opened.seal, "signed_by": opened.signer}
    return {**fields, "differences": list(opened.differences), "words": opened_words(opened)}


def _once(groups: Iterable[list[str]]) -> list[str]:
    """The texts of several lists in their order, each once."""
    return list(dict.fromkeys(text for group in groups for text in group))


def _face(analysis: Analysis, face: FaceFinding) -> dict[str, Any]:
    return {
        "number": face.index + 1,
        "box": [round(float(value)) for value in face.box],
        "verdict": face.verdict,
        "verdict_words": wording.VERDICT_WORDS[face.verdict],
        "score": None if face.score is None else round(float(face.score), 4),
        "headline": lead.headline(face),
        "strength": lead.strength_line(face),
        "finding": wording.face_sentence(face),
        "stretches": lead.stretches_of(analysis, face.index),
        "score_row": wording.score_row(face),
        "meaning": wording.score_meaning(
            face.score,
            analysis.models.thresholds,
            analysis.models.fitted_on,
            wording.flaws(face),
            face.evidence,
        ),
        **strength_data(analysis, face),
        "reasons": _reasons(face.reasons),
        "explanation": wording.explanation(face),
        "regions": list(face.regions),
        "region_table": [
            {
                "name": name,
                "words": wording.REGION_WORDS[name],
                "score": round(float(face.region_scores[name]), 4),
                "named": name in face.regions,
            }
            for name in REGION_NAMES
            if name in face.region_scores
        ],
        "quality": {
            "face_pixels": round(float(face.quality.face_pixels), 1),
            "sharpness": round(float(face.quality.sharpness), 1),
            "jpeg_loss": _rounded(face.quality.jpeg_loss),
            "video_loss": _rounded(face.quality.video_loss),
            "jpeg_quality": face.quality.jpeg_quality,
            "words": wording.quality_sentence(face),
        },
        "track": _track(analysis, face.index),
        "opinions": [
            {**opinion.as_json(), "words": wording.opinion_sentence(opinion)}
            for opinion in analysis.opinions_of(face.index)
        ],
        "agreement": agreement(face, analysis.opinions_of(face.index)),
    }


def _video(analysis: Analysis) -> dict[str, Any] | None:
    """Length of a video, and which frames were examined; None of a photograph."""
    video = analysis.video
    if video is None:
        return None
    return {
        "seconds": round(video.seconds, 3),
        "frames": video.num_frames,
        "examined": [round(seconds, 3) for seconds in video.sampled],
        "words": wording.frames_sentence(video),
    }


def _track(analysis: Analysis, face: int) -> dict[str, Any] | None:
    """Every frame of a video in which a person was examined; None of a photograph."""
    if analysis.video is None:
        return None
    track = analysis.video.tracks[face]
    return {
        "words": wording.track_sentence(track, len(analysis.video.sampled)),
        "frames": [
            {
                "seconds": round(frame.seconds, 3),
                "clock": wording.clock(frame.seconds),
                "score": None if frame.finding.score is None else round(frame.finding.score, 4),
                "verdict": frame.finding.verdict,
                "verdict_words": wording.VERDICT_WORDS[frame.finding.verdict],
                "reasons": _reasons(frame.finding.reasons),
                "shown": number == track.shown,
            }
            for number, frame in enumerate(track.frames)
        ],
    }


def _provenance(analysis: Analysis) -> dict[str, Any] | None:
    """What the file tells of its origin, in fields and in words; None of a video and of what is no file."""
    if analysis.provenance is None:
        return None
    rows = [{"name": name, "words": words} for name, words in provenance_rows(analysis.provenance)]
    return {**analysis.provenance, "rows": rows, "note": NOTE}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _language_model(analyses: Sequence[Analysis]) -> dict[str, Any]:
    """The language model in fields and in words, and in words those whose answers were taken over.

    That something was sent it says only where something was asked; face_sent holds for any of them.
    """
    chat, asked = analyses[0].models.chat, any(map(_was_asked, analyses))
    others = dict.fromkeys(author for analysis in analyses for author in analysis.session.authors)
    words = [f"{answers.answered_by(chat)}. {answers.sent_away(chat)}"] if asked else []
    words += map(answers.taken_over_words, others)
    return {
        **author_data(chat),
        "face_sent": (chat.face_sent and asked) or any(author.face_sent for author in others),
        "words": " ".join(words) or "No question was asked.",
    }


def _was_asked(analysis: Analysis) -> bool:
    """Whether the language model was told anything of the file."""
    session = analysis.session
    return bool(session.narratives) or any(exchange.author is None for exchange in session.exchanges)


def author_data(chat: ChatRecord) -> dict[str, Any]:
    """A language model in fields."""
    return {
        "name": chat.name,
        "tuned": chat.tuned,
        "endpoint": chat.host or None,
        "face_sent": chat.face_sent,
        "words": answers.answered_by(chat),
    }


def _reasons(reasons: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"code": reason, "words": wording.reason_words(reason)} for reason in reasons]


def exchange_data(exchange: Exchange, chat: ChatRecord) -> dict[str, Any]:
    """A question and its answer, as they stand in the report. chat: the language model of the analysis."""
    return {
        "face": exchange.face + 1,
        "question": exchange.question,
        "answer": exchange.answer,
        "complete": exchange.complete,
        "failure": exchange.failure,
        "remark": exchange.remark,
        "asked": _utc(exchange.asked),
        "answered_by": author_data(exchange.author or chat),
    }


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
