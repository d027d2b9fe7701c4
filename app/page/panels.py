"""Fragments of the page as HTML. Functions of an analysis; every text in them is escaped."""

from __future__ import annotations

from html import escape

from app.analysis import Analysis, ModelRecord, grad_cam_of
from app.pictures import (
    GRAD_CAM_TEXT,
    LEGEND_TEXT,
    data_uri,
    face_view,
    grad_cam_view,
    heat_layer,
    heatmap_of,
    overview,
)
from app.wording import findings as wording
from app.wording import strength
from kfd.detection import FaceFinding
from kfd.video import FRAMES, Moment
from media.regions import REGION_NAMES

PHOTO_SIDE = 1100  # pixels
FACE_SIDE = 440
TICK_GAP = 0.09  # of the ruler; an end closer to a threshold than this gets no number of its own

HEADER = (
    '<div class="masthead"><h1>Unmask</h1><p>Was this face manipulated? A score, a map, a conversation, '
    "and a report that can be checked.</p></div>"
)
INTRODUCTION = (
    '<ol class="steps"><li><b>Drop a photograph or a video.</b> Every face in it is found and examined. The '
    "original file is best: a screenshot or a copy from a messenger has lost traces. "
    f"Of a video, {FRAMES} frames spread over its length are read.</li><li><b>Read the finding.</b> "
    "Each face gets a score with its meaning in words, and a heat map of what the detector responded to. "
    "Where the evidence is too weak there is no verdict.</li><li><b>Ask, and keep.</b> Ask what the finding "
    "rests on and what speaks against it, then save everything as a sealed report.</li></ol>"
)
WAITING = '<p class="notice">Examining the file; a video takes a little longer.</p>'


def notice(message: str) -> str:
    """A calm sentence where a result would stand."""
    return f'<p class="notice" role="status">{escape(message[:1].upper() + message[1:])}</p>'


def hint(message: str) -> str:
    """A remark in small print."""
    return f'<p class="hint">{escape(message)}</p>'


def photo_panel(analysis: Analysis) -> str:
    """The whole photograph, or a still of each person in a video, with the numbered faces."""
    width, height = analysis.size
    picture = data_uri(overview(analysis, PHOTO_SIDE), "JPEG")
    count = {0: "no face found", 1: "1 face"}.get(len(analysis.faces), f"{len(analysis.faces)} faces")
    return (
        f'<figure class="photo"><img src="{picture}" alt="The {analysis.medium} with numbered faces">'
        f"<figcaption>{escape(analysis.source.name)} · {width} × {height} · {count}{_length(analysis)}"
        "</figcaption></figure>"
    )


def _length(analysis: Analysis) -> str:
    return "" if analysis.footage is None else f" · {wording.frames_sentence(analysis.footage)}"


def face_panel(analysis: Analysis, face: int) -> str:
    """The square the detector read, and the same with the heat map as a layer that CSS fades."""
    finding = analysis.faces[face]
    view = data_uri(face_view(analysis.image_of(face), finding.crop.box, FACE_SIDE), "JPEG")
    heatmap = heatmap_of(finding)
    crop = f'<img src="{view}" alt="Face {face + 1}">'
    if heatmap is None:
        alone = f'<div class="pair"><figure>{crop}<figcaption>Face {face + 1}</figcaption></figure></div>'
        return alone + _timeline(analysis, face)
    layer = data_uri(heat_layer(heatmap, FACE_SIDE), "PNG")
    return (
        f'<div class="pair"><figure>{crop}<figcaption>Face {face + 1}, as the detector read it</figcaption>'
        f'</figure><figure><span class="stack">{crop}<img class="heat" src="{layer}" alt="Heat map"></span>'
        "<figcaption>with the heat map</figcaption></figure></div>"
        f'<p class="legend">0 <span class="ramp"></span> 1 <span>{escape(LEGEND_TEXT)}</span></p>'
        f"{_timeline(analysis, face)}{_grad_cam(analysis, face)}"
    )


def _timeline(analysis: Analysis, face: int) -> str:
    """A face's score in each frame of a video, as bars to be clicked; page.js shows the frame of a bar."""
    footage = analysis.footage
    if footage is None:
        return ""
    person = footage.people[face]
    seen = {moment.frame: moment for moment in person.moments}
    shown = person.moments[person.shown]
    slots = [
        _bar(seen[frame], seen[frame] is shown) if frame in seen else _gap(seconds)
        for frame, seconds in enumerate(footage.sampled)
    ]
    real, fake = analysis.models.thresholds
    lines = "".join(f'<span class="threshold" style="bottom:{100 * at:.1f}%"></span>' for at in (real, fake))
    told = wording.track_sentence(person, len(footage.sampled))
    return (
        f'<div class="timeline"><p class="hint">{escape(told)} Each bar is the score of one frame, the lines '
        "are the thresholds. Click a bar to see its frame.</p>"
        f'<div class="bars" role="group" aria-label="Scores over time">{lines}{"".join(slots)}</div>'
        f'<div class="views">{"".join(map(_view, person.moments))}</div>'
        f"{hint(wording.VIDEO_LIMIT)}</div>"
    )


def _bar(moment: Moment, shown: bool) -> str:
    finding, words = moment.finding, _moment_words(moment)
    marks = finding.verdict + (" flawed" if moment.flaws else "") + (" shown" if shown else "")
    return (
        f'<button type="button" class="moment {marks}" data-frame="{moment.frame}" title="{words}" '
        f'aria-label="{words}" aria-pressed="false"><i style="height:{100 * (finding.score or 0):.0f}%"></i>'
        "</button>"
    )


def _gap(seconds: float) -> str:
    return f'<span class="moment absent" title="{wording.clock(seconds)}: not seen"></span>'


def _view(moment: Moment) -> str:
    """The face in one frame, under its heat map; hidden until its bar is clicked."""
    finding = moment.finding
    heatmap, words = heatmap_of(finding), _moment_words(moment)
    heat = ""
    if heatmap is not None:
        layer = data_uri(heat_layer(heatmap, len(finding.crop.pixels)), "PNG")
        heat = f'<img class="heat" src="{layer}" alt="Heat map">'
    crop = data_uri(finding.crop.pixels, "JPEG")
    picture = f'<img src="{crop}" alt="The face at {wording.clock(moment.seconds)}">'
    return (
        f'<figure data-frame="{moment.frame}" hidden><span class="stack">{picture}{heat}</span>'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _moment_words(moment: Moment) -> str:
    """When, with what score, and read as what; why not, where the frame forbids a verdict."""
    finding = moment.finding
    score = "no score" if finding.score is None else f"score {finding.score:.2f}"
    why = wording.flaws(finding)
    verdict = wording.VERDICT_WORDS[finding.verdict].lower() + (f", because {why}" if why else "")
    return escape(f"{wording.clock(moment.seconds)}, {score}: {verdict}")


def _grad_cam(analysis: Analysis, face: int) -> str:
    """What the score rests on, folded away until somebody asks."""
    values = grad_cam_of(analysis, face)
    if values is None:
        return ""
    image, finding = analysis.image_of(face), analysis.faces[face]
    picture = data_uri(grad_cam_view(image, finding, values, FACE_SIDE), "JPEG")
    return (
        '<details class="gradcam"><summary>What the score rests on</summary><div class="pair">'
        f'<figure><img src="{picture}" alt="Grad-CAM of face {face + 1}"></figure>'
        f'<p class="hint">{escape(GRAD_CAM_TEXT)}</p></div></details>'
    )


def verdict_panel(analysis: Analysis, face: int) -> str:
    """Verdict, score on its scale, what the score means, and the regions of one face."""
    finding = analysis.faces[face]
    whole = (
        "" if len(analysis.faces) == 1 else f'<p class="whole">{escape(wording.photo_sentence(analysis))}</p>'
    )
    shown = None if wording.flaws(finding) else finding.score  # else it would be read as a finding
    score = "" if shown is None else f'<p class="score"><b>{shown:.2f}</b> of 1</p>'
    return (
        f'<div class="card {finding.verdict}">{whole}<div class="headline">'
        f'<p class="verdict">{escape(wording.VERDICT_WORDS[finding.verdict])}</p>{score}</div>'
        f"{_scale(shown, analysis.models)}"
        f'<p class="sentence">{escape(wording.face_sentence(finding))}</p>{_warnings(analysis)}'
        "<details open><summary>What this score means</summary>"
        f"<p>{escape(_meaning(analysis, finding))}</p></details>{_strength(analysis, finding)}"
        f"{_regions(finding)}"
        f'<p class="hint">{escape(analysis.models.good_for)}</p></div>'
    )


def _meaning(analysis: Analysis, finding: FaceFinding) -> str:
    models = analysis.models
    return wording.score_meaning(
        finding.score, models.thresholds, models.fitted_on, wording.flaws(finding), finding.evidence
    )


def _strength(analysis: Analysis, finding: FaceFinding) -> str:
    """The likelihood ratio with its bounds, and how often the detector errs on such photographs."""
    found = finding.evidence
    ratio = "" if found is None else hint(f"{strength.ratio_words(found)}. {strength.RATIO_KEY}")
    words = f"{strength.evidence_words(finding)} {strength.evidence_meaning(finding)}"
    return (
        '<details open id="strength"><summary>How strong the evidence is</summary>'
        f"<p>{escape(words)}</p>{ratio}"
        '</details><details open id="error-rate"><summary>How often the detector errs on such pictures'
        f"</summary><p>{escape(strength.error_rate_words(analysis, finding))}</p></details>"
    )


def no_face_panel(analysis: Analysis) -> str:
    """The card of a file in which no face was found: no score, and what to do."""
    advice = ""
    if analysis.footage is None:
        advice = (
            " Try another cut of the original, closer where the face is small, with some margin where it "
            "fills the picture, and without rescaling it."
        )
    return (
        f'<div class="card inconclusive"><p class="verdict">{wording.VERDICT_WORDS["inconclusive"]}</p>'
        f'<p class="sentence">{escape(wording.photo_sentence(analysis))} Small, covered and strongly turned '
        f"faces are missed, and faces cut off by the edge.{escape(advice)}</p>"
        f"{_warnings(analysis)}</div>"
    )


def footer(models: ModelRecord, version: str) -> str:
    """Which models are loaded, and what they are good for."""
    digests = "".join(
        f"<li><code>{escape(file.name)}</code> <code>{file.sha256[:16]}</code></li>" for file in models.files
    )
    return (
        f'<div class="foot"><p><b>Models “{escape(models.name)}”.</b> {escape(models.good_for)}</p>'
        f"<details><summary>Weights, SHA-256</summary><ul>{digests}</ul></details>"
        f"<p>Questions are answered by {escape(wording.answered_by(models.chat))}.</p>"
        f"<p>Unmask {escape(version)}. Photographs and videos are examined where this page is served. "
        f"{escape(wording.sent_away(models.chat))} A finding is a statement about pixels; an examiner should "
        "confirm it.</p></div>"
    )


def face_label(finding: FaceFinding) -> str:
    """The label of a face in the selector."""
    short = {"fake": "signs found", "real": "no signs", "inconclusive": "no verdict"}
    return f"Face {finding.index + 1} · {short[finding.verdict]}"


def _warnings(analysis: Analysis) -> str:
    return "".join(f'<p class="warning">{escape(warning)}</p>' for warning in analysis.warnings)


def _scale(score: float | None, models: ModelRecord) -> str:
    """A ruler from 0 to 1 with the three zones and a mark at the score."""
    if score is None:
        return ""
    real, fake = models.thresholds
    mark = f'<span class="mark" style="left:{100 * score:.1f}%"></span>'
    ends = ("0" if real > TICK_GAP else "", "1" if fake < 1 - TICK_GAP else "")
    ticks = "".join(
        f'<span style="left:{100 * at:.1f}%">{label}</span>'
        for at, label in ((0, ends[0]), (real, f"{real:.2f}"), (fake, f"{fake:.2f}"), (1, ends[1]))
    )
    names = (
        f'<span>no signs</span><span style="left:{50 * (real + fake):.1f}%">no verdict</span>'
        "<span>signs found</span>"
    )
    return (
        f'<div class="scale" role="img" aria-label="score {score:.2f}, thresholds {real:.2f} and {fake:.2f}">'
        f'<div class="zones"><span class="real" style="width:{100 * real:.1f}%"></span>'
        f'<span class="inconclusive" style="width:{100 * (fake - real):.1f}%"></span>'
        f'<span class="fake" style="width:{100 * (1 - fake):.1f}%"></span>{mark}</div>'
        f'<div class="ticks">{ticks}</div><div class="names">{names}</div></div>'
    )


def _regions(finding: FaceFinding) -> str:
    """One bar for each region: the mean of the heat map in it."""
    if not finding.region_scores:
        return ""
    rows = "".join(
        f'<li class="{"named" if name in finding.regions else ""}"><span>{wording.REGION_WORDS[name]}</span>'
        f'<i><b style="width:{100 * finding.region_scores[name]:.1f}%"></b></i>'
        f"<em>{finding.region_scores[name]:.2f}</em></li>"
        for name in REGION_NAMES
    )
    return (
        "<details open><summary>Mean of the heat map in each region</summary>"
        f'<ul class="regions">{rows}</ul><p class="hint">Left is the person’s own left. '
        f"{escape(wording.quality_sentence(finding))}</p></details>"
    )
