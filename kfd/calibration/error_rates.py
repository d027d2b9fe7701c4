"""Error rates of a detector by kind of photograph, as evaluation.robustness stored them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

from common.storage import naming
from common.strict_json import fits, read_json_object
from kfd.config import Decision
from kfd.detection import Quality
from kfd.quality.corruptions import AS_IT_IS, SOCIAL

if TYPE_CHECKING:
    from kfd.detector import Detector

ROBUSTNESS_FILE = "robustness.json"
CONDITIONS = (
    AS_IT_IS, *(f"jpeg {quality}" for quality in range(100, 10, -10)), "webp 80", "webp 50", "webp 20",
    "video 23", "video 28", "video 33", "video 40", "video 40 jpeg 75", "resize 50", "resize 25",
    "resize 50 jpeg 40", "resize 50 video 33", "blur 1", "blur 2", "noise 2", "noise 5", SOCIAL,
)  # fmt: skip
# Fields of Decision that grids measured before them do not know.
LATER = (
    "max_strangeness", "familiar_sha256", "map_share", "clip_frames", "clip_slope", "clip_intercept",
    "clip_disagree",
)  # fmt: skip
TRACES = 0.2  # from this estimate of kfd.quality on a photograph counts as showing traces of compression
LARGE = 0.7  # from this scale on a face counts as large: it has so much of the pixels the detector reads


@dataclass(frozen=True)
class ErrorRate:
    """The error rate of photographs of one kind.

    large: whether the face has at least LARGE of the pixels the detector reads. band: of compression, see
    `band_of`. real, fake: how many different people were measured, or groups where nobody is named.
    false_alarms, found: share of the real and of the fake that reach the score from which a face counts as
    fake; each with its 95 % interval. `found` is None where no fake was measured.
    """

    large: bool
    band: int
    real: int
    fake: int
    false_alarms: tuple[float, float, float]
    found: tuple[float, float, float] | None


@dataclass(frozen=True)
class Robustness:
    """A finished grid: cells by condition as in the file, error rates by (large, band), and the split that
    they were measured on.
    """

    cells: dict[str, dict[str, object]]
    rates: dict[tuple[bool, int], ErrorRate]
    image_size: int
    split: str

    @classmethod
    def load(cls, folder: str | Path, detector: Detector) -> Robustness | None:
        """The grid of a detector's folder; None where it was never measured to its end.

        Raises ValueError when the file is damaged or speaks of other weights or another decision.
        """
        path = Path(folder) / ROBUSTNESS_FILE
        if not path.is_file():
            return None
        stored = read_json_object(path)
        refuse_stale(path, stored, detector)
        with naming(path):
            if set(CONDITIONS) - set(stored["cells"]):
                return None
            rates = {(rate["large"], rate["band"]): _rate(rate) for rate in stored["rates"]}
            return cls(stored["cells"], rates, detector.image_size, stored["split"])

    def rate_of(self, quality: Quality, crop_side: float) -> ErrorRate | None:
        """The error rates of photographs like the present one; None where too few were measured.

        crop_side: of the square around the face, in pixels of the photograph.
        """
        if quality.jpeg_loss is None or quality.video_loss is None:
            return None
        band = band_of(quality.jpeg_loss, quality.video_loss)
        return self.rates.get((crop_side >= LARGE * self.image_size, band))


def band_of(jpeg_loss: float, video_loss: float) -> int:
    """0: hardly any traces of compression, 1: like those of JPEG, 2: of video or WebP, 3: of both.

    Soft photographs, enlarged ones among them, can show the second without having been coded so.
    """
    return int(jpeg_loss >= TRACES) + 2 * int(video_loss >= TRACES)


def digest_of_decision(decision: Decision) -> str:
    """SHA-256 of a decision's values, hex; of those that came later, only where they are not the usual ones.

    So a grid stays valid that was measured before there were such values, with the decision of that time.
    """
    usual = Decision()
    values = {
        name: value
        for name, value in dataclasses.asdict(decision).items()
        if name not in LATER or value != getattr(usual, name)
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def refuse_stale(path: Path, stored: dict[str, object], detector: Detector) -> None:
    """Raise ValueError when a stored grid speaks of other weights or another decision."""
    for name, own in (("detector", detector.digest), ("decision", digest_of_decision(detector.decision))):
        if stored.get(name) != own:
            raise ValueError(
                f"{path} was measured with another {name}: expected {own[:12]}, got "
                f"{str(stored.get(name))[:12]}. Delete it and run python -m evaluation.robustness again"
            )


def _rate(stored: dict[str, object]) -> ErrorRate:
    hints = get_type_hints(ErrorRate)
    wrong = [name for name, value in stored.items() if not fits(value, hints[name])]
    if wrong:
        raise ValueError(f"an error rate has {', '.join(wrong)} of another type")
    return ErrorRate(**{name: tuple(v) if isinstance(v, list) else v for name, v in stored.items()})
