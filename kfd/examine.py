"""A file in, everything that is found in it out: the one way from photographs, clips and videos to
findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.verdicts import Reason, Verdict
from kfd.calibration.overall import FaceCount, count_faces, overall_verdict
from kfd.detection import FaceFinding
from kfd.detector import Detector, FaceView
from kfd.quality.caveats import photo_caveats, video_caveats
from kfd.video import VideoAnalysis, Watch, examine_video
from media.errors import contained, looking
from media.faces import FaceSearch, search_faces
from media.files import MediaFile, file_of, open_file, readable
from media.images import OpenSource, Photo, open_photo


@dataclass(frozen=True, eq=False)
class Examination:
    """What was found in one file.

    name: of the file. file_format: such as "JPEG" or "video, h264", by the content; "pixels" where there was
    no file. num_bytes, sha256: of the file; None where there was none. pixels_sha256: of the pixels examined,
        those of all frames of a video.
    image: (H, W, 3) uint8 RGB, upright; of a video the first frame examined.
    faces: one finding a face, from left to right, of a video one a person; empty when none was found.
    more: how many places that may be faces were passed over, see media.faces.FaceSearch.
    video: the frames behind the findings about a video or an animation; None of a photograph.
    warnings: sentences on what weakens the findings. damaged: the file did not decode whole.
    """

    name: str
    file_format: str
    num_bytes: int | None
    sha256: str | None
    pixels_sha256: str
    image: np.ndarray
    faces: tuple[FaceFinding, ...]
    warnings: tuple[str, ...]
    damaged: bool
    more: int = 0
    video: VideoAnalysis | None = None

    @property
    def whole(self) -> tuple[Verdict, tuple[Reason, ...]]:
        """What is said of the whole file."""
        return overall_verdict(self.faces, self.more, self.damaged)

    @property
    def count(self) -> FaceCount:
        """How many faces were found, judged and left out."""
        return count_faces(self.faces, self.more)


@dataclass(frozen=True, eq=False)
class Sighting:
    """A photograph in which the faces were found, and not judged yet."""

    photo: Photo
    search: FaceSearch
    views: tuple[FaceView, ...]


def examine_file(
    detector: Detector,
    source: OpenSource,
    name: str | None = None,
    watch: Watch | None = None,
    threads: int | None = None,
) -> Examination:
    """Examine a photograph, an animation or a video.

    source: a path, an opened file, the bytes of one, a PIL image or an array. name: for reports,
    the file's own by default. watch: is told how far a video is; in a photograph it is called with (0, 0)
    between two steps, and may raise Cancelled. threads: see examine_video. The file is opened once: what is
    hashed is what is examined.
    Raises media.errors.MediaError, and nothing else, for a file that gives no picture. A picture without a
    face has no faces.
    """
    with contained(str(source) if isinstance(source, str | Path) else name or "the picture"):
        if isinstance(source, str | Path):
            with open_file(source) as file:
                return _examine_opened(detector, file, readable(name or file.name), watch, threads)
        if isinstance(source, bytes):
            with file_of(source, name or "unnamed") as file:
                return _examine_opened(detector, file, file.name, watch, threads)
        if isinstance(source, MediaFile):
            return _examine_opened(detector, source, readable(name or source.name), watch, threads)
        return judge_sightings(detector, [sight(detector, open_photo(source, name and readable(name)))])[0]


def open_whole(file: MediaFile, name: str) -> Photo | None:
    """The photograph in a file; None where that is a clip: a video or an animation. Raises MediaError."""
    if file.kind == "video":
        return None
    photo = open_photo(file, name)
    return None if photo.is_animation else photo


def _examine_opened(
    detector: Detector, file: MediaFile, name: str, watch: Watch | None, threads: int | None
) -> Examination:
    photo = open_whole(file, name)
    if photo is None:
        return examine_clip(detector, file, name, watch, threads)
    with looking(lambda: watch is not None and watch(0, 0)):
        return judge_sightings(detector, [sight(detector, photo)])[0]


def sight(detector: Detector, photo: Photo) -> Sighting:
    """Find the faces of a photograph."""
    search = search_faces(photo.pixels)
    return Sighting(photo, search, tuple(detector.look(photo.pixels, search.faces, photo.jpeg_quality)))


def judge_sightings(detector: Detector, sightings: Sequence[Sighting]) -> list[Examination]:
    """Judge the faces of several photographs in common batches; what was found in each, in order."""
    findings = detector.judge_all([sighting.views for sighting in sightings])
    return [_examined(detector, *both) for both in zip(sightings, findings, strict=True)]


def _examined(detector: Detector, sighting: Sighting, findings: Sequence[FaceFinding]) -> Examination:
    photo, search, faces = sighting.photo, sighting.search, left_to_right(findings)
    if photo.damage:
        faces = [face.without_verdict(Reason.DAMAGED) for face in faces]
    return Examination(
        name=photo.name,
        file_format=photo.file_format,
        num_bytes=photo.num_bytes,
        sha256=photo.sha256,
        pixels_sha256=photo.pixels_sha256,
        image=photo.pixels,
        faces=tuple(faces),
        warnings=tuple(photo_caveats(photo, faces, search, detector.image_size)),
        damaged=bool(photo.damage),
        more=search.more,
    )


def left_to_right(faces: Sequence[FaceFinding]) -> list[FaceFinding]:
    """Faces of a photograph in the order in which somebody counts them, their `index` with it."""
    ordered = sorted(faces, key=lambda face: (face.box[0] + face.box[2], face.box[1]))
    return [replace(face, index=index) for index, face in enumerate(ordered)]


def examine_clip(
    detector: Detector,
    file: MediaFile,
    name: str,
    watch: Watch | None = None,
    threads: int | None = None,
) -> Examination:
    """Examine a video or an animation. Raises MediaError."""
    video = examine_video(detector, file, watch=watch, threads=threads)
    examination = Examination(
        name=name,
        file_format=f"video, {video.codec}" if file.kind == "video" else video.codec,
        num_bytes=file.size,
        sha256=file.sha256,
        pixels_sha256=video.pixels_sha256,
        image=video.still,
        faces=tuple(track.finding for track in video.tracks),
        warnings=tuple(video_caveats(video, detector.image_size)),
        damaged=video.damaged,
        more=video.more,
        video=video,
    )
    file.check_unchanged()
    return examination
