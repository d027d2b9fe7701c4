"""Sentences that page and report say in their own voice, all in one place.

None of it is written by the language model. Sentences state what was measured and what that
means; they never say more than the score supports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.analysis import Analysis, ChatRecord
from common.verdicts import Reason, Verdict
from data_sim.dialogue import join_words, reasons_in_words, region_words
from kfd.calibration.likelihood_ratio import Evidence
from kfd.config import NOT_FITTED, Decision
from kfd.detection import FaceFinding
from kfd.video import FRAMES
from media.face_detector import SMALLEST_FACE
from media.regions import MAX_NAMED, REGIONS, WHOLE_FACE

if TYPE_CHECKING:
    from kfd.scoring.opinions import Opinion, SecondReader
    from kfd.video import FaceTrack, VideoAnalysis

REGION_WORDS = {region.name: region.words for region in REGIONS}

VERDICT_WORDS = {verdict: verdict.words for verdict in Verdict}

DETECTION = (
    f"Every face of {SMALLEST_FACE} pixels or more is searched for, by CenterFace, or by dlib where that is "
    "not installed; dlib places 68 landmarks on each. A square around every face, turned upright where the "
    "head is tilted, is read by "
    "{reader} The score is calibrated on photographs kept apart from training; two thresholds on it, fixed "
    "before this file was seen, decide between the verdicts: the upper one so that few genuine faces reach "
    "it, the lower one so that few manipulated faces lie below it."
)

KFD_READER = (
    "a Knowledge-guided Forgery Detector: an image encoder compares each place of the face with learned "
    "descriptions of real and of manipulated faces, a locator turns the comparison into a heat map with one "
    "value per pixel, and a classifier turns it into one score."
)

MAPS = (
    "Regions are outlined by the landmarks; a region's value is the mean of the heat map in "
    f"it. At most {MAX_NAMED} are named in a finding, those with the highest values; where most of them "
    "stand out alike it names the whole face, and for a face without signs none."
)

EXPLAINED = (
    "Grad-CAM (Selvaraju et al., 2017) weights the features that the classifier read last by their influence "
    "on the score, and so shows what the score rests on; nothing is decided by it."
)

LIMITS = (
    "The score speaks about the pixels of this file, not about who made it, when, or why.",
    "A low score is not proof of authenticity: a kind of manipulation the detector was not trained on "
    "can pass unseen. A high score is not proof of intent: strong retouching, filters, recompression and "
    "re-photographing also leave traces.",
    "The heat map shows what the detector responded to. It is not an outline of an edit.",
    "The face finder misses small, covered and strongly turned faces. Faces that were not found were not "
    "examined.",
    "Score, likelihood ratio and error rates were measured on the photographs named under “Calibrated on” "
    "and on others of their sources. For photographs of other origin, of another camera, platform or kind of "
    "manipulation, they hold less well or not at all; the model card says what tests on such showed.",
    "Fully synthetic (GAN or diffusion) faces are recognised, if at all, only where they resemble those that "
    "the detector was trained on; newer generators can pass unseen.",
    "A finding should be confirmed by an examiner and by independent methods before anyone relies on it.",
)

VIDEO = (
    f"Of a video, up to {FRAMES} frames spread evenly over its length are examined, each as a photograph. "
    "Faces are followed from frame to frame by place and size: people who are in the picture together are "
    "judged apart; at a cut, told by the colours of the picture, following ends, so a person who is seen "
    "before and after it, or who moves far, may count as two. The score of a face rests on the mean logit m "
    "of its frames without a flaw: sharp, large, little compressed, read alike when mirrored. {worth} "
    "{logit} Where fewer than half of the frames are without a flaw, no verdict is given, nor where they "
    "contradict each other: where a share of {share} of them or more reads as manipulated, and as large a "
    "one as without signs. A single frame's reading is no finding, it errs more often. Box, heat map and "
    "regions are those of one frame, the one whose score is nearest that of all, or highest where frames "
    "contradict each other; answers combine them with the score and verdict of all. Faces that are never "
    "surely one, or seen in a single frame that does not read as manipulated, are left out."
)
CLIP_WORTH = (
    "Of {frames} such frames or more it is the score of the logit {line}, of fewer that of m. This line was "
    "fitted on clips that were made of photographs kept apart from training: a face drifts and wavers in "
    "them, and they are coded as H.264. Frames that agree count for more only as far as such clips show it."
)
MEAN_WORTH = (
    "It is the score of m: that several frames agree does not raise the likelihood ratio, because frames of "
    "one video resemble each other."
)
LOGIT = "A score s is that of the logit x where ln(s / (1 - s)) = {line}."
LOGIT_BY_KNOTS = (
    "A score s is that of the logit x where ln(s / (1 - s)) lies over x on the line through the knots, and "
    "beyond them with the slope, that stand under “calibration” in the JSON form."
)
VIDEO_LIMIT = (
    "Frames between those examined, and the sound, were not looked at. Thresholds, likelihood ratio and "
    "error rates were measured on single photographs and at most on clips made of such, not on filmed "
    "videos, which compress every frame and so hide traces."
)


def method(analysis: Analysis) -> list[str]:
    """The method behind the findings, and behind the answers: a paragraph for each."""
    given = _given(analysis.models.chat)
    answers = (
        f"The answers to questions are written by a language model. It is given {given}; it is not given the "
        "file's origin or any other knowledge. The score, the verdict and the region table do not depend on "
        "it. The method follows Yu et al., Unlocking the Capabilities of Vision-Language Models for "
        "Generalizable and Explainable Deepfake Detection."
    )
    others = [
        f"“{author.name}”, whose answers were taken over from a saved case, was given {_given(author)}."
        for author in analysis.session.authors
    ]
    parts = [DETECTION.format(reader=analysis.models.reader or KFD_READER)]
    parts += (
        [MAPS] if any(face.region_scores for face in analysis.faces) or not analysis.models.reader else []
    )
    parts += [EXPLAINED] if analysis.explain is not None else []
    video = [] if analysis.video is None else [video_method(analysis.models.decision)]
    return [" ".join(parts), *video, answers, *others]


def _given(chat: ChatRecord) -> str:
    """What a language model is told of a face."""
    if chat.tuned:
        given = "the score, the verdict and, through a learned prompt, the heat map and the comparison maps"
    else:
        given = "the score, the verdict and its reasons, the regions named and means of the heat map, as text"
    return f"{given}, and the picture of the face" if chat.face_sent else given


def video_method(decision: Decision) -> str:
    """How a video is examined, with all that its score is computed of out of the scores of its frames."""
    worth, logit = MEAN_WORTH, LOGIT_BY_KNOTS
    if decision.clip_frames is not None:
        line = _line("m", decision.clip_slope, decision.clip_intercept)
        worth = CLIP_WORTH.format(frames=decision.clip_frames, line=line)
    if decision.method == "logistic":
        logit = LOGIT.format(line=_line("x", decision.slope, decision.intercept))
    return VIDEO.format(worth=worth, logit=logit, share=f"{decision.clip_disagree:.6g}")


def _line(name: str, slope: float, intercept: float) -> str:
    """A line as it is printed: "1.0147 m - 0.27603"."""
    return f"{slope:.6g} {name} {'-' if intercept < 0 else '+'} {abs(intercept):.6g}"


def limits(analysis: Analysis) -> list[str]:
    """The limits of the findings: all that they do not say."""
    return [*LIMITS, *([] if analysis.video is None else [VIDEO_LIMIT])]


def reason_words(*reasons: Reason) -> str:
    """Machine-readable reasons as clauses, "a and b", without a full stop."""
    return reasons_in_words(reasons)


def flaws(finding: FaceFinding) -> str:
    """The reasons that leave a face without a verdict whatever its score, as a clause; else ""."""
    return reason_words(*(reason for reason in finding.reasons if reason != Reason.BETWEEN_THRESHOLDS))


def score_meaning(
    score: float | None,
    thresholds: tuple[float, float],
    fitted_on: str,
    flaws: str = "",
    evidence: Evidence | None = None,
) -> str:
    """The meaning of a score in two sentences; of its absence where there is none.

    flaws: see the function of that name. evidence: its likelihood ratio; no share beyond that is claimed.
    """
    if score is None:
        return "No score is given, because a score of this face would mean nothing."
    if fitted_on == NOT_FITTED:
        return "The detector was never calibrated: its score is no probability, and no verdict rests on it."
    if flaws:
        return f"No score is stated: the one computed says nothing here, because {flaws}."
    real, fake = thresholds
    limited = evidence is not None and evidence.limited
    claimed = 1 / (1 + 10**-evidence.log10_lr) if limited else score
    some = f"about {claimed * 100:.0f}"
    share = "fewer than 1" if claimed < 0.005 else "more than 99" if claimed > 0.995 else some
    cut = " The score alone would say more than those faces support." if limited else ""
    if score >= fake:
        zone = f"It lies at or above {fake:.2f}, from where on a face counts as manipulated."
    elif score <= real:
        zone = f"It lies at or below {real:.2f}, up to where a face counts as showing no signs."
    else:
        zone = f"It lies between {real:.2f} and {fake:.2f}, where no verdict is given."
    return (
        f"Among faces like those the detector was calibrated on, half of them manipulated, {share} in 100 of "
        f"those that score like this one had been manipulated.{cut} {zone}"
    )


def face_sentence(finding: FaceFinding) -> str:
    """The finding about one face in one sentence."""
    name = f"Face {finding.index + 1}"
    if finding.verdict == Verdict.INCONCLUSIVE:
        return f"{name}: no verdict, because {reason_words(*finding.reasons)}."
    if finding.verdict == Verdict.REAL:
        return f"{name}: the detector found no signs of manipulation."
    place = ""
    if finding.regions:
        spread = "spread over" if WHOLE_FACE in finding.regions else "most of them around"
        place = f", {spread} {region_words(finding.regions)}"
    return f"{name}: the detector found signs of manipulation{place}."


def score_row(finding: FaceFinding) -> str:
    """The score as a row of facts; why there is none to state where a flaw makes it worthless."""
    if finding.score is None:
        return "none"
    why = flaws(finding)
    return f"not stated, because {why}" if why else f"{finding.score:.4f} of 1; what it means is below"


def photo_sentence(analysis: Analysis) -> str:
    """The finding about the whole photograph or video in one sentence."""
    video = analysis.video
    where = "the photograph" if video is None else f"the {len(video.sampled)} frames examined"
    if not analysis.faces:
        return f"No face was found in {where}, so nothing was judged."
    count = analysis.count.judged or len(analysis.faces)
    faked = sum(face.verdict == Verdict.FAKE for face in analysis.faces)
    if analysis.verdict == Verdict.FAKE and count > 1:
        return f"Signs of manipulation were found in {faked} of {count} faces."
    if analysis.verdict == Verdict.FAKE:
        return "Signs of manipulation were found in the face."
    if analysis.verdict == Verdict.REAL:
        which = "the face" if count == 1 else f"any of the {count} faces"
        if analysis.count.left_out:
            which += " that could be judged"
        return f"No signs of manipulation were found in {which}{'' if video is None else f' in {where}'}."
    return f"No verdict is given, because {reason_words(*analysis.reasons)}."


def frames_sentence(video: VideoAnalysis) -> str:
    """The frames of a video that were examined, in one sentence."""
    when = f" between {clock(video.sampled[0])} and {clock(video.sampled[-1])}"
    count = len(video.sampled)
    if video.num_frames == 1:
        return "The video has a single frame, which was examined."
    return f"{clock(video.seconds)} long, {video.num_frames:,} frames, of which {count} were examined{when}."


def clock(seconds: float) -> str:
    """A time in a video as minutes, seconds and tenths: 1:03.2."""
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def track_sentence(track: FaceTrack, examined: int) -> str:
    """In how many of the examined frames a person was seen, how these were read, and which is shown."""
    frames = track.frames
    verdicts = Counter(frame.finding.verdict for frame in frames)
    read = {
        Verdict.FAKE: "signs of manipulation",
        Verdict.REAL: "no signs",
        Verdict.INCONCLUSIVE: "no verdict",
    }
    counted = join_words(f"{words} in {verdicts[v]}" for v, words in read.items() if verdicts[v])
    if track.finding.score is None:
        which = "in which the face is largest"
    elif Reason.FRAMES_DISAGREE in track.finding.reasons:
        which = "whose score is the highest"
    else:
        which = "whose score is nearest that of all"
    return (
        f"Seen in {len(frames)} of {examined} frames, by themselves read as: {counted}. Shown is the frame "
        f"at {clock(frames[track.shown].seconds)}, {which}."
    )


def second_method(analysis: Analysis) -> list[str]:
    """What the second opinions are, where there are any."""
    readers = [opinion.reader for opinion in analysis.opinions_of(0)] if analysis.opinions else []
    if not readers:
        return []
    names = "; ".join(f"{r.name} is {r.words or KFD_READER}".rstrip(".") for r in readers)
    return [
        f"Second opinions: {names}. Each reads the same faces at its own calibrated thresholds. They stand "
        f"beside the finding and are no part of it: nothing is averaged, and {_heeded(readers)}."
    ]


def _heeded(readers: Sequence[SecondReader]) -> str:
    heeded = [r.name for r in readers if r.withheld is not None and r.withheld.places]
    if not heeded:
        return "no verdict changes"
    return f"no verdict is turned round; one may be withheld beside what {' and '.join(heeded)} says"


def opinion_sentence(opinion: Opinion) -> str:
    """What another system says of a face, with its score and its own thresholds."""
    reader, finding, decision = opinion.reader, opinion.finding, opinion.reader.detector.decision
    says = f"{reader.name} ({reader.system}): {VERDICT_WORDS[opinion.verdict].lower()}"
    if finding is None:
        return f"{says}; it did not follow this person."
    why = reasons_in_words(finding.reasons) if finding.reasons else ""
    says += f", because {why}" if why else ""
    if finding.score is None or not decision.is_fitted:
        return f"{says}."
    return (
        f"{says}; score {finding.score:.2f}, by its own thresholds no signs up to {decision.real_below:.2f} "
        f"and manipulated from {decision.fake_above:.2f}."
    )


def explanation(finding: FaceFinding) -> str:
    """The measurements of one face in a few sentences."""
    if finding.score is None:
        return "The face was not scored; there is no heat map."
    if not finding.region_scores:
        return "This detector gives a score only; it makes no heat map."
    values = finding.region_scores
    strongest = max((name for name in values if name != WHOLE_FACE), key=values.__getitem__)
    where = f"points at {region_words(finding.regions)}" if finding.regions else "singles out no region"
    return (
        f"The heat map {where}. The highest mean value is that of {region_words([strongest])} "
        f"({values[strongest]:.2f}); the mean over the whole face is {values[WHOLE_FACE]:.2f}."
    )


def quality_sentence(finding: FaceFinding) -> str:
    """Size, sharpness and compression of a face, as measured."""
    quality, compressed = finding.quality, ""
    if quality.jpeg_loss is not None and quality.video_loss is not None:
        compressed = (
            f"; fine detail lost to compression, estimated: {quality.jpeg_loss:.0%} as by JPEG, "
            f"{quality.video_loss:.0%} as by video or WebP"
        )
    if quality.jpeg_quality is not None:
        compressed += f"; the file was saved as a JPEG of quality {quality.jpeg_quality} of 100"
    return (
        f"The face is {quality.face_pixels:.0f} pixels wide or high in the picture; sharpness "
        f"{quality.sharpness:.0f} (variance of the Laplacian){compressed}."
    )
