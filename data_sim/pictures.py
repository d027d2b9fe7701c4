"""One picture at a time on the CPU: what data_sim.degrade does to batches of tensors, by OpenCV.

Several times faster than tensors there. Pictures are (H, W, C) float32 RGB in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

WIDE = 4.0  # sigma in pixels from which `smooth` halves


def pictures_of(images: Tensor) -> np.ndarray:
    """A batch (B, C, H, W) on the CPU as (B, H, W, C), each picture in one piece of memory.

    Shares the batch's memory where it already lies that way (`batch_of`, `FaceSet.read`).
    """
    return np.ascontiguousarray(images.detach().permute(0, 2, 3, 1).numpy())


def batch_of(pictures: np.ndarray) -> Tensor:
    """Pictures (B, H, W, C) as a batch (B, C, H, W) that shares their memory."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def radius(sigma: float) -> int:
    """Pixels that a Gaussian of `sigma` reaches: it is cut off at three of them."""
    return max(1, math.ceil(3 * sigma))


def blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Blur by a Gaussian of `sigma` pixels."""
    side = 2 * radius(sigma) + 1
    return cv2.GaussianBlur(picture, (side, side), max(sigma, 1e-3), borderType=cv2.BORDER_REFLECT_101)


def smooth(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Nearly `blur`, but what is blurred widely is blurred at half the size; see data_sim.degrade.smooth."""
    if sigma < WIDE:
        return blur(picture, sigma)
    height, width = picture.shape[:2]
    half = smooth(halve(picture), (sigma**2 - 0.75) ** 0.5 / 2)
    double = cv2.resize(half, (2 * half.shape[1], 2 * half.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(double[:height, :width])


def halve(picture: np.ndarray, edge: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """Means of two by two pixels; `edge` says what lies beyond an odd side."""
    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        picture = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, edge, value=0)
    return cv2.resize(picture, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)


def jpeg(picture: np.ndarray, quality: float) -> np.ndarray:
    """What a JPEG with 4:2:0 chroma leaves; quality: libjpeg's scale, rounded."""
    pixels = cv2.cvtColor(cv2.convertScaleAbs(picture, alpha=255.0), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    if not done:
        raise RuntimeError("OpenCV did not encode the picture as JPEG")
    decoded = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return np.multiply(decoded, np.float32(1 / 255), dtype=np.float32)


def resize(picture: np.ndarray, factor: float) -> np.ndarray:
    """Shrink by `factor` in (0, 1) with antialiasing and enlarge again."""
    height, width = picture.shape[:2]
    small = [max(8, round(side * factor)) for side in (height, width)]
    planes = batch_of(picture[None]).contiguous()
    # OpenCV has no shrinking with a triangle as wide as the step.
    shrunk = F.interpolate(planes, small, mode="bilinear", antialias=True)
    return cv2.resize(pictures_of(shrunk)[0], (width, height), interpolation=cv2.INTER_LINEAR)


def video(picture: np.ndarray, crf: int) -> np.ndarray:
    """What H.264 leaves, as the second frame of a clip that moves; see data_sim.degrade.video."""
    height, width = picture.shape[:2]
    pixels = cv2.convertScaleAbs(picture, alpha=255.0)
    wide = cv2.copyMakeBorder(pixels, 0, height % 2, 1, 1 + width % 2, cv2.BORDER_REPLICATE)
    first, second = np.ascontiguousarray(wide[:, :-2]), np.ascontiguousarray(wide[:, 1:-1])
    second = np.ascontiguousarray(coded([first, second], crf)[-1][:height, :width])
    return np.multiply(second, np.float32(1 / 255), dtype=np.float32)


def coded(pictures: Sequence[np.ndarray], crf: int) -> list[np.ndarray]:
    """What H.264 leaves of (H, W, 3) uint8 frames of one clip, of even sides."""
    import av

    encoder, decoder = av.CodecContext.create("libx264", "w"), av.CodecContext.create("h264", "r")
    encoder.height, encoder.width = pictures[0].shape[:2]
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"crf": str(crf), "preset": "medium", "tune": "zerolatency"}
    encoder.thread_count = decoder.thread_count = 1  # the same bits on every machine
    packets = [p for frame in pictures for p in encoder.encode(av.VideoFrame.from_ndarray(frame))]
    packets += encoder.encode(None)
    frames = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    return [frame.to_ndarray(format="rgb24") for frame in frames]


def sharpen(picture: np.ndarray, amount: float, sigma: float) -> np.ndarray:
    """Add `amount` times the detail finer than `sigma` pixels; may leave [0, 1]."""
    return cv2.addWeighted(picture, 1 + amount, blur(picture, sigma), -amount, 0)
