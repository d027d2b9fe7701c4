"""Types of what the detector says of a face; every later stage reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.verdicts import Reason, Verdict

if TYPE_CHECKING:
    from kfd.calibration.likelihood_ratio import Evidence
    from media.faces import FaceCrop

CLASSES = ("real", "fake")  # label 0 and label 1, everywhere


@dataclass(frozen=True)
class Detection:
    """The detector's answer for B face crops of side S.

    logit: (B,) float32, any range; sigmoid(logit) is the uncalibrated P(fake).
    score: (B,) float32 in [0, 1], calibrated P(fake).
    heatmap: (B, 1, S, S) float32 in [0, 1], P(fake) of each pixel; None of a system that makes no map.
    consistency_maps: one (B, 2, H_i, W_i) float32 per tap, scaled cosine with the
        real and the fake class embedding (Eq. 1), in CLASSES order; empty of a system without any.
    embedding: (B, D) float32, L2-normalised image embedding of the encoder; None of a system without one.
    views_gap: (B,) float32, by how much the calibrated log-odds of the crop and of its mirror image
        differ; None where only the crop was read. Maps and embedding are always the crop's own.
    strangeness: (B,) float32, distance from the pictures that the detector was fitted on, see
        kfd.calibration.familiar; None where it is not measured.
    """

    logit: Tensor
    score: Tensor
    heatmap: Tensor | None
    consistency_maps: tuple[Tensor, ...]
    embedding: Tensor | None
    views_gap: Tensor | None = None
    strangeness: Tensor | None = None

    def __getitem__(self, index: int | Tensor) -> Detection:
        """The detection of one face, batch axis kept (B = 1), or of several, by a tensor of their places."""
        part = slice(index, index + 1) if isinstance(index, int) else index
        return Detection(
            self.logit[part],
            self.score[part],
            None if self.heatmap is None else self.heatmap[part],
            tuple(maps[part] for maps in self.consistency_maps),
            None if self.embedding is None else self.embedding[part],
            None if self.views_gap is None else self.views_gap[part],
            None if self.strangeness is None else self.strangeness[part],
        )


def joined(parts: Sequence[Detection]) -> Detection:
    """Detections of one system, one behind the other; without the gap of the mirror image and strangeness."""
    return Detection(
        torch.cat([p.logit for p in parts]),
        torch.cat([p.score for p in parts]),
        torch.cat([p.heatmap for p in parts]),
        tuple(
            torch.cat(maps).contiguous() for maps in zip(*(p.consistency_maps for p in parts), strict=True)
        ),
        torch.cat([p.embedding for p in parts]),
    )


@dataclass(frozen=True)
class Quality:
    """Properties of the photograph itself that limit the finding.

    face_pixels: side of the face box in pixels of the photograph.
    sharpness: variance of the Laplacian of the grey crop, 0..255 units squared.
    jpeg_loss, video_loss: share of the fine detail that JPEG, and that H.264 or WebP, destroyed, 0..1,
        estimated from the pixels (kfd.quality.estimate).
    jpeg_quality: of the file, libjpeg's 1..100; None where it is no JPEG, or not known.
    """

    face_pixels: float
    sharpness: float
    jpeg_loss: float | None = None
    video_loss: float | None = None
    jpeg_quality: int | None = None


@dataclass(frozen=True)
class FaceFinding:
    """One face of one photograph, judged.

    index: position among the faces found, from 0: those of a file from left to right (kfd.examine), in a
        video the one seen most often first.
    box: (x0, y0, x1, y1) of the face in pixels of the upright photograph.
    score: calibrated P(fake) in [0, 1], or None where the face must not be scored.
    reasons: why the verdict is inconclusive; empty for `fake` and `real`.
    regions: names out of media.regions.REGIONS that the heatmap points at, strongest first;
        empty when the verdict is `real`, or when not scored.
    region_scores: mean P(fake) of each region of REGIONS, by name; empty when not scored, or without a
        heat map.
    quality: see Quality.
    crop: the square the detector saw.
    detection: the detector's full answer, B = 1, or None when not scored.
    evidence: the likelihood ratio; None when not scored, when no bounds were fitted, or when the photograph
        itself forbids a verdict.
    """

    index: int
    box: tuple[int, int, int, int]
    verdict: Verdict
    score: float | None
    reasons: tuple[Reason, ...]
    regions: tuple[str, ...]
    region_scores: dict[str, float]
    quality: Quality
    crop: FaceCrop
    detection: Detection | None
    evidence: Evidence | None = None

    def without_verdict(self, reason: Reason) -> FaceFinding:
        """The same finding without a verdict and a likelihood ratio, for a reason that lies in the file."""
        if reason in self.reasons:
            return self
        return replace(self, verdict=Verdict.INCONCLUSIVE, reasons=(reason, *self.reasons), evidence=None)
