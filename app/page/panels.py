"""Fragments of the page: the values that fill the templates of `fragments/`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.analysis import Analysis, ModelRecord, grad_cam_of
from app.pictures import (
    GRAD_CAM_TEXT,
    LEGEND_TEXT,
    data_uri,
    face_view,
    grad_cam_view,
    heat_layer,
    heatmap_of,
    legend,
    overview,
)
from app.templates import load_templates
from app.wording import answers, lead, strength
from app.wording import findings as wording
from app.wording.provenance import NOTE, provenance_rows
from app.wording.translated import ENGLISH, Stated, finding_sentences, sentences
from kfd.detection import FaceFinding
from kfd.scoring.opinions import agreement
from kfd.video import FRAMES, FrameFinding
from media.regions import REGION_NAMES

PHOTO_SIDE = 1100  # pixels
FACE_SIDE = 440
LARGEST_FACE_SIDE = 880  # of a large one, to look at closely
TICK_GAP = 0.09  # of the ruler; an end closer to a threshold than this gets no number of its own

_TEMPLATES = load_templates(Path(__file__).with_name("fragments"))
_NOTES = _TEMPLATES.get_template("notes.html").module


def header(language: str = ENGLISH) -> str:
    """The name of the program and what it does, with the words that page.js needs."""
    return fill("header.html", language)


def introduction(language: str = ENGLISH) -> str:
    """The three steps of a visit, shown before anything is examined."""
    return fill("introduction.html", language, frames=FRAMES)


def waiting(ahead: int = 0, number: int = 1, count: int = 1) -> str:
    """A sentence for the time of the examination. ahead: files that are examined before this one. number,
    count: which file of the case it is, from 1, and of how many."""
    return str(_NOTES.waiting(ahead, number, count))


def waiting_for_answer(ahead: int) -> str:
    """A sentence for the time before an answer begins. ahead: answers written before it; "" for none."""
    return str(_NOTES.waiting_for_answer(ahead))


def password_page(wrong: bool) -> str:
    """The page that asks for the password. wrong: one was given, and it was not the right one."""
    return fill("password.html", wrong=wrong)


def notice(message: str) -> str:
    """A calm sentence where a result would stand."""
    return str(_NOTES.notice(message[:1].upper() + message[1:]))


def hint(message: str, language: str = ENGLISH) -> str:
    """A remark in small print. language: that it is in."""
    return str(_NOTES.hint(message, language))


def heading(name: str, language: str = ENGLISH) -> str:
    """A heading that is heard and not seen, for those who go through the page by its headings.

    name: of its words in languages/*.yaml.
    """
    return str(_NOTES.unseen(sentences(language)["page"][name]))


def english_only(language: str) -> str:
    """That questions are answered in English, where the page is in another language; else ""."""
    return "" if language == ENGLISH else hint(sentences(language)["page"]["english_only"], language)


def photo_panel(analysis: Analysis, language: str = ENGLISH) -> str:
    """The whole photograph, or a still of each person in a video, with the numbered faces."""
    width, height = analysis.size
    facts = [analysis.source.name, f"{width} × {height}", analysis.count.words]
    if analysis.video is not None:
        facts.append(wording.frames_sentence(analysis.video))
    picture = data_uri(overview(analysis, PHOTO_SIDE), "JPEG")
    rows = provenance_rows(analysis.provenance)
    return fill(
        "photo.html",
        language,
        picture=picture,
        medium=analysis.medium,
        facts=facts,
        rows=rows,
        note=NOTE,
    )


def face_panel(analysis: Analysis, face: int, language: str = ENGLISH) -> str:
    """The square the detector read, and the same with the heat map as a layer that CSS fades.

    Of a video also the timeline; folded away, what the score rests on.
    """
    finding, image = analysis.faces[face], analysis.image_of(face)
    heatmap, grad_cam = heatmap_of(finding), grad_cam_of(analysis, face)
    side = round(min(max(FACE_SIDE, finding.crop.box[2] - finding.crop.box[0]), LARGEST_FACE_SIDE))
    return fill(
        "face.html",
        language,
        number=face + 1,
        crop=data_uri(face_view(image, finding.crop, side), "JPEG"),
        heat=None if heatmap is None else data_uri(heat_layer(heatmap, FACE_SIDE), "WEBP"),
        legend=_legend(),
        legend_text=LEGEND_TEXT,
        timeline=_timeline(analysis, face),
        grad_cam=None
        if grad_cam is None
        else data_uri(grad_cam_view(image, finding, grad_cam, FACE_SIDE), "JPEG"),
        grad_cam_text=GRAD_CAM_TEXT,
    )


def verdict_panel(analysis: Analysis, face: int, language: str = ENGLISH) -> str:
    """Verdict, score on its scale, what the score means, and the regions of one face."""
    finding, models = analysis.faces[face], analysis.models
    real, fake = models.thresholds
    flaws, found = wording.flaws(finding), finding.evidence
    return fill(
        "verdict.html",
        language,
        number=face + 1,
        medium=analysis.medium,
        whole_verdict=analysis.verdict,
        verdict=finding.verdict,
        headline=lead.headline(finding),
        strength_line=lead.strength_line(finding),
        whole="" if len(analysis.faces) == 1 else lead.whole_sentence(analysis),
        stretches=lead.stretches_of(analysis, face),
        score=None if flaws else finding.score,  # else it would be read as a finding
        score_row=wording.score_row(finding),
        real=real,
        fake=fake,
        ticks=_ticks(real, fake),
        sentence=wording.face_sentence(finding),
        warnings=analysis.warnings,
        meaning=wording.score_meaning(finding.score, models.thresholds, models.fitted_on, flaws, found),
        strength=f"{strength.evidence_words(finding)} {strength.evidence_meaning(finding)}",
        ratio="" if found is None else f"{strength.ratio_words(finding)}. {strength.RATIO_KEY}",
        error_rate=strength.error_rate_words(analysis, finding),
        agreement=agreement(finding, analysis.opinions_of(face)),
        opinions=[wording.opinion_sentence(opinion) for opinion in analysis.opinions_of(face)],
        regions=list(_regions(finding)),
        quality=wording.quality_sentence(finding),
        good_for=models.good_for,
    )


def translated_panel(analysis: Analysis, face: int | None, language: str) -> str:
    """Verdict, strength and limits in another language than English; "" in English. face: None for none."""
    words = sentences(language)
    if language == ENGLISH:
        return ""
    verdict = analysis.verdict if face is None else analysis.faces[face].verdict
    said = words["no_face"] if face is None else finding_sentences(language, Stated.of(analysis.faces[face]))
    return fill(
        "translated.html",
        language,
        verdict=verdict,
        headline=words["verdict"][verdict],
        sentence=said,
        **{name: words[name] for name in ("right_to_left", "not_a_probability", "limits_heading", "limits")},
    )


def no_face_panel(analysis: Analysis) -> str:
    """The card of a file in which no face was found: no score, and what to do."""
    return fill(
        "no_face.html",
        verdict_words=wording.VERDICT_WORDS["inconclusive"],
        sentence=lead.whole_sentence(analysis),
        medium=analysis.medium,
        warnings=analysis.warnings,
    )


def footer(models: ModelRecord, version: str) -> str:
    """The models that are loaded, and what they are good for."""
    written = {"answered_by": answers.answered_by(models.chat), "sent_away": answers.sent_away(models.chat)}
    return fill("footer.html", models=models, version=version, **written)


def face_label(finding: FaceFinding, language: str = ENGLISH) -> str:
    """The label of a face in the selector, as plain text."""
    words = sentences(language)
    return f"{words['face'].format(number=finding.index + 1)} · {words['short'][finding.verdict]}"


def fill(template: str, language: str = ENGLISH, **values: Any) -> str:
    """A template with its values, and with the words of a language for its labels."""
    said = sentences(language)
    return _TEMPLATES.get_template(template).render(values, language=language, said=said, words=said["page"])


@lru_cache(maxsize=1)
def _legend() -> str:
    return data_uri(legend(256, 16), "WEBP")


def _ticks(real: float, fake: float) -> list[tuple[float, str]]:
    """Places on the ruler and their numbers."""
    ends = "0" if real > TICK_GAP else "", "1" if fake < 1 - TICK_GAP else ""
    return [(0, ends[0]), (real, f"{real:.2f}"), (fake, f"{fake:.2f}"), (1, ends[1])]


def _regions(finding: FaceFinding) -> Iterator[dict[str, Any]]:
    for name in REGION_NAMES if finding.region_scores else ():
        words, score = wording.REGION_WORDS[name], finding.region_scores[name]
        yield {"words": words, "score": score, "named": name in finding.regions}


def _timeline(analysis: Analysis, face: int) -> dict[str, Any] | None:
    """A face in every frame examined of a video; None of a photograph."""
    video = analysis.video
    if video is None:
        return None
    track = video.tracks[face]
    seen = {frame.number: frame for frame in track.frames}
    shown = track.frames[track.shown]
    return {
        "words": wording.track_sentence(track, len(video.sampled)),
        "thresholds": analysis.models.thresholds,
        "frames": [
            _frame(seen[number], seen[number] is shown)
            if number in seen
            else {"seen": False, "words": f"{wording.clock(seconds)}: not seen"}
            for number, seconds in enumerate(video.sampled)
        ],
        "limit": wording.VIDEO_LIMIT,
    }


def _frame(frame: FrameFinding, shown: bool) -> dict[str, Any]:
    """The face in one frame, with its heat map, and how the frame reads by itself."""
    finding, clock, flaws = frame.finding, wording.clock(frame.seconds), wording.flaws(frame.finding)
    heatmap = heatmap_of(finding)
    score = "no score" if finding.score is None else f"score {finding.score:.2f}"
    verdict = wording.VERDICT_WORDS[finding.verdict].lower() + (f", because {flaws}" if flaws else "")
    side = len(finding.crop.pixels)
    return {
        "seen": True,
        "number": frame.number,
        "marks": finding.verdict + (" flawed" if frame.flaws else "") + (" shown" if shown else ""),
        "score": finding.score or 0,
        "clock": clock,
        "words": f"{clock}, {score}: {verdict}",
        "crop": data_uri(finding.crop.pixels, "JPEG"),
        "heat": None if heatmap is None else data_uri(heat_layer(heatmap, side), "WEBP"),
    }
