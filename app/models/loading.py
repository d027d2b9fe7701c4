"""Load the chosen models, and name them for the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from app.analysis import ModelRecord, WeightsFile
from app.models.backends import ChatBackend, load_chat_backend
from app.models.choice import ModelChoice
from common.storage import CONFIG_FILE, digest_of, read_config
from kfd.calibration.error_rates import Robustness
from kfd.config import KFDConfig
from kfd.detector import Detector
from kfd.reader import KFD_NAME, system_of
from kfd.scoring.opinions import SecondReader, load_readers

PARTS = ("kfd", "assistant")  # folders of a checkpoint; the base model may be a third, or a package


def load_models(
    choice: ModelChoice,
) -> tuple[Detector, ChatBackend, ModelRecord, tuple[SecondReader, ...]]:
    """Detector, language model, what the report says of both, and the second readers.

    Raises FileNotFoundError naming what is missing; ValueError for models that do not fit one another, such
    as an assistant that learnt to read another detector; EndpointError when an endpoint that has to be asked
    for its models does not answer.
    """
    wanted = {"kfd": choice.kfd is None}
    wanted |= {"assistant": not choice.llm and not choice.llm_url}
    missing = [part for part in PARTS if wanted[part] and not (choice.checkpoint / part).is_dir()]
    if missing:
        raise FileNotFoundError(
            f"{choice.checkpoint} holds no {' and no '.join(missing)}; expected a checkpoint folder with "
            f"{', '.join(PARTS)}, such as checkpoints/embedded of the repository"
        )
    detector = load_detector(choice)
    backend = load_chat_backend(choice, detector.digest)
    readers = load_readers(choice.opinion, detector, choice.device)
    record = model_record(choice, detector, backend)
    files = [WeightsFile(f"second opinion {r.name} ({r.system})", r.detector.digest) for r in readers]
    return detector, backend, replace(record, files=(*record.files, *files)), readers


def load_detector(choice: ModelChoice) -> Detector:
    """The detector of a choice; its dtype is chosen only where a frozen encoder computes in one."""
    folder = choice.kfd_folder
    is_kfd = system_of(folder) == KFD_NAME
    frozen = not is_kfd or read_config(KFDConfig, folder / CONFIG_FILE).frozen_encoder
    dtype = choice.dtype if frozen and choice.dtype != "auto" else None
    return Detector.from_pretrained(folder, choice.device, choice.encoder, dtype)


def model_record(choice: ModelChoice, detector: Detector, backend: ChatBackend) -> ModelRecord:
    """Name, purpose, thresholds and digests of the chosen models."""
    folder = choice.kfd_folder
    weights = [("kfd", path) for path in sorted(folder.rglob("*.safetensors"))]
    files = [WeightsFile(f"{part}/{path.name}", digest_of(path)) for part, path in weights]
    if detector.config.encoder_digest:
        files.append(WeightsFile(f"encoder {detector.config.encoder}", detector.config.encoder_digest))
    name = choice.checkpoint.name if choice.kfd is None else folder.resolve().name
    return ModelRecord(
        name=name,
        good_for=purpose(folder),
        decision=detector.decision,
        files=(*files, *backend.weights),
        chat=backend.record,
        robustness=Robustness.load(folder, detector),
        reader=getattr(detector.model, "words", ""),
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
