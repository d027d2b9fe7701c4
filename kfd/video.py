"""Judge the people in a video: frames spread over all of it, faces followed, one finding for each person.

Faces are followed by place, size and what is about them (media.tracks): people who are in the picture
together, or in turn, are never averaged with each other. What is shown of a person is a frame that was really
read, never a mean of pictures.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from common.verdicts import SCORE_REASONS, Reason, Verdict
from kfd.calibration.decision import clip_logit, decide_track, evidence_of
from kfd.detection import FaceFinding
from kfd.detector import Detector, FaceView, regions_to_name
from media.errors import VideoError
from media.face_detector import SMALLEST_FACE
from media.faces import Face, FaceSearch, finder_name, search_faces
from media.files import MediaFile, open_file
from media.images import pixels_digest, sha256_of
from media.timeline import Timeline, spread
from media.tracks import colours, find_cuts, surroundings, track_faces
from media.video import FrameReader, VideoSource, timeline

KEPT = 2**28  # bytes of frames that are kept until it is known which are shown; larger ones are read again
Watch = Callable[[int, int], None]  # is told how many frames of how many are read; may raise Cancelled
FRAMES = 16  # examined in a video; more cost time and tell little, because neighbours look alike


@dataclass(frozen=True)
class FrameFinding:
    """A person in one frame.

    number: which of the examined ones, from 0. seconds: when it is shown, from the start.
    finding: of that frame by itself.
    """

    number: int
    seconds: float
    finding: FaceFinding

    @property
    def flaws(self) -> tuple[Reason, ...]:
        """Reasons that this frame gives against any verdict."""
        return tuple(reason for reason in self.finding.reasons if reason not in SCORE_REASONS)


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """A face that was followed through a video.

    finding: score, likelihood ratio and verdict of all frames together; box, crop, maps and regions are
        those of the frame shown.
    frames: every examined frame that shows the face, in order. shown: which of them is shown: the one whose
        score is nearest that of the finding, or the highest where frames disagree, or the largest face where
        none was scored. image: (H, W, 3) uint8 RGB, that frame.
    """

    finding: FaceFinding
    frames: tuple[FrameFinding, ...]
    shown: int
    image: np.ndarray

    @property
    def stretches(self) -> tuple[tuple[float, float], ...]:
        """(first, last) seconds of every run of examined frames that by themselves read as manipulated."""
        runs: list[tuple[float, float]] = []
        last = None  # number of the last such frame
        for frame in self.frames:
            if frame.finding.verdict == Verdict.FAKE:
                first = runs.pop()[0] if last == frame.number - 1 else frame.seconds
                runs.append((first, frame.seconds))
                last = frame.number
        return tuple(runs)


@dataclass(frozen=True, eq=False)
class VideoAnalysis:
    """A video, examined.

    tracks: in the order of how often they are seen, then of their size. num_dropped_tracks: how many faces
        were left out, see `_stands`. codec: such as "h264". seconds: length of the video. num_frames: how
        many it has.
    sampled: when those examined are shown, in seconds. nominal: the file states no times, these follow from
        its frame rate. damaged: frames that were wanted did not decode whole, or not at all, or the file is
        cut off;
        damage: what the decoder says of it; cut_off: it is shorter than it says, what is there may be sound.
    interlaced: how many of the frames examined are woven of two moments.
    more, smallest: of the frame in which most faces were passed over, and of the one in which only the
        largest were searched for, see media.faces.FaceSearch.
    still: (H, W, 3) uint8 RGB, the first frame examined. pixels_sha256: over the digests of the pixels of all
        frames examined, in order.
    """

    tracks: tuple[FaceTrack, ...]
    num_dropped_tracks: int
    codec: str
    seconds: float
    num_frames: int
    sampled: tuple[float, ...]
    damaged: bool
    damage: str
    cut_off: bool
    interlaced: int
    nominal: bool
    still: np.ndarray
    pixels_sha256: str
    more: int = 0
    smallest: float = SMALLEST_FACE


@dataclass(frozen=True, eq=False)
class _Frame:
    """What is seen in a frame. position: in the video. about: see media.tracks.surroundings."""

    position: int
    width: int
    digest: str
    histogram: np.ndarray
    search: FaceSearch
    about: list[np.ndarray]
    views: list[FaceView]


def examine_video(
    detector: Detector,
    source: VideoSource,
    count: int = FRAMES,
    watch: Watch | None = None,
    threads: int | None = None,
) -> VideoAnalysis:
    """Examine `count` frames spread over a video or an animation, telling `watch` before each.

    threads: in how many frames faces are looked for at the same time; None: as many as PyTorch may use.
    Raises media.errors.VideoError when none can be decoded. A video without a face has no people.
    """
    if not isinstance(source, MediaFile):
        with open_file(source) as file:
            return examine_video(detector, file, count, watch, threads)
    line = timeline(source)
    times = line.times - line.times[0]
    wanted = spread(times, count)
    seen: list[_Frame] = []
    still, failed = None, False
    kept: dict[int, np.ndarray] | None = {}
    reader = FrameReader(source, line, wanted)
    try:
        for frame, image in _looked_at(
            detector, reader, threads or torch.get_num_threads(), watch, len(wanted)
        ):
            still = image if still is None else still
            seen.append(frame)
            if kept is not None:
                kept[frame.position] = image
                kept = kept if sum(frame.nbytes for frame in kept.values()) <= KEPT else None
    except VideoError as error:
        if still is None or error.code != "damaged":
            raise
        failed = True
    damaged = failed or reader.damaged
    findings = detector.judge_all([frame.views for frame in seen])  # in common batches, which are faster
    positions = [frame.position for frame in seen]
    faces = [[_scaled(face, still.shape[1] / f.width) for face in f.search.faces] for f in seen]
    cuts = find_cuts([frame.histogram for frame in seen])
    tracks: dict[int, list[FrameFinding]] = {}
    for place, numbers in enumerate(track_faces(faces, cuts, [frame.about for frame in seen])):
        for number, finding in zip(numbers, findings[place], strict=True):
            frame = FrameFinding(place, float(times[positions[place]]), finding)
            tracks.setdefault(number, []).append(frame)
    ranked = sorted(tracks.values(), key=_prominence, reverse=True)
    standing = [track for track in ranked if _stands(track)] or ranked
    judged = [judge_track(detector, track) for track in standing]
    judged = [(_held_back(finding, damaged, line.cut_off), place) for finding, place in judged]
    shown = [positions[track[place].number] for track, (_, place) in zip(standing, judged, strict=True)]
    stills = _read_again(source, line, wanted, set(shown)) if kept is None else kept
    found = tuple(
        FaceTrack(replace(finding, index=index), tuple(track), place, stills[position])
        for index, (track, (finding, place), position) in enumerate(zip(standing, judged, shown, strict=True))
    )
    return VideoAnalysis(
        tracks=found,
        num_dropped_tracks=len(ranked) - len(standing),
        codec=line.codec,
        seconds=float(times[-1]) + (float(np.median(np.diff(times))) if len(times) > 1 else 0.0),
        num_frames=len(times),
        sampled=tuple(times[positions].tolist()),
        damaged=damaged or line.cut_off,
        damage=reader.damage,
        cut_off=line.cut_off,
        interlaced=reader.interlaced,
        nominal=line.counted,
        still=still,
        pixels_sha256=sha256_of("".join(frame.digest for frame in seen).encode()),
        more=max(frame.search.more for frame in seen),
        smallest=max(frame.search.smallest for frame in seen),
    )


def _looked_at(
    detector: Detector, reader: FrameReader, threads: int, watch: Watch | None, wanted: int
) -> Iterator[tuple[_Frame, np.ndarray]]:
    """The frames of a reader in their order, with their pixels, looked at while the next is decoded."""
    finder_name()  # loads what the threads share

    def look(position: int, image: np.ndarray, woven: bool) -> tuple[_Frame, np.ndarray]:
        search = search_faces(image)
        views = detector.look(image, search.faces, also=(Reason.INTERLACED,) if woven else ())
        about = [surroundings(image, face) for face in search.faces]
        digest, histogram = pixels_digest(image), colours(image)
        return _Frame(position, image.shape[1], digest, histogram, search, about, views), image

    waiting: deque[Future[tuple[_Frame, np.ndarray]]] = deque()
    woven, failure = 0, None
    with ThreadPoolExecutor(threads) as pool:
        try:
            for told, (position, image) in enumerate(reader):
                if watch is not None:
                    watch(told, wanted)
                waiting.append(pool.submit(look, position, image, reader.interlaced > woven))
                woven = reader.interlaced
                while len(waiting) > threads:
                    yield waiting.popleft().result()
        except VideoError as error:  # after the last frame that could be decoded
            failure = error
        while waiting:
            yield waiting.popleft().result()
    if failure is not None:
        raise failure


def _held_back(finding: FaceFinding, damaged: bool, cut_off: bool) -> FaceFinding:
    """No verdict on damaged pictures; and that no sign was found cannot be said of a video that is not all
    there.
    """
    if damaged or (cut_off and finding.verdict == Verdict.REAL):
        return finding.without_verdict(Reason.DAMAGED)
    return finding


def _read_again(
    source: MediaFile, line: Timeline, wanted: list[int], shown: set[int]
) -> dict[int, np.ndarray]:
    """The frames that are shown, by position, where all together were too large to keep.

    All are asked for as before, so that a damaged file gives the same frames as before.
    Raises VideoError when it does not.
    """
    found: dict[int, np.ndarray] = {}
    frames = iter(FrameReader(source, line, wanted))
    for position, image in frames if shown else ():
        if position in shown:
            found[position] = image
        if len(found) == len(shown):
            return found
    if shown:
        raise VideoError("changed", f"{source.name} changed while it was read; examine it again")
    return found


def _scaled(face: Face, factor: float) -> Face:
    """A face in pixels of a frame of another size; some streams change theirs."""
    box = tuple(value * factor for value in face.box)
    return face if factor == 1 else replace(face, box=box, landmarks=face.landmarks * np.float32(factor))


MINORITY = 0.2  # share of a track's frames from which a flaw is the track's


def _stands(track: Sequence[FrameFinding]) -> bool:
    """Whether a track is a person's, for all that can be seen.

    Face finders see faces in patterns now and then, over many frames in most videos. A track that is never
    surely a face is left out, and one of a single frame too, unless that frame reads as manipulated.
    """
    sure = [frame for frame in track if Reason.FACE_UNCERTAIN not in frame.finding.reasons]
    return (len(track) > 1 and bool(sure)) or any(frame.finding.verdict == Verdict.FAKE for frame in sure)


def _prominence(track: Sequence[FrameFinding]) -> tuple[int, float]:
    """Rank a track by how often the face is seen, and how large at most."""
    return len(track), max(frame.finding.quality.face_pixels for frame in track)


def judge_track(detector: Detector, frames: Sequence[FrameFinding]) -> tuple[FaceFinding, int]:
    """The finding of one person out of all frames, and which of them stands for it.

    The score is that of the mean logit of the frames without a flaw; where these are fewer than half, that
    of all scored ones, and the flaws forbid a verdict. Frames of one video resemble each other: that they
    agree counts as evidence only as far as it was measured on clips, see `clip_logit`.
    """
    scored = [place for place, frame in enumerate(frames) if frame.finding.detection is not None]
    if not scored:
        place = max(range(len(frames)), key=lambda at: frames[at].finding.quality.face_pixels)
        return frames[place].finding, place
    clean = [place for place in scored if not frames[place].flaws]
    used, flaws = clean, ()
    if 2 * len(clean) < len(frames):
        used, flaws = scored, _common_flaws(frames)
    logits = np.array([float(frames[place].finding.detection.logit) for place in used])
    score, verdict, reasons = decide_track(detector.decision, logits, flaws)
    mean = float(logits.mean())
    # Where frames disagree, none is like their mean: then the one that a reader has to look at.
    distance = -logits if Reason.FRAMES_DISAGREE in reasons else np.abs(logits - mean)
    place = used[int(distance.argmin())]
    shown = frames[place].finding
    worth = clip_logit(detector.decision, mean, len(logits))
    values = torch.tensor(list(shown.region_scores.values()))  # none without a heat map
    finding = replace(
        shown,
        verdict=verdict,
        score=score,
        reasons=reasons,
        regions=regions_to_name(verdict, values) if len(values) else (),
        detection=replace(shown.detection, logit=torch.tensor([worth]), score=torch.tensor([score])),
        evidence=evidence_of(detector.decision, worth, score) if SCORE_REASONS.issuperset(reasons) else None,
    )
    return finding, place


def _common_flaws(frames: Sequence[FrameFinding]) -> tuple[Reason, ...]:
    """The commonest flaw of the frames, and those that a fifth of them or more have."""
    counted = Counter(reason for frame in frames for reason in frame.flaws).most_common()
    return tuple(
        reason for n, (reason, times) in enumerate(counted) if not n or times >= MINORITY * len(frames)
    )
