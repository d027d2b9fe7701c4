"""Language models that answer: on this machine, or behind an endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from app.analysis import ChatRecord, WeightsFile
from app.models.choice import ModelChoice
from common.storage import digest_of
from data_sim.dialogue import Case
from kfd.detection import FaceFinding
from kfd.encoders.backbones import DTYPES
from llm.base import base_digest
from llm.conversation import Conversation
from llm.model import INFO_FILE, AssistantInfo, ForgeryLLM, find_base, read_info
from llm.packaged import PACKAGED
from llm.serving.conversation import RemoteConversation
from llm.serving.endpoint import ChatWriter, Endpoint, connect
from llm.serving.exported import TABLE_FILE, load_exported, load_prompts, prompts_folder, read_export
from llm.serving.prompt_embeds import EmbedsWriter

SMALL_BASE = 1_000_000_000  # bytes
NORMS = "normalisation weights of the base language model"  # see llm.base.base_digest


class ChatBackend(Protocol):
    """A language model, loaded once, that begins conversations.

    record: what it is. weights: its files that are on this machine. told_facts: whether it is to be told all
    that is known of a face and its file (app.analysis.facts_of), not the finding alone.
    """

    record: ChatRecord
    weights: tuple[WeightsFile, ...]
    told_facts: bool

    def conversation(self, case: Case, finding: FaceFinding) -> Conversation | RemoteConversation: ...


class LocalBackend:
    """A language model on this machine, reading soft prompts or evidence as text."""

    def __init__(self, model: ForgeryLLM, name: str, weights: tuple[WeightsFile, ...] = ()) -> None:
        self.model = model
        self.weights = weights
        self._soft = model.prompter.style.has_soft_prompts
        self.told_facts = model.prompter.style.told == "facts"
        self.record = ChatRecord(name, tuned=self._soft)

    def conversation(self, case: Case, finding: FaceFinding) -> Conversation:
        if self._soft:
            return Conversation(self.model, case, finding.detection)
        return Conversation(self.model, case)


class EndpointBackend:
    """Any language model behind an OpenAI-compatible endpoint, told the findings as text."""

    weights: tuple[WeightsFile, ...] = ()
    told_facts = False

    def __init__(self, endpoint: Endpoint, send_image: bool = False) -> None:
        """send_image: send the square that the detector read, too."""
        self.endpoint = endpoint
        self.send_image = send_image
        self.record = ChatRecord(endpoint.model, tuned=False, host=endpoint.host, face_sent=send_image)

    def conversation(self, case: Case, finding: FaceFinding) -> RemoteConversation:
        face = finding.crop.pixels if self.send_image else None
        return RemoteConversation(ChatWriter(self.endpoint, case, face), case)


class PromptEmbedsBackend:
    """The exported model behind a server that takes prompt embeddings."""

    def __init__(self, endpoint: Endpoint, model: ForgeryLLM, weights: tuple[WeightsFile, ...] = ()) -> None:
        """model: what computes the embeddings, see llm.serving.exported.load_prompts."""
        self.endpoint = endpoint
        self.model = model
        self.weights = weights
        self.told_facts = model.prompter.style.told == "facts"
        self.record = ChatRecord(endpoint.model, tuned=True, host=endpoint.host)

    def conversation(self, case: Case, finding: FaceFinding) -> RemoteConversation:
        writer = EmbedsWriter(self.endpoint, self.model, case, finding.detection)
        return RemoteConversation(writer, case)


def load_chat_backend(choice: ModelChoice, kfd_digest: str) -> ChatBackend:
    """Load the language model of a choice.

    kfd_digest: of the detector whose findings it will be told.
    Raises ValueError for a model that learnt to read another detector, or does not fit the endpoint.
    """
    source = Path(choice.llm_source)
    if not choice.llm_url:
        return _local(choice, source, kfd_digest)
    if choice.llm and prompts_folder(source) is None:
        raise ValueError(
            f"expected an exported assistant as --llm beside --llm-url, got {source}: make one with "
            "python -m llm.export, or leave --llm out to tell the endpoint the findings as text"
        )
    endpoint = connect(choice.llm_url, choice.llm_model)
    if not choice.llm:
        return EndpointBackend(endpoint, choice.send_image)
    _check_detector(source, read_export(source).kfd_digest, kfd_digest)
    parts = _files(prompts_folder(source), skip=(TABLE_FILE,))
    return PromptEmbedsBackend(endpoint, load_prompts(source, choice.device), parts)


def _local(choice: ModelChoice, source: Path, kfd_digest: str) -> LocalBackend:
    dtype = None if choice.dtype == "auto" else DTYPES[choice.dtype]
    options = {"device": choice.device, "dtype": dtype, "quantize": choice.quantize}
    if (source / INFO_FILE).is_file():
        info = read_info(source)
        _check_detector(source, info.kfd_digest, kfd_digest)
        model = ForgeryLLM.from_pretrained(source, **options)
        files = (*_files(source), *_base_files(source, info))
        return LocalBackend(model, _own_name(source, info.base), files)
    if prompts_folder(source) is not None:
        info = read_export(source)
        _check_detector(source, info.kfd_digest, kfd_digest)
        return LocalBackend(load_exported(source, **options), _own_name(source, info.base), _files(source))
    model = ForgeryLLM.untuned(choice.llm_source, **options)
    name = source.name if source.is_dir() else _base_name(choice.llm_source)
    files = _packaged_files(choice.llm_source) or (WeightsFile(NORMS, base_digest(model.llm)),)
    return LocalBackend(model, name, files)


def _check_detector(source: Path, learnt_from: str, kfd_digest: str) -> None:
    if learnt_from and learnt_from != kfd_digest:
        raise ValueError(
            f"the assistant in {source} learnt to read detector {learnt_from[:12]}, but the detector here is "
            f"{kfd_digest[:12]}; fine-tune it for that one with python -m llm.finetune, or choose another "
            "language model with --llm or --llm-url"
        )


def _own_name(source: Path, base: str) -> str:
    """The end of the folder's path, and the base model where that has a name of its own."""
    own = "/".join(source.resolve().parts[-2:])
    return own if base.startswith((".", "/")) else f"{own} on {_base_name(base)}"


def _base_name(base: str) -> str:
    return PACKAGED[base].words if base in PACKAGED else base


def _packaged_files(base: str) -> tuple[WeightsFile, ...]:
    """The one file of a base model out of a Python package, checked when it was loaded; of others none."""
    packaged = PACKAGED.get(base)
    if packaged is None:
        return ()
    return (WeightsFile(f"{packaged.package}/{packaged.file}", packaged.sha256),)


def _base_files(source: Path, info: AssistantInfo) -> tuple[WeightsFile, ...]:
    """The base model's files; where hashing them would hold up the start, what llm.base tells it by."""
    if info.base in PACKAGED:
        return _packaged_files(info.base)
    folder = Path(find_base(source, info))
    if folder.is_dir() and sum(path.stat().st_size for path in folder.rglob("*.safetensors")) < SMALL_BASE:
        return _files(folder)
    return (WeightsFile(NORMS, info.base_digest),)


def _files(folder: Path, skip: tuple[str, ...] = ()) -> tuple[WeightsFile, ...]:
    paths = (path for path in sorted(folder.rglob("*.safetensors")) if path.name not in skip)
    return tuple(
        WeightsFile(f"{folder.name}/{p.relative_to(folder).as_posix()}", digest_of(p)) for p in paths
    )
