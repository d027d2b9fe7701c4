"""Pictures of a finding: the heat map and Grad-CAM on the photo, numbered faces, the legend.

The colour maps are inferno for the heat map and viridis for Grad-CAM: lightness rises evenly with the
value, also in grey print and for colour-blind readers. The opacity of a pixel is its value times the overall
opacity, so that the photograph stays visible where the detector points at nothing.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from io import BytesIO

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from app.analysis import Analysis, grad_cam_of
from app.palette import LIGHT
from kfd.detection import FaceFinding
from media.face_detector import rotation_by, square_view
from media.faces import FaceCrop

LEGEND_TEXT = "probability of manipulation that the detector gives each pixel"
GRAD_CAM_TEXT = (
    "Grad-CAM: how much each place raised the score, as a share of the strongest place. It shows what the "
    "score rests on, not how likely a manipulation is, and is bright somewhere in untouched faces too."
)
HEAT, GRAD_CAM = cv2.COLORMAP_INFERNO, cv2.COLORMAP_VIRIDIS


def heat_colours(values: np.ndarray, colours: int = HEAT) -> np.ndarray:
    """(H, W) float in [0, 1] -> (H, W, 3) uint8 RGB. colours: HEAT or GRAD_CAM."""
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, colours), cv2.COLOR_BGR2RGB)


def heat_layer(heatmap: np.ndarray, side: int, colours: int = HEAT) -> np.ndarray:
    """A heat map or Grad-CAM as a layer to lay over a crop.

    heatmap: (S, S) float in [0, 1]. side: of the result, in pixels. colours: HEAT or GRAD_CAM.
    Returns (side, side, 4) uint8 RGBA; alpha is the value itself.
    """
    values = np.clip(cv2.resize(heatmap, (side, side), interpolation=cv2.INTER_CUBIC), 0, 1)
    return np.dstack([heat_colours(values, colours), np.rint(values * 255).astype(np.uint8)])


def heatmap_of(finding: FaceFinding) -> np.ndarray | None:
    """The (S, S) float32 heat map of a finding in [0, 1], or None where it was not scored."""
    if finding.detection is None or finding.detection.heatmap is None:
        return None
    return finding.detection.heatmap[0, 0].float().cpu().numpy()


def blend(image: np.ndarray, layer: np.ndarray, opacity: float) -> np.ndarray:
    """Lay an RGBA layer over an image of the same size.

    image: (H, W, 3) uint8 RGB. layer: (H, W, 4) uint8 RGBA. opacity: 0..1, scales the layer's alpha.
    Returns a new (H, W, 3) uint8 RGB image.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie between 0 and 1, got {opacity}")
    alpha = layer[:, :, 3:].astype(np.float32) * (opacity / 255)
    return np.rint(layer[:, :, :3] * alpha + image * (1 - alpha)).astype(np.uint8)


def face_view(image: np.ndarray, crop: FaceCrop, side: int) -> np.ndarray:
    """The square that a crop shows, at the photograph's own resolution, as a side x side picture.

    image: (H, W, 3) uint8 RGB, the photograph. Parts outside it are mirrored, as in the crop itself; a face
    that was turned upright for the detector stands upright here too.
    """
    x0, y0, x1, y1 = (round(value) for value in crop.box)
    if crop.roll:
        middle, extent = np.array([x0 + x1, y0 + y1]) / 2, x1 - x0
        corner = middle - rotation_by(crop.roll) @ (extent / 2, extent / 2)
        return square_view(image, corner, side, side / extent, crop.roll)
    height, width = image.shape[:2]
    part = image[max(0, y0) : min(height, y1), max(0, x0) : min(width, x1)]
    pads = (max(0, -y0), max(0, y1 - height), max(0, -x0), max(0, x1 - width))
    part = cv2.copyMakeBorder(part, *pads, cv2.BORDER_REFLECT_101)
    shrinks = part.shape[0] > side
    return cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def overlay_view(image: np.ndarray, finding: FaceFinding, side: int, opacity: float = 0.7) -> np.ndarray:
    """The face of a finding with its heat map over it, (side, side, 3) uint8 RGB."""
    view = face_view(image, finding.crop, side)
    heatmap = heatmap_of(finding)
    return view if heatmap is None else blend(view, heat_layer(heatmap, side), opacity)


def grad_cam_view(image: np.ndarray, finding: FaceFinding, grad_cam: np.ndarray, side: int) -> np.ndarray:
    """The face of a finding with its Grad-CAM, (S, S) float in [0, 1], over it: (side, side, 3) uint8 RGB."""
    view = face_view(image, finding.crop, side)
    return blend(view, heat_layer(grad_cam, side, GRAD_CAM), 0.7)


def numbered_photo(image: np.ndarray, faces: Sequence[FaceFinding], longest: int) -> np.ndarray:
    """The whole photograph, at most `longest` pixels long, with a numbered box around each face.

    A box has the colour of its verdict; the number, from 1, is what the report and the page use.
    """
    scale = min(1.0, longest / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    picture = Image.fromarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    draw = ImageDraw.Draw(picture)
    width = max(2, round(max(size) / 300))
    font = ImageFont.load_default(size=max(13, round(max(size) / 42)))
    for face in faces:
        box = [value * scale for value in face.box]
        ink = LIGHT[face.verdict]
        halo = [box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1]
        draw.rectangle(halo, outline="white", width=width + 2)  # keeps the box visible on any background
        draw.rectangle(box, outline=ink, width=width)
        label = str(face.index + 1)
        pad = width + 2
        left, top, right, bottom = draw.textbbox((box[0] + pad, max(0, box[1]) + pad), label, font=font)
        draw.rectangle((left - pad, top - pad, right + pad, bottom + pad), fill=ink)
        draw.text((box[0] + pad, max(0, box[1]) + pad), label, font=font, fill="white")
    return np.array(picture)


def overview(analysis: Analysis, longest: int) -> np.ndarray:
    """The examined photograph, or the frame shown of each person in a video, with numbered faces.

    longest: of the picture's sides, in pixels, at most.
    """
    if analysis.video is None or not analysis.faces:
        return numbered_photo(analysis.image, analysis.faces, longest)
    tracks = analysis.video.tracks
    columns = math.ceil(math.sqrt(len(tracks)))
    stills = [numbered_photo(p.image, [p.finding], longest // columns) for p in tracks]
    height, width = (max(still.shape[axis] for still in stills) for axis in (0, 1))
    tiles = np.full((-(-len(stills) // columns) * height, columns * width, 3), 255, np.uint8)
    for number, still in enumerate(stills):
        top, left = number // columns * height, number % columns * width
        tiles[top : top + still.shape[0], left : left + still.shape[1]] = still
    return tiles


def legend(width: int, height: int) -> np.ndarray:
    """The colour bar from 0 (left) to 1 (right), as the overlay shows it over mid grey."""
    values = np.linspace(0, 1, width, dtype=np.float32)[None].repeat(height, 0)
    layer = np.dstack([heat_colours(values), np.rint(values * 255).astype(np.uint8)])
    return blend(np.full((height, width, 3), 128, np.uint8), layer, 1.0)


def data_uri(picture: np.ndarray, file_format: str) -> str:
    """A picture, (H, W, 3 | 4) or (H, W) uint8, as a data URI.

    file_format: "JPEG", or one that loses nothing: "PNG", or "WEBP", which takes half the time and half the
    bytes for what a browser alone shows.
    """
    buffer = BytesIO()
    options = {"JPEG": {"quality": 90}, "PNG": {}, "WEBP": {"lossless": True, "exact": True, "method": 0}}[
        file_format
    ]
    Image.fromarray(picture).save(buffer, file_format, **options)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def face_pictures(analysis: Analysis, face: FaceFinding, side: int) -> dict[str, str | None]:
    """What a report shows of a face, as data URIs, `side` pixels wide.

    The face as it is; where it was scored, also with heat map and Grad-CAM over it, and the values of both as
    grey pictures (255 = 1). What there is not is None.
    """
    image, heatmap = analysis.image_of(face.index), heatmap_of(face)
    grad_cam = grad_cam_of(analysis, face.index)
    pictures: dict[str, str | None]
    pictures = {"crop": data_uri(face_view(image, face.crop, side), "JPEG")}
    pictures |= dict.fromkeys(("overlay", "heatmap", "grad_cam_overlay", "grad_cam"))
    if heatmap is not None:
        pictures["overlay"] = data_uri(overlay_view(image, face, side), "JPEG")
        pictures["heatmap"] = _grey(heatmap)
    if grad_cam is not None:
        pictures["grad_cam_overlay"] = data_uri(grad_cam_view(image, face, grad_cam, side), "JPEG")
        pictures["grad_cam"] = _grey(grad_cam)
    return pictures


def _grey(values: np.ndarray) -> str:
    return data_uri(np.rint(values * 255).astype(np.uint8), "PNG")
