"""The detector as its users meet it: a photograph in, one finding per face out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from kfd.calibration import likelihood_ratio as evidence
from kfd.calibration.fit import log_odds
from kfd.checkpoint import kfd_digest, load_kfd
from kfd.config import Decision
from kfd.detection import Detection, FaceFinding, Quality
from kfd.encoders.backbones import Dtype
from kfd.model import KFD
from kfd.quality import compression, sharpness
from media.faces import Face, FaceCrop, crop_face, find_faces
from media.regions import REGION_NAMES, named_regions, region_scores

BATCH = 16  # faces judged together
FACE_TOO_SMALL = "face_too_small"
FACE_UNCERTAIN = "face_uncertain"
BLURRED = "blurred"
BETWEEN = "score_between_thresholds"
HEAVY_COMPRESSION = "heavy_compression"
VIEWS_DISAGREE = "views_disagree"
FRAMES_DISAGREE = "frames_disagree"
NOT_CALIBRATED = "not_calibrated"
MINORITY = 0.2  # share of a track's frames that must read the other way for its frames to disagree
SMALLEST_MEASURED = 32  # pixels, of a side in which compression can be measured


class NoFaceError(ValueError):
    """A photograph in which no face was found; it has no score. `code` is "no_face"."""

    code = "no_face"

    def __init__(self) -> None:
        super().__init__(
            "no face was found; use a picture that shows a face from the front, uncovered and not too small"
        )


@dataclass(frozen=True)
class _Judged:
    """A face that may be scored, or the reason why not."""

    crop: FaceCrop
    quality: Quality
    withheld: tuple[str, ...]


def regions_to_name(verdict: str, strength: Tensor) -> tuple[str, ...]:
    """The regions that words, report and page name: where the heat map points, unless the verdict is real.

    strength: (R,) mean P(fake) of each region.
    """
    return () if verdict == "real" else named_regions(strength)


class Detector:
    """A trained KFD with its preprocessing, calibration and thresholds.

    config: its KFDConfig. decision: its Decision. digest: SHA-256, hex, of its weights, a frozen encoder's
    included.
    """

    def __init__(self, model: KFD, decision: Decision, digest: str, device: str = "cpu"):
        self.model = model.to(device).eval()
        self.config = model.config
        self.decision = decision
        self.digest = digest
        self.device = device
        with torch.no_grad():  # the texts do not change: once per load, not once per photo
            self._class_features = self.model.alignment.class_features(self.model.encoder)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str = "cpu",
        encoder: str | Path | None = None,
        dtype: Dtype | None = None,
    ) -> Detector:
        """Load a folder of `python -m kfd.train`.

        encoder: file, folder or hub id of a frozen encoder's weights, which such a folder does not hold; by
            default the public ones. dtype: what it computes in; by default bf16 on a GPU and fp32 on a CPU.
        Raises FileNotFoundError or ValueError that says what is missing or does not fit.
        """
        model, decision = load_kfd(folder, encoder, dtype, device)
        return cls(model, decision, kfd_digest(folder), device)

    @property
    def image_size(self) -> int:
        """Side S of the crops the detector sees, in pixels."""
        return self.model.encoder.image_size

    @torch.no_grad()
    def __call__(self, crops: Tensor) -> Detection:
        """Judge face crops.

        crops: (B, 3, S, S) float32 RGB in [0, 1], S = image_size. Returns tensors on the CPU.
        Raises ValueError on another shape or dtype.
        """
        expected = (3, self.image_size, self.image_size)
        if crops.ndim != 4 or tuple(crops.shape[1:]) != expected or not crops.is_floating_point():
            got = f"{tuple(crops.shape)} {crops.dtype}"
            raise ValueError(f"crops: expected (B, *{expected}) float in [0, 1], got {got}")
        output = self.model(crops.to(self.device), self._class_features)
        logit, views_gap = output.logit.float().cpu(), None
        if self.decision.flip:
            mirrored = self.model(crops.flip(-1).to(self.device), self._class_features).logit.float().cpu()
            odds = [log_odds(self.decision, view.numpy()) for view in (logit, mirrored)]
            views_gap = torch.from_numpy(np.abs(odds[0] - odds[1])).float()
            logit = (logit + mirrored) / 2
        return Detection(
            logit=logit,
            score=torch.from_numpy(log_odds(self.decision, logit.numpy())).sigmoid().float(),
            heatmap=output.mask_logits.float().sigmoid().cpu(),
            consistency_maps=tuple(maps.float().cpu() for maps in output.consistency_maps),
            embedding=output.embedding.float().cpu(),
            views_gap=views_gap,
        )

    def grad_cam(self, crops: Tensor) -> Tensor:
        """What the score of face crops rests on, (B, 1, S, S) float32 in [0, 1]; see kfd.gradcam.

        crops: as for judging. Costs one more pass of the image tower.
        """
        from kfd.gradcam import grad_cam

        return grad_cam(self.model, crops.to(self.device), self._class_features).cpu()

    def examine(self, image: np.ndarray, jpeg_quality: int | None = None) -> list[FaceFinding]:
        """Find and judge every face of a photograph.

        image: (H, W, 3) uint8 RGB, upright (see media.images.read_image).
        jpeg_quality: of the file (kfd.quality.jpeg_quality); None where it is no JPEG, or not known.
        Returns one finding per face, largest first. Raises NoFaceError when there is none.
        """
        faces = find_faces(image)
        if not faces:
            raise NoFaceError
        return self.judge(image, faces, jpeg_quality)

    def judge(
        self, image: np.ndarray, faces: Sequence[Face], jpeg_quality: int | None = None
    ) -> list[FaceFinding]:
        """The same of faces that were found before; one finding per face, in their order."""
        judged = []
        for face in faces:
            crop = crop_face(image, face, self.image_size)
            quality = Quality(face.side, sharpness(crop.pixels), *_compression(crop), jpeg_quality)
            doubt = () if face.sure else (FACE_UNCERTAIN,)
            judged.append(_Judged(crop, quality, doubt + self.withheld(quality)))
        scored = [i for i, j in enumerate(judged) if FACE_TOO_SMALL not in j.withheld]
        detections: dict[int, Detection] = {}
        for start in range(0, len(scored), BATCH):
            part = scored[start : start + BATCH]
            detection = self(to_batch([judged[i].crop.pixels for i in part]))
            detections |= {i: detection[k] for k, i in enumerate(part)}
        boxes = [tuple(round(v) for v in face.box) for face in faces]
        return [self._finding(i, boxes[i], j, detections.get(i)) for i, j in enumerate(judged)]

    def verdict(self, score: float, withheld: tuple[str, ...] = ()) -> tuple[str, tuple[str, ...]]:
        """The verdict of a score and the reasons when it is inconclusive.

        withheld: reasons that the photograph itself gives against any verdict.
        """
        if not self.decision.is_fitted:  # thresholds that nobody fitted separate nothing
            return "inconclusive", (*withheld, NOT_CALIBRATED)
        between = self.decision.real_below < score < self.decision.fake_above
        reasons = (*withheld, *((BETWEEN,) if between else ()))
        if reasons:
            return "inconclusive", reasons
        return ("fake" if score >= self.decision.fake_above else "real"), ()

    def track_verdict(
        self, logits: np.ndarray, withheld: tuple[str, ...] = ()
    ) -> tuple[float, str, tuple[str, ...]]:
        """Score, verdict and reasons of one person's track of a video.

        logits: (N,) of its frames, N >= 1, those that may be scored. The score is that of their mean.
        withheld: reasons that the frames themselves give against any verdict.
        Frames disagree where MINORITY of them or more read as fake and as many as real: a mean would hide
        that only a part of the clip was manipulated, or that the detector wavers.
        """
        scores = 1 / (1 + np.exp(-log_odds(self.decision, logits)))
        split = (scores >= self.decision.fake_above).mean(), (scores <= self.decision.real_below).mean()
        score = float(1 / (1 + np.exp(-log_odds(self.decision, np.mean(logits)))))
        split_reason = (FRAMES_DISAGREE,) if min(split) >= MINORITY else ()
        return score, *self.verdict(score, withheld + split_reason)

    def withheld(self, quality: Quality) -> tuple[str, ...]:
        """Reasons that the photograph itself gives against a verdict on a face."""
        limits = self.decision
        compressed = (
            _beyond(quality.jpeg_loss, limits.max_jpeg_loss)
            or _beyond(quality.video_loss, limits.max_video_loss)
            or _beyond(limits.min_jpeg_quality, quality.jpeg_quality)
        )
        small = (FACE_TOO_SMALL,) if quality.face_pixels < limits.min_face else ()
        blurred = (BLURRED,) if quality.sharpness < limits.min_sharpness else ()
        return small + blurred + ((HEAVY_COMPRESSION,) if compressed else ())

    def evidence(self, logit: float) -> evidence.Evidence | None:
        """What a logit is worth as a likelihood ratio; None where no bounds were fitted."""
        least, most = self.decision.min_log10_lr, self.decision.max_log10_lr
        if not self.decision.is_fitted or least is None or most is None:
            return None
        return evidence.weigh(float(log_odds(self.decision, logit)), (least, most))

    def _finding(
        self, index: int, box: tuple[int, int, int, int], judged: _Judged, detection: Detection | None
    ) -> FaceFinding:
        if detection is None:
            verdict, score, reasons, named, scores = "inconclusive", None, judged.withheld, (), {}
            worth = None
        else:
            score = float(detection.score)
            withheld = judged.withheld + self._views_disagree(detection)
            verdict, reasons = self.verdict(score, withheld)
            landmarks = torch.from_numpy(judged.crop.landmarks)[None]
            values = region_scores(detection.heatmap, landmarks)[0]
            scores = dict(zip(REGION_NAMES, values.tolist(), strict=True))
            named = regions_to_name(verdict, values)
            # The calibration faces were none of those that forbid a verdict: of such a face it says nothing.
            worth = None if withheld else self.evidence(float(detection.logit))
        return FaceFinding(
            index, box, verdict, score, reasons, named, scores, judged.quality, judged.crop, detection, worth
        )

    def _views_disagree(self, detection: Detection) -> tuple[str, ...]:
        gap = None if detection.views_gap is None else float(detection.views_gap)
        return (VIEWS_DISAGREE,) if _beyond(gap, self.decision.max_views_gap) else ()


def _beyond(value: float | None, limit: float | None) -> bool:
    """Whether a value lies above a limit; what is not known lies above nothing."""
    return value is not None and limit is not None and value > limit


def _compression(crop: FaceCrop) -> tuple[float, float]:
    """The estimates at the scale of the detector, or at the photograph's own where the face was enlarged."""
    side = max(SMALLEST_MEASURED, round(crop.box[2] - crop.box[0]))
    if side >= len(crop.pixels):
        return compression(crop.pixels)
    return compression(cv2.resize(crop.pixels, (side, side), interpolation=cv2.INTER_AREA))


def to_batch(crops: list[np.ndarray]) -> Tensor:
    """(S, S, 3) uint8 RGB crops -> (B, 3, S, S) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
