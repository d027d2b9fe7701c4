"""The content of a report as plain JSON values: the canonical form that every layout is rendered from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from app.analysis import Analysis, Exchange, grad_cam_of
from app.court import CourtForm
from app.pictures import (
    GRAD_CAM_TEXT,
    LEGEND_TEXT,
    data_uri,
    face_view,
    grad_cam_view,
    heatmap_of,
    legend,
    overlay_view,
    overview,
)
from app.report.program import libraries, program_digest, software_version
from app.wording import answers, lead
from app.wording import findings as wording
from app.wording.checking import checking
from app.wording.court import PROPOSITIONS, left_out_words
from app.wording.provenance import NOTE, provenance_rows
from app.wording.strength import RATIO_KEY, RATIO_WORDS, strength_data
from app.wording.translated import ENGLISH, sentences
from kfd.detection import FaceFinding
from kfd.scoring.opinions import agreement
from media.regions import REGION_NAMES

SCHEMA = "unmask-report/1"
PHOTO_SIDE = 1200  # pixels; the report identifies the photograph, it does not replace it
FACE_SIDE = 400


def report_data(
    analysis: Analysis,
    signer: str | None = None,
    form: CourtForm | None = None,
    language: str = ENGLISH,
) -> dict[str, Any]:
    """Everything a report says, without its seal and signature. Numbers are rounded as they are printed.

    signer: the public key of who will sign it; None where nobody does. form: the examiner's own entries.
    language: of the summary that the drawn forms show; the data are English. Raises ValueError for one that
    there is not.
    """
    sentences(language)
    form, exchanges = form or CourtForm(), analysis.session.exchanges
    found = finding_data(analysis)
    faces = [
        {**told, "pictures": _face_pictures(analysis, face)}
        for told, face in zip(found["faces"], analysis.faces, strict=True)
    ]
    return {
        **found,
        "schema": SCHEMA,
        "signed_by": signer,
        "language": language,
        "court_form": form.as_json(),
        "propositions": list(PROPOSITIONS),
        "faces": faces,
        "transcript": [exchange_data(exchange) for exchange in exchanges] if form.annex else [],
        "transcript_left_out": "" if form.annex else left_out_words(len(exchanges)),
        "method": [*wording.method(analysis), *wording.second_method(analysis), f"{RATIO_WORDS} {RATIO_KEY}"],
        "checking": checking(analysis),
        "pictures": {
            "photo": data_uri(overview(analysis, PHOTO_SIDE), "JPEG"),
            "legend": data_uri(legend(256, 16), "PNG"),
            "legend_words": LEGEND_TEXT,
            "grad_cam_words": GRAD_CAM_TEXT,
        },
    }


def finding_data(analysis: Analysis) -> dict[str, Any]:
    """What was found in a file, by which program and models: the report without pictures, conversation and
    the words around them."""
    source, (width, height) = analysis.source, analysis.size
    real, fake = analysis.models.thresholds
    return {
        "created": _utc(analysis.created),
        "software": {
            "name": "Unmask",
            "version": software_version(),
            "sha256": program_digest(),
            "libraries": libraries(),
        },
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
        "thresholds": {
            "real_at_most": round(real, 4),
            "fake_at_least": round(fake, 4),
            "fitted_on": analysis.models.fitted_on,
        },
        "models": {
            "name": analysis.models.name,
            "good_for": analysis.models.good_for,
            "files": [{"name": file.name, "sha256": file.sha256} for file in analysis.models.files],
            "language_model": _language_model(analysis),
        },
        "limits": wording.limits(analysis),
    }


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


def _face_pictures(analysis: Analysis, face: FaceFinding) -> dict[str, str | None]:
    """The face as it is; where it was scored, also with heat map and Grad-CAM over it, and the values of
    both as grey pictures (255 = 1)."""
    image, heatmap = analysis.image_of(face.index), heatmap_of(face)
    grad_cam = grad_cam_of(analysis, face.index)
    crop = data_uri(face_view(image, face.crop, FACE_SIDE), "JPEG")
    pictures: dict[str, str | None]
    pictures = {"crop": crop, "overlay": None, "heatmap": None, "grad_cam_overlay": None, "grad_cam": None}
    if heatmap is not None:
        pictures["overlay"] = data_uri(overlay_view(image, face, FACE_SIDE), "JPEG")
        pictures["heatmap"] = _grey(heatmap)
    if grad_cam is not None:
        pictures["grad_cam_overlay"] = data_uri(grad_cam_view(image, face, grad_cam, FACE_SIDE), "JPEG")
        pictures["grad_cam"] = _grey(grad_cam)
    return pictures


def _grey(values: np.ndarray) -> str:
    return data_uri(np.rint(values * 255).astype(np.uint8), "PNG")


def _language_model(analysis: Analysis) -> dict[str, Any]:
    """The language model in fields and in words; that something was sent only where something was asked."""
    chat, asked = analysis.models.chat, bool(analysis.session.exchanges)
    words = f"{answers.answered_by(chat)}. {answers.sent_away(chat)}" if asked else "No question was asked."
    return {
        "name": chat.name,
        "tuned": chat.tuned,
        "endpoint": chat.host or None,
        "face_sent": chat.face_sent and asked,
        "words": words,
    }


def _reasons(reasons: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"code": reason, "words": wording.reason_words(reason)} for reason in reasons]


def exchange_data(exchange: Exchange) -> dict[str, Any]:
    """A question and its answer, as they stand in the report."""
    return {
        "face": exchange.face + 1,
        "question": exchange.question,
        "answer": exchange.answer,
        "complete": exchange.complete,
        "failure": exchange.failure,
        "remark": exchange.remark,
        "asked": _utc(exchange.asked),
    }


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
