"""The detector as its users meet it: a photograph in, one finding per face out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from common.verdicts import SCORE_REASONS, Reason, Verdict
from kfd.calibration.decision import decide, evidence_of, log_odds, may_be_scored, score_of
from kfd.calibration.familiar import Familiar
from kfd.config import Decision
from kfd.detection import Detection, FaceFinding, Quality
from kfd.encoders.backbones import Dtype
from kfd.model import KFD
from kfd.quality.drawings import is_drawn
from kfd.quality.estimate import compression, sharpness
from kfd.reader import Reader, load_reader
from media.errors import check_wanted
from media.faces import Face, FaceCrop, crop_face, find_faces, shrunk
from media.regions import REGION_NAMES, named_regions, region_scores

BATCH = 16  # faces judged together
SMALLEST_MEASURED = 32  # pixels, of a side in which compression can be measured


class NoFaceError(ValueError):
    """A photograph in which no face was found; it has no score. `code` is "no_face"."""

    code = Reason.NO_FACE

    def __init__(self) -> None:
        super().__init__(
            "no face was found; use a picture that shows a face from the front, uncovered and not too small; "
            "turn it upright where it lies on its side"
        )


@dataclass(frozen=True)
class FaceView:
    """A face before it is judged.

    box: see FaceFinding. doubts: reasons against any verdict that the face finder and the looks give.
    """

    box: tuple[int, int, int, int]
    crop: FaceCrop
    quality: Quality
    doubts: tuple[Reason, ...]


def regions_to_name(verdict: Verdict, strength: Tensor) -> tuple[str, ...]:
    """The regions that words, report and page name: where the heat map points, unless the verdict is real.

    strength: (R,) mean P(fake) of each region.
    """
    return () if verdict == Verdict.REAL else named_regions(strength)


class Detector:
    """A trained KFD, or another system, with its preprocessing, calibration and thresholds.

    config: of the model, KFDConfig where it is a KFD. decision: its Decision. digest: SHA-256, hex, of its
    weights, a frozen encoder's included. familiar: where a decision with max_strangeness measures from.
    """

    def __init__(
        self,
        model: Reader,
        decision: Decision,
        digest: str,
        device: str = "cpu",
        familiar: Familiar | None = None,
    ):
        if familiar is None and decision.max_strangeness is not None:
            raise ValueError("a decision with max_strangeness needs the pictures that it measures from")
        self.model = model.to(device).eval()
        self.config = model.config
        self.decision = decision
        self.digest = digest
        self.device = device
        self.familiar = familiar
        with torch.no_grad():  # the texts do not change: once per load, not once per photo
            self._constants = self.model.constants()

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str = "cpu",
        encoder: str | Path | None = None,
        dtype: Dtype | None = None,
    ) -> Detector:
        """Load a folder of `python -m kfd.train`, or of another system (kfd.reader).

        encoder: file, folder or hub id of a frozen encoder's weights, which such a folder does not hold; by
            default the public ones. dtype: what it computes in; by default bf16 on a GPU and fp32 on a CPU.
        Raises FileNotFoundError or ValueError that says what is missing or does not fit.
        """
        model, decision, digest = load_reader(folder, encoder, dtype, device)
        if isinstance(model, KFD) and not model.config.frozen_encoder:
            model.encoder.fold()
        return cls(model, decision, digest, device, Familiar.load(folder, decision))

    @property
    def image_size(self) -> int:
        """Side S of the crops the detector sees, in pixels."""
        return self.model.image_size

    @torch.no_grad()
    def __call__(self, crops: Tensor) -> Detection:
        """Judge face crops.

        crops: (B, 3, S, S) float32 RGB in [0, 1], S = image_size. Returns tensors on the CPU.
        Raises ValueError on another shape or dtype, FloatingPointError where the weights give no number.
        """
        expected = (3, self.image_size, self.image_size)
        if crops.ndim != 4 or tuple(crops.shape[1:]) != expected or not crops.is_floating_point():
            got = f"{tuple(crops.shape)} {crops.dtype}"
            raise ValueError(f"crops: expected (B, *{expected}) float in [0, 1], got {got}")
        both = torch.cat([crops, crops.flip(-1)]) if self.decision.flip else crops  # one batch is faster
        output, faces = self.model(both.to(self.device), self._constants), len(crops)
        maps = () if output.mask_logits is None else (output.mask_logits,)
        if not all(bool(values.isfinite().all()) for values in (output.logit, *maps)):
            raise FloatingPointError("the detector gave a number that is not finite: no score can be told")
        logit, views_gap = output.logit.float().cpu()[:faces], None
        if self.decision.flip:
            mirrored = output.logit.float().cpu()[faces:]
            odds = [log_odds(self.decision, view.numpy()) for view in (logit, mirrored)]
            views_gap = torch.from_numpy(np.abs(odds[0] - odds[1])).float()
            logit = (logit + mirrored) / 2
        embedding = None if output.embedding is None else output.embedding[:faces].float().cpu()
        measured = self.familiar is not None and embedding is not None
        return Detection(
            logit=logit,
            score=torch.from_numpy(score_of(self.decision, logit.numpy())).float(),
            heatmap=None
            if output.mask_logits is None
            else output.mask_logits[:faces].float().sigmoid().cpu(),
            consistency_maps=tuple(maps[:faces].float().cpu() for maps in output.consistency_maps),
            embedding=embedding,
            views_gap=views_gap,
            strangeness=self.familiar.strangeness(embedding) if measured else None,
        )

    def grad_cam(self, crops: Tensor) -> Tensor:
        """Map what the score of face crops rests on, (B, 1, S, S) float32 in [0, 1]; see kfd.gradcam.

        crops: as for judging. Costs one more pass of the image tower.
        Raises ValueError for a system that has none; see `has_grad_cam`.
        """
        if not self.has_grad_cam:
            raise ValueError(f"{type(self.model).__name__} has no Grad-CAM; ask has_grad_cam first")
        from kfd.gradcam import grad_cam

        crops = crops.to(self.device)
        own = isinstance(self.model, KFD)
        maps = grad_cam(self.model, crops, self._constants) if own else self.model.grad_cam(crops)
        return maps.cpu()

    @property
    def has_grad_cam(self) -> bool:
        """Whether the system can show what its score rests on."""
        return isinstance(self.model, KFD) or hasattr(self.model, "grad_cam")

    def examine(self, image: np.ndarray, jpeg_quality: int | None = None) -> list[FaceFinding]:
        """Find and judge every face of a photograph.

        image: (H, W, 3) uint8 RGB, upright (see media.images.read_image).
        jpeg_quality: of the file (kfd.quality.estimate.jpeg_quality); None where it is no JPEG, or not known.
        Returns one finding per face, largest first. Raises NoFaceError when there is none.
        """
        faces = find_faces(image)
        if not faces:
            raise NoFaceError
        return self.judge(image, faces, jpeg_quality)

    def judge(
        self, image: np.ndarray, faces: Sequence[Face], jpeg_quality: int | None = None
    ) -> list[FaceFinding]:
        """Judge faces that were found before; one finding per face, in their order."""
        return self.judge_all([self.look(image, faces, jpeg_quality)])[0]

    def look(
        self,
        image: np.ndarray,
        faces: Sequence[Face],
        jpeg_quality: int | None = None,
        also: tuple[Reason, ...] = (),
    ) -> list[FaceView]:
        """All that judging needs to know of a photograph's faces; the photograph may then be forgotten.

        also: reasons against any verdict that lie in the whole picture.
        """
        views = []
        shrink = cache(partial(shrunk, image))  # a crowd would have it shrunk for each face
        for face in faces:
            check_wanted()
            crop = crop_face(image, face, self.image_size, shrink=shrink)
            quality = Quality(face.side, sharpness(crop.pixels), *_compression(crop), jpeg_quality)
            uncertain = () if face.sure else (Reason.FACE_UNCERTAIN,)
            box = tuple(round(v) for v in face.box)
            views.append(FaceView(box, crop, quality, (*uncertain, *doubts_of(crop.pixels), *also)))
        return views

    def judge_all(self, pictures: Sequence[Sequence[FaceView]]) -> list[list[FaceFinding]]:
        """Judge the faces of several pictures in common batches; the findings of each, in order."""
        views = [view for picture in pictures for view in picture]
        scored = [i for i, view in enumerate(views) if may_be_scored(self.decision, view.quality)]
        detections: dict[int, Detection] = {}
        for start in range(0, len(scored), BATCH):
            check_wanted()
            part = scored[start : start + BATCH]
            detection = self(to_batch([views[i].crop.pixels for i in part]))
            detections |= {i: detection[k] for k, i in enumerate(part)}
        number = count()
        return [
            [self._finding(index, view, detections.get(next(number))) for index, view in enumerate(picture)]
            for picture in pictures
        ]

    def _finding(self, index: int, judged: FaceView, detection: Detection | None) -> FaceFinding:
        score = None if detection is None else float(detection.score)
        verdict, reasons = decide(
            self.decision, score, judged.quality, *oddities_of(detection), also=judged.doubts
        )
        named, scores, worth = (), {}, None
        if detection is not None:
            if detection.heatmap is not None:
                landmarks = torch.from_numpy(judged.crop.landmarks)[None]
                values = region_scores(detection.heatmap, landmarks)[0]
                scores = dict(zip(REGION_NAMES, values.tolist(), strict=True))
                named = regions_to_name(verdict, values)
            # It was fitted on faces that no limit forbids a verdict on: of others it says nothing.
            if SCORE_REASONS.issuperset(reasons):
                worth = evidence_of(self.decision, float(detection.logit), score)
        return FaceFinding(
            index,
            judged.box,
            verdict,
            score,
            reasons,
            named,
            scores,
            judged.quality,
            judged.crop,
            detection,
            worth,
        )


def oddities_of(detection: Detection | None) -> tuple[float | None, float | None]:
    """The gap of the two views and the strangeness of one face, None where they were not measured."""
    found = (None, None) if detection is None else (detection.views_gap, detection.strangeness)
    return tuple(None if value is None else float(value) for value in found)


def doubts_of(pixels: np.ndarray) -> tuple[Reason, ...]:
    """Reasons against any verdict that lie in the looks of a crop, (S, S, 3) uint8 RGB."""
    return (Reason.NOT_A_PHOTOGRAPH,) if is_drawn(pixels) else ()


def _compression(crop: FaceCrop) -> tuple[float, float]:
    """The estimates at the scale of the detector, or at the photograph's own where the face was enlarged."""
    side = max(SMALLEST_MEASURED, round(crop.box[2] - crop.box[0]))
    if side >= len(crop.pixels):
        return compression(crop.pixels)
    return compression(cv2.resize(crop.pixels, (side, side), interpolation=cv2.INTER_AREA))


def to_batch(crops: list[np.ndarray]) -> Tensor:
    """(S, S, 3) uint8 RGB crops -> (B, 3, S, S) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
