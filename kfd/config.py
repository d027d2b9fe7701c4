"""Settings of the Knowledge-guided Forgery Detector: what rebuilds it, and how it decides."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Literal, get_args, get_type_hints

from common.strict_json import fits

EncoderName = Literal["embedded", "imagebind-huge", "clip-vit-b32", "clip-vit-l14", "openclip-vit-h14"]


@dataclass(frozen=True)
class KFDConfig:
    """All that rebuilds a detector's modules before its weights are loaded.

    encoder: which vision-language model stands underneath, see kfd.encoders.backbones.
    encoder_settings: the fields of that encoder's own config dataclass; CLIP's hold only `taps`.
    encoder_digest: of a frozen encoder's weights, which are not saved with the detector; "" for the embedded.
    """

    encoder: EncoderName = "embedded"
    encoder_settings: dict[str, object] | None = None
    encoder_digest: str = ""
    align_dim: int = 128  # C, size of the space where patches meet texts; the encoder's embed_dim
    num_context: int = 8  # learnable tokens in front of each class description
    map_scale: float = 10.0  # starting factor on the cosines of Eq. 1; learned
    branch_width: int = 24  # channels of one locator or classifier branch
    hidden: int = 64  # width between the classifier's two fully connected layers
    text_guidance: bool = True  # False: fixed random class vectors instead of texts (ablation)

    @property
    def frozen_encoder(self) -> bool:
        """Whether the encoder is a public model that is not trained and not saved with the detector."""
        return self.encoder != "embedded"

    def __post_init__(self) -> None:
        problems = []
        if self.encoder not in get_args(EncoderName):
            problems.append(f"encoder must be one of {get_args(EncoderName)}, got {self.encoder!r}")
        problems += [
            f"{name} must be positive, got {getattr(self, name)}"
            for name in ("align_dim", "branch_width", "hidden")
            if getattr(self, name) < 1
        ]
        if self.num_context < 0:
            problems.append(f"num_context must not be negative, got {self.num_context}")
        if self.branch_width % GROUPS:
            problems.append(f"branch_width must be a multiple of {GROUPS}, got {self.branch_width}")
        if problems:
            raise ValueError("; ".join(problems))


GROUPS = 4  # of the group norms in the heads


NOT_FITTED = "not fitted"  # of Decision.fitted_on


@dataclass(frozen=True)
class Decision:
    """The way from logit to score to verdict; fitted on validation, kept with the weights.

    score = sigmoid(slope * logit + intercept), or, where `method` is "isotonic", the sigmoid of the line
    through the knots, is P(fake) where real and fake are equally frequent. See kfd.calibration.fit.
    A score of at least `fake_above` reads as fake, one of at most `real_below` as real,
    one in between as inconclusive.

    knot_logits, knot_log_odds: the knots of "isotonic", both rising; empty for "logistic".
    min_log10_lr, max_log10_lr: the strongest log10 likelihood ratios for real and for fake that the
        calibration faces support; None: not fitted, then no ratio is stated.
    flip: the logit is the mean of those of the crop and of its mirror image.
    min_face: side of a face in pixels below which it is not scored.
    min_sharpness: variance of the Laplacian below which a verdict is withheld.
    max_jpeg_loss, max_video_loss: estimates of kfd.quality.estimate above which a verdict is withheld;
        None: no limit was fitted.
    min_jpeg_quality: quality of the file, libjpeg's scale, below which a verdict is withheld; None as above.
    max_views_gap: log-odds by which crop and mirror image may differ before a verdict is withheld.
    max_strangeness: distance from the pictures it was fitted on (kfd.calibration.familiar) above which a
        verdict is withheld; None as above. familiar_sha256: of the file that the distance needs.
    fitted_on: the images, in words for the report; NOT_FITTED gives no verdicts.
    map_share: of a heat map's hottest value, from which a pixel counts as forged; None: from 0.5 on.
    clip_frames: frames from which the next two hold, of the kfd.calibration.clips they are fitted on; None:
        a clip is judged as a photograph with the mean logit of its frames.
    clip_slope, clip_intercept: the line that carries such a mean to the logit of a photograph of equal worth.
    clip_disagree: share of a clip's frames that must read the other way for its frames to disagree.
    measured: figures of the fit, by name (kfd.calibration.fit.calibration_figures).
    """

    slope: float = 1.0
    intercept: float = 0.0
    fake_above: float = 0.7
    real_below: float = 0.3
    min_face: float = 48.0
    min_sharpness: float = 4.0
    fitted_on: str = NOT_FITTED
    method: Literal["logistic", "isotonic"] = "logistic"
    knot_logits: tuple[float, ...] = ()
    knot_log_odds: tuple[float, ...] = ()
    min_log10_lr: float | None = None
    max_log10_lr: float | None = None
    flip: bool = False
    max_jpeg_loss: float | None = None
    max_video_loss: float | None = None
    min_jpeg_quality: int | None = None
    max_views_gap: float | None = None
    max_strangeness: float | None = None
    familiar_sha256: str = ""
    map_share: float | None = None
    clip_frames: int | None = None
    clip_slope: float = 1.0
    clip_intercept: float = 0.0
    clip_disagree: float = 0.2
    measured: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hints = get_type_hints(Decision)
        wrong = [f.name for f in fields(self) if not fits(getattr(self, f.name), hints[f.name])]
        if wrong:  # a NaN would lie below every threshold, and read as real
            raise ValueError(f"expected finite numbers and words in their places, got others in {wrong}")
        if not 0 <= self.real_below < self.fake_above <= 1:
            raise ValueError(
                f"thresholds must satisfy 0 <= real_below < fake_above <= 1, "
                f"got {self.real_below} and {self.fake_above}"
            )
        if self.map_share is not None and not 0 < self.map_share < 1:
            raise ValueError(f"map_share must lie in (0, 1), got {self.map_share}")
        if not 0 < self.clip_disagree <= 0.5:
            raise ValueError(f"clip_disagree must lie in (0, 0.5], got {self.clip_disagree}")
        if min(self.slope, self.clip_slope) <= 0:
            raise ValueError(
                f"slopes must be positive, or a stronger sign would read as weaker: {self.slope}, "
                f"{self.clip_slope}"
            )
        knots = len(self.knot_logits), len(self.knot_log_odds)
        if knots[0] != knots[1] or (self.method == "isotonic") != (knots[0] >= 2):
            raise ValueError(f"isotonic needs two or more knots of two numbers, logistic none; got {knots}")
        if any(b <= a for k in (self.knot_logits, self.knot_log_odds) for a, b in pairwise(k)):
            raise ValueError("the knots must rise, or a stronger sign would read as weaker")
        if (self.min_log10_lr is None) != (self.max_log10_lr is None):
            raise ValueError("min_log10_lr and max_log10_lr are given together or not at all")
        if self.min_log10_lr is not None and not self.min_log10_lr <= 0 <= self.max_log10_lr:
            raise ValueError(f"the bounds must enclose 0, got {self.min_log10_lr} and {self.max_log10_lr}")

    @property
    def is_fitted(self) -> bool:
        """Whether scores mean probabilities, so that verdicts may be given."""
        return self.fitted_on != NOT_FITTED
