"""Self-Blended Images (Shiohara and Yamasaki 2022) the ordinary way: albumentations and OpenCV.

What `benchmarks.speed` compares data_sim.simulate with. Written from a description of the method's steps, for
the landmarks that this project has (68, and ten of a forehead); the order, the probabilities and the sizes of
the random changes are the method's.
"""

from __future__ import annotations

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for its newest version

import albumentations
import cv2
import numpy as np
import torch

from data_sim.simulation.warp import MIRROR
from media import regions

JAW_AND_MOUTH, NOSE, EYES = ((*range(17), *range(48, 68)), tuple(range(27, 36)), tuple(range(17, 48)))
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)  # of the blending


class SelfBlending:
    """Makes pairs of a real face and a self-blended forgery of it.

    size: side of the result in pixels. seed: of all randomness.
    """

    def __init__(self, size: int, seed: int = 0):
        self.size, self.rng = size, np.random.default_rng(seed)
        np.random.seed(seed)
        shift = {"r_shift_limit": (-20, 20), "g_shift_limit": (-20, 20), "b_shift_limit": (-20, 20)}
        hue = {name: (-0.3, 0.3) for name in ("hue_shift_limit", "sat_shift_limit", "val_shift_limit")}
        resampling = {"downscale": cv2.INTER_NEAREST, "upscale": cv2.INTER_LINEAR}
        self.source_change = albumentations.Compose([
            albumentations.RGBShift(**shift, p=0.3),
            albumentations.HueSaturationValue(**hue, p=1.0),
            albumentations.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=1.0),
            albumentations.OneOf([
                albumentations.Downscale(scale_range=(0.25, 0.5), interpolation_pair=resampling, p=1.0),
                albumentations.Sharpen(alpha=(0.2, 0.5), lightness=(0.5, 1.0), p=1.0),
            ], p=1.0),
        ])  # fmt: skip
        moves = {"x": (-0.03, 0.03), "y": (-0.015, 0.015)}
        self.affine = albumentations.Affine(translate_percent=moves, scale=(0.95, 1 / 0.95), p=1.0)
        self.elastic = albumentations.ElasticTransform(alpha=50, sigma=7, p=1.0)
        self.common_change = albumentations.Compose([
            albumentations.RGBShift(**shift, p=0.3),
            albumentations.HueSaturationValue(**hue, p=0.3),
            albumentations.RandomBrightnessContrast(brightness_limit=0.3, contrast_limit=0.3, p=0.3),
            albumentations.ImageCompression(quality_range=(40, 100), p=0.5),
        ], additional_targets={"image1": "image"})  # fmt: skip

    def pair(self, picture: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One pair out of a face.

        picture: (T, T, 3) uint8 RGB, wider than the result. landmarks: (68, 2) float32 pixels of it.
        Returns the real face and the forgery, (size, size, 3) float32 in [0, 1] both.
        """
        if self.rng.random() < 0.5:
            picture = np.ascontiguousarray(picture[:, ::-1])
            landmarks = landmarks[list(MIRROR)] * (-1, 1) + (picture.shape[1] - 1, 0)
        mask = self._hull(landmarks, len(picture))
        source = target = picture
        if self.rng.random() < 0.5:
            source = self.source_change(image=source)["image"]
        else:
            target = self.source_change(image=target)["image"]
        moved = self.affine(image=source, mask=mask)
        mask = self.elastic(image=moved["image"], mask=moved["mask"])["mask"]
        alpha = self._soften(mask)[..., None] * self.rng.choice(RATIOS)
        fake = (alpha * moved["image"] + (1 - alpha) * target).astype(np.uint8)
        changed = self.common_change(image=fake, image1=target)
        top, bottom, left, right = self._crop(landmarks, len(picture))
        whole = (self.size, self.size)
        fake, real = (
            cv2.resize(changed[name][top:bottom, left:right], whole, interpolation=cv2.INTER_LINEAR)
            for name in ("image", "image1")
        )
        return real.astype(np.float32) / 255, fake.astype(np.float32) / 255

    def _hull(self, landmarks: np.ndarray, size: int) -> np.ndarray:
        """One of four outlines, (size, size) float32 in [0, 1]."""
        points = regions.with_forehead(torch.from_numpy(landmarks.astype(np.float32))[None])[0].numpy()
        raised = np.concatenate([points[:68], (points[68:] + points[17:27]) / 2])
        outlines = (
            [points[list(part)] for part in (JAW_AND_MOUTH, NOSE, EYES)],
            [raised],
            [points[list(region.points)] for region in regions.REGIONS if region.name != regions.WHOLE_FACE],
            [points],
        )[self.rng.integers(4)]
        mask = np.zeros((size, size), np.float32)
        for outline in outlines:
            cv2.fillConvexPoly(mask, cv2.convexHull(np.round(outline).astype(np.int32)), 1.0)
        return mask

    def _soften(self, mask: np.ndarray) -> np.ndarray:
        """Blur, keep the peak, blur again, at a random size; (H, W) float32 with peak 1."""
        height, width = self.rng.integers(192, 257, 2)
        first, second = self.rng.choice(np.arange(5, 26, 2), 2)
        small = cv2.resize(mask, (int(width), int(height)))
        small = cv2.GaussianBlur(small, (int(first), int(first)), 0)
        small = np.where(small / max(small.max(), 1e-6) < 1, 0, small).astype(np.float32)
        small = cv2.GaussianBlur(small, (int(second), int(second)), float(self.rng.integers(5, 46)))
        small /= max(small.max(), 1e-6)
        return cv2.resize(small, mask.shape[::-1])

    def _crop(self, landmarks: np.ndarray, size: int) -> tuple[int, int, int, int]:
        """Top, bottom, left and right of the face with margins of a random size."""
        low, high = landmarks.min(0), landmarks.max(0)
        margins = (high - low) / 4 * self.rng.uniform(0.2, 0.8, (2, 2))
        (left, top), (right, bottom) = low - margins[0], high + margins[1]
        return max(int(top), 0), min(int(bottom) + 1, size), max(int(left), 0), min(int(right) + 1, size)
