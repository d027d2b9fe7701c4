"""Sentences on what weakens the findings about a file: the same on the page, in reports and in score
lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from common.verdicts import Verdict
from data_sim.dialogue import join_words
from kfd.calibration.overall import count_faces
from kfd.detection import FaceFinding
from kfd.video import VideoAnalysis
from media.face_detector import SMALLEST_FACE
from media.faces import FaceSearch
from media.images import Photo


def photo_caveats(photo: Photo, faces: Sequence[FaceFinding], search: FaceSearch, side: int) -> Iterator[str]:
    """What weakens the findings about a photograph. side: of the crop that the detector reads, in pixels."""
    if photo.damage:
        yield (
            "The photograph is damaged: it did not decode whole, and part of what is seen is not what was "
            f"taken ({photo.damage})."
        )
    if photo.num_frames > 1 and photo.file_format == "TIFF":
        yield f"The file holds {photo.num_frames} pages; only the first was examined."
    yield from _finder_caveats(faces, search.more, search.smallest, "photograph")
    yield from _picture_caveats([photo.pixels], faces, side)


def video_caveats(video: VideoAnalysis, side: int) -> Iterator[str]:
    """What weakens the findings about a video or an animation."""
    if video.damage:
        yield f"The video is damaged: not every frame decoded whole ({video.damage})."
    elif video.damaged and not video.cut_off:
        yield "The video is damaged: not every frame that was wanted could be decoded."
    if video.cut_off:
        yield "The video is cut off: it is shorter than it says; what is missing was not examined."
    if video.interlaced:
        yield (
            f"{video.interlaced} of the {len(video.sampled)} frames examined are interlaced: woven of "
            "two moments, which draws combs at moving edges; expect more errors than usual."
        )
    if video.nominal:
        yield "The file states no times; those given here follow from its frame rate."
    if video.num_dropped_tracks:
        faces = "One face was" if video.num_dropped_tracks == 1 else f"{video.num_dropped_tracks} faces were"
        yield (
            f"{faces} left out: never surely a face, or seen in a single frame that did not read as "
            "manipulated."
        )
    for track in video.tracks:
        suspicious = sum(frame.finding.verdict == Verdict.FAKE for frame in track.frames)
        if track.finding.verdict == Verdict.REAL and suspicious:
            yield (
                f"Face {track.finding.index + 1}: {suspicious} of its {len(track.frames)} frames by "
                "themselves read as manipulated; look at them."
            )
    pictures = [track.image for track in video.tracks] or [video.still]
    yield from _finder_caveats([track.finding for track in video.tracks], video.more, video.smallest, "video")
    yield from _picture_caveats(pictures, [track.finding for track in video.tracks], side)


def _finder_caveats(faces: Sequence[FaceFinding], more: int, smallest: float, medium: str) -> Iterator[str]:
    """What was found but not judged, what was not looked for, and with what it was."""
    count = count_faces(faces, more)
    if smallest >= SMALLEST_FACE + 1:
        yield (
            f"The {medium} is so large that only faces of {smallest:.0f} pixels and more were searched for, "
            f"not of {SMALLEST_FACE}; cut out the part in question to have smaller ones found."
        )
    if count.left_out and count.judged:
        yield f"The finding on the {medium} leaves faces out: {count.words}."
    if count.finder != "CenterFace":
        yield f"CenterFace is not installed: {count.finder} looked for faces, which misses more of them."


def _picture_caveats(
    pictures: Sequence[np.ndarray], faces: Sequence[FaceFinding], side: int
) -> Iterator[str]:
    if all(_is_grey(picture) for picture in pictures):
        yield "The picture has no colour; the detector was made for colour, and traces in colour are lost."
    small = [face for face in faces if face.detection is not None and _side(face) < side]
    if small:
        numbers = join_words(str(face.index + 1) for face in small)
        which = f"Face {numbers} was" if len(small) == 1 else f"Faces {numbers} were"
        yield f"{which} enlarged to the {side} pixels that the detector reads; expect more errors than usual."


def _is_grey(picture: np.ndarray, rows: int = 256) -> bool:
    """Whether all three channels are the same; told at the first rows with colour."""
    strips = (picture[top : top + rows] for top in range(0, len(picture), rows))
    return all((strip == strip[:, :, :1]).all() for strip in strips)


def _side(face: FaceFinding) -> float:
    """Side of the square around a face, in pixels of the photograph."""
    return face.crop.box[2] - face.crop.box[0]
