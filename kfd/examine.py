"""A file in, everything that is found in it out: the one way from photographs, clips and videos to
findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.verdicts import Reason
from kfd.detection import FaceFinding
from kfd.detector import Detector, NoFaceError
from kfd.quality.caveats import photo_caveats, video_caveats
from kfd.video import VideoAnalysis, Watch, examine_video
from media.errors import contained
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
    video: VideoAnalysis | None = None


def examine_file(
    detector: Detector, source: OpenSource, name: str | None = None, watch: Watch | None = None
) -> Examination:
    """Examine a photograph, an animation or a video.

    source: a path, an opened file, the bytes of one, a PIL image or an array. name: for reports.
    default. watch: is told how far a video is. The file is opened once: what is hashed is what is examined.
    Raises media.errors.MediaError, and nothing else, for a file that gives no picture. A picture without a
    face has no faces.
    """
    with contained(str(source) if isinstance(source, str | Path) else name or "the picture"):
        return _examine(detector, source, None if name is None else readable(name), watch)


def _examine(detector: Detector, source: OpenSource, name: str | None, watch: Watch | None) -> Examination:
    if isinstance(source, str | Path):
        with open_file(source) as file:
            return _examine_opened(detector, file, name or file.name, watch)
    if isinstance(source, MediaFile):
        return _examine_opened(detector, source, name or source.name, watch)
    if isinstance(source, bytes):
        with file_of(source, name or "unnamed") as file:
            return _examine_opened(detector, file, file.name, watch)
    return _examine_photo(detector, open_photo(source, name))


def _examine_opened(detector: Detector, file: MediaFile, name: str, watch: Watch | None) -> Examination:
    if file.kind == "video":
        return _examine_clip(detector, file, name, watch)
    photo = open_photo(file, name)
    if photo.is_animation:
        return _examine_clip(detector, file, name, watch)
    return _examine_photo(detector, photo)


def _examine_photo(detector: Detector, photo: Photo) -> Examination:
    try:
        faces = detector.examine(photo.pixels, photo.jpeg_quality)
    except NoFaceError:
        faces = []
    faces = left_to_right(faces)
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
        warnings=tuple(photo_caveats(photo, faces, detector.image_size)),
        damaged=bool(photo.damage),
    )


def left_to_right(faces: Sequence[FaceFinding]) -> list[FaceFinding]:
    """Faces of a photograph in the order in which somebody counts them, their `index` with it."""
    ordered = sorted(faces, key=lambda face: (face.box[0] + face.box[2], face.box[1]))
    return [replace(face, index=index) for index, face in enumerate(ordered)]


def _examine_clip(detector: Detector, file: MediaFile, name: str, watch: Watch | None) -> Examination:
    video = examine_video(detector, file, watch=watch)
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
        video=video,
    )
    file.check_unchanged()
    return examination
