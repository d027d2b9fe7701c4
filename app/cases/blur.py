"""Faces of bystanders made unrecognisable in what is given to others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import cv2
import numpy as np

from app.analysis import Analysis
from app.cases.case import Case
from kfd.video import FaceTrack, VideoAnalysis
from media.faces import find_faces

Box = tuple[float, float, float, float]

PADDING = 0.4  # on each side of a face, as a fraction of its longer side: hair, ears, a face that is tilted
CELLS = 4  # by as many that are left of a face; a finer mosaic can be recognised, a soft blur sharpened again


def without_bystanders(analysis: Analysis, shown: Collection[int]) -> Analysis:
    """The same finding over pictures in which all faces are blurred but those that are `shown`.

    shown: faces by their index. Nothing is computed anew: scores and maps are those of the file as it is. A
    face that was not found is not blurred. Raises ValueError for a face that there is not, and for a file
    with places that may be faces and were passed over, since nobody could blur those.
    """
    if analysis.more:
        raise ValueError(
            f"{analysis.source.name} may show {analysis.more} faces more than are examined, and those cannot "
            "be blurred; leave its faces as they are, or give a part of the picture with fewer faces"
        )
    unknown = sorted(set(shown) - set(range(len(analysis.faces))))
    if unknown:
        count = len(analysis.faces)
        raise ValueError(
            f"{analysis.source.name} has no face {unknown[0] + 1}; it has {count}, counted from 1"
        )
    if analysis.video is not None:
        video = analysis.video
        tracks = tuple(_blurred_track(video, track, shown) for track in video.tracks)
        return replace(analysis, video=replace(video, tracks=tracks))
    boxes = {face.index: face.box for face in analysis.faces}
    hidden = [box for index, box in boxes.items() if index not in shown]
    return replace(analysis, image=blur(analysis.image, hidden, [boxes[index] for index in shown]))


def hidden_faces(analysis: Analysis, shown: Collection[int] | None) -> list[int]:
    """The numbers, from 1, of the faces that are not `shown`; none of them where that is None."""
    return [face.index + 1 for face in analysis.faces if shown is not None and face.index not in shown]


def faces_left(case: Case, blurred: Mapping[int, Collection[int]]) -> dict[int, frozenset[int] | None] | None:
    """The faces to show, as a report wants them, where those to blur are known.

    blurred: faces by the index of their file, both from 0. A file without one is shown as it is (None); None
    where nothing is to be blurred.
    """
    left = {
        number: frozenset(range(len(file.analysis.faces))) - frozenset(blurred[number])
        if blurred.get(number)
        else None
        for number, file in enumerate(case)
    }
    return left if any(faces is not None for faces in left.values()) else None


def blur(image: np.ndarray, hidden: Iterable[Box], shown: Iterable[Box] = ()) -> np.ndarray:
    """Blur faces beyond recognition.

    image: (H, W, 3) uint8 RGB. hidden, shown: boxes (x0, y0, x1, y1) in its pixels. Where the margin of a
    hidden face reaches into a shown one, that stays as it is; where the faces themselves overlap, all is
    blurred.
    Returns a new (H, W, 3) uint8 RGB image.
    """
    hidden, layer = list(hidden), image.copy()
    for box in hidden:
        _smear(image, layer, _padded(box))
    result = layer.copy()
    for source, boxes in ((image, shown), (layer, hidden)):
        for box in boxes:
            rows, columns = _slices(image, box)
            result[rows, columns] = source[rows, columns]
    return result


def _blurred_track(video: VideoAnalysis, track: FaceTrack, shown: Collection[int]) -> FaceTrack:
    """The frame that shows a person, without the others in it, also those who were not followed."""
    number = track.frames[track.shown].number
    there = {
        other.finding.index: frame.finding.box
        for other in video.tracks
        for frame in other.frames
        if frame.number == number
    }
    kept = [box for index, box in there.items() if index in shown]
    hidden = [box for index, box in there.items() if index not in shown]
    hidden += [face.box for face in find_faces(track.image) if not any(_same(face.box, box) for box in kept)]
    return replace(track, image=blur(track.image, hidden, kept))


def _same(box: Box, other: Box) -> bool:
    """Whether a box is about the face of another: its middle lies in that."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return other[0] <= x <= other[2] and other[1] <= y <= other[3]


def _padded(box: Box) -> Box:
    """The square about the middle of a box, with a margin."""
    half = max(box[2] - box[0], box[3] - box[1]) * (0.5 + PADDING)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return x - half, y - half, x + half, y + half


def _slices(image: np.ndarray, box: Box) -> tuple[slice, slice]:
    """The rows and columns of an image that a box covers."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    return slice(min(height, max(0, y0)), max(0, min(height, y1))), slice(
        min(width, max(0, x0)), max(0, min(width, x1))
    )


def _smear(image: np.ndarray, result: np.ndarray, box: Box) -> None:
    """Put the mean colours of CELLS x CELLS parts of a box into `result`, running into each other."""
    rows, columns = _slices(image, box)
    part = image[rows, columns]
    if part.size:
        cells = cv2.resize(part, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
        result[rows, columns] = cv2.resize(cells, part.shape[1::-1], interpolation=cv2.INTER_LINEAR)
