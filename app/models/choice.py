"""The choice of models that an assistant is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

DEFAULT_CHECKPOINT = Path("checkpoints/embedded")


@dataclass(frozen=True)
class ModelChoice:
    """The models to load, where they run, and in what precision."""

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
    # Folders of other systems (docs/baselines.md) that read every face too, or FOLDER=WEIGHTS where a frozen
    # model underneath lies elsewhere. Repeatable; what they say never turns a finding round.
    opinion: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())

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
