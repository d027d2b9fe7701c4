"""The detector as its users meet it: a photograph in, one finding per face out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from data_sim.faces import FaceCrop, crop_face, find_faces
from data_sim.regions import REGION_NAMES, named_regions, region_scores
from kfd.backbones import Dtype
from kfd.checkpoint import kfd_digest, load_kfd
from kfd.config import Decision
from kfd.detection import Detection, FaceFinding, Quality
from kfd.model import KFD

BATCH = 16  # faces judged together
FACE_TOO_SMALL = "face_too_small"
BLURRED = "blurred"
BETWEEN = "score_between_thresholds"


class NoFaceError(ValueError):
    """A photograph in which no face was found; it has no score. `code` is "no_face"."""

    code = "no_face"

    def __init__(self) -> None:
        super().__init__(
            "no face was found; use a photo that shows a face from the front, uncovered and not too small"
        )


@dataclass(frozen=True)
class _Judged:
    """A face that may be scored, or the reason why not."""

    crop: FaceCrop
    quality: Quality
    withheld: tuple[str, ...]


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
        logit = output.logit.float().cpu()
        return Detection(
            logit=logit,
            score=torch.sigmoid(self.decision.slope * logit + self.decision.intercept),
            heatmap=output.mask_logits.float().sigmoid().cpu(),
            consistency_maps=tuple(maps.float().cpu() for maps in output.consistency_maps),
            embedding=output.embedding.float().cpu(),
        )

    def grad_cam(self, crops: Tensor) -> Tensor:
        """What the score of face crops rests on, (B, 1, S, S) float32 in [0, 1]; see kfd.gradcam.

        crops: as for judging. Costs one more pass of the image tower.
        """
        from kfd.gradcam import grad_cam

        return grad_cam(self.model, crops.to(self.device), self._class_features).cpu()

    def examine(self, image: np.ndarray) -> list[FaceFinding]:
        """Find and judge every face of a photograph.

        image: (H, W, 3) uint8 RGB, upright (see data_sim.images.read_image).
        Returns one finding per face, largest first. Raises NoFaceError when there is none.
        """
        faces = find_faces(image)
        if not faces:
            raise NoFaceError
        judged = []
        for face in faces:
            crop = crop_face(image, face, self.image_size)
            quality = Quality(face.side, sharpness(crop.pixels))
            judged.append(_Judged(crop, quality, self._withheld(quality)))
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
        between = self.decision.real_below < score < self.decision.fake_above
        reasons = (*withheld, *((BETWEEN,) if between else ()))
        if reasons:
            return "inconclusive", reasons
        return ("fake" if score >= self.decision.fake_above else "real"), ()

    def _withheld(self, quality: Quality) -> tuple[str, ...]:
        small = (FACE_TOO_SMALL,) if quality.face_pixels < self.decision.min_face else ()
        blurred = (BLURRED,) if quality.sharpness < self.decision.min_sharpness else ()
        return small + blurred

    def _finding(
        self, index: int, box: tuple[int, int, int, int], judged: _Judged, detection: Detection | None
    ) -> FaceFinding:
        if detection is None:
            verdict, score, reasons, named, scores = "inconclusive", None, judged.withheld, (), {}
        else:
            score = float(detection.score)
            verdict, reasons = self.verdict(score, judged.withheld)
            landmarks = torch.from_numpy(judged.crop.landmarks)[None]
            values = region_scores(detection.heatmap, landmarks)[0]
            scores = dict(zip(REGION_NAMES, values.tolist(), strict=True))
            named = () if verdict == "real" else named_regions(values)
        return FaceFinding(
            index, box, verdict, score, reasons, named, scores, judged.quality, judged.crop, detection
        )


def to_batch(crops: list[np.ndarray]) -> Tensor:
    """(S, S, 3) uint8 RGB crops -> (B, 3, S, S) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def sharpness(pixels: np.ndarray) -> float:
    """Variance of the Laplacian of the grey picture: (H, W, 3) uint8 -> 0 and up; under 10 is soft."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
