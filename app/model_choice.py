"""Which models an assistant is made of, and how they are loaded and named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.analysis import ModelRecord, WeightsFile

if TYPE_CHECKING:
    from app.chat_backends import Talker
    from kfd.detector import Detector

DEFAULT_CHECKPOINT = Path("checkpoints/embedded")
PARTS = ("kfd", "llm", "assistant")  # folders of a checkpoint


@dataclass(frozen=True)
class ModelChoice:
    """Which models are loaded, where they run, and in what precision."""

    checkpoint: Path = DEFAULT_CHECKPOINT  # folder with kfd, llm and assistant
    kfd: Path | None = None  # folder of the detector, where it is not the checkpoint's
    encoder: str | None = None  # weights of the detector's frozen encoder: file, folder or hub id
    llm: str = ""  # a tuned or exported assistant, or any instruct model, which is told the findings as text
    llm_url: str = ""  # OpenAI-compatible endpoint that writes the answers
    llm_model: str = ""  # name of the model there; by default its only one
    send_image: bool = False  # send the picture of the face to that endpoint, too
    device: str = "cpu"  # "cpu" or "cuda"
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: bf16 on a GPU, fp32 on a CPU
    quantize: bool = False  # load the language model in 4 bits; needs bitsandbytes

    def __post_init__(self) -> None:
        problems = []
        if not self.llm_url and (self.llm_model or self.send_image):
            problems.append("--llm-model and --send-image are about an endpoint: give its --llm-url")
        if self.llm_url and self.quantize:
            problems.append("--quantize is about a language model on this machine: leave it or --llm-url out")
        if self.llm and self.llm_url and self.send_image:
            problems.append("--send-image is for endpoints told the findings as text: leave it out, or --llm")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def kfd_folder(self) -> Path:
        return self.checkpoint / "kfd" if self.kfd is None else self.kfd

    @property
    def llm_source(self) -> str:
        return self.llm or str(self.checkpoint / "assistant")


def load_models(choice: ModelChoice) -> tuple[Detector, Talker, ModelRecord]:
    """Detector, language model, and what the report says of both.

    Raises FileNotFoundError naming what is missing; ValueError for models that do not fit one another, such
    as an assistant that learnt to read another detector; EndpointError when an endpoint that has to be asked
    for its models does not answer.
    """
    from app.chat_backends import load_talker

    wanted = {"kfd": choice.kfd is None}
    wanted |= dict.fromkeys(("llm", "assistant"), not choice.llm and not choice.llm_url)
    missing = [part for part in PARTS if wanted[part] and not (choice.checkpoint / part).is_dir()]
    if missing:
        raise FileNotFoundError(
            f"{choice.checkpoint} holds no {' and no '.join(missing)}; expected a checkpoint folder with "
            f"{', '.join(PARTS)}, such as checkpoints/embedded of the repository"
        )
    detector = load_detector(choice)
    talker = load_talker(choice, detector.digest)
    return detector, talker, model_record(choice, detector, talker)


def load_detector(choice: ModelChoice) -> Detector:
    """The detector of a choice; its dtype is chosen only where a frozen encoder computes in one."""
    from common.storage import CONFIG_FILE, read_config
    from kfd.config import KFDConfig
    from kfd.detector import Detector

    folder = choice.kfd_folder
    frozen = read_config(KFDConfig, folder / CONFIG_FILE).frozen_encoder
    dtype = choice.dtype if frozen and choice.dtype != "auto" else None
    return Detector.from_pretrained(folder, choice.device, choice.encoder, dtype)


def model_record(choice: ModelChoice, detector: Detector, talker: Talker) -> ModelRecord:
    """Name, purpose, thresholds and digests of the chosen models."""
    from common.storage import digest_of
    from kfd.calibration.error_rates import Robustness

    folder = choice.kfd_folder
    weights = [("kfd", path) for path in sorted(folder.rglob("*.safetensors"))]
    files = [WeightsFile(f"{part}/{path.name}", digest_of(path)) for part, path in weights]
    if detector.config.encoder_digest:
        files.append(WeightsFile(f"encoder {detector.config.encoder}", detector.config.encoder_digest))
    name = choice.checkpoint.name if choice.kfd is None else folder.resolve().name
    decision = detector.decision
    return ModelRecord(
        name=name,
        good_for=purpose(folder),
        thresholds=(decision.real_below, decision.fake_above),
        fitted_on=decision.fitted_on,
        files=(*files, *talker.weights),
        talk=talker.record,
        robustness=Robustness.load(folder, detector),
    )


def purpose(folder: Path) -> str:
    """The first paragraph of a detector's model card: what the models are, and what they are good for.

    The card is MODEL_CARD.md in the detector's folder or in the one above.
    """
    cards = [place / "MODEL_CARD.md" for place in (folder, folder.resolve().parent)]
    card = next((path for path in cards if path.is_file()), None)
    if card is None:
        return "These models have no model card: nothing is known of their error rates."
    text = card.read_text(encoding="utf-8")
    if text.startswith("---"):  # the metadata block of a model hub
        text = text.split("---", 2)[2]
    blocks = (block.strip() for block in text.split("\n\n"))
    first = next((block for block in blocks if block and not block.startswith("#")), "")
    return " ".join(first.split())
