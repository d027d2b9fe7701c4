"""Settings of one run of llm.finetune."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from common.schedule import Optimizer, Schedule
from data_sim.simulate import SimulationConfig
from kfd.encoders.backbones import DTYPES
from llm.adapter import EVERY_LINEAR
from llm.prompt import SYSTEM, TOLD
from llm.training.cases import Drawn
from prompt_learner.config import Design

TAUGHT = ("detector", "truth")


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of one fine-tuning run."""

    llm: str  # folder or hub id of the base model, or a name of llm.packaged
    kfd: str  # folder of the detector
    data: str  # a face set made by data_sim.build
    out: str  # folder of the assistant
    run: str = (
        ""  # folder of the resumable state and the judged faces; by default runs/ and the name of `out`
    )
    init_from: str = ""  # folder of an assistant to go on from, with its base model; by default from nothing
    start: str = ""  # PandaGPT's delta file: its projector and LoRA to begin with; see llm.training.pandagpt
    judged: str = ""  # folder of the judged faces, where several runs share them; by default that of `run`
    encoder: str = ""  # weights of the detector's frozen towers, where its folder does not hold them
    template: str = ""  # vicuna, or chat for the tokenizer's own; by default its own where it has one
    system: str = SYSTEM  # system prompt of a chat template
    told: str = "facts"  # facts, finding, score or nothing: what the prompt tells, see llm.prompt.PromptStyle
    untold_share: float = 0.3  # of conversations that are told nothing all the same: E_forgery must do
    blank_share: float = 0.3  # of conversations in words alone, with blank soft prompts
    taught: str = "detector"  # whose verdict answers give: the detector's, or (the paper) the truth
    general: str = (
        ""  # general instruction data in PandaGPT's format, against forgetting; see llm.training.general
    )
    general_images: str = ""  # folder of its pictures
    general_share: float = 0.5  # of the steps that train on it, where given; 0 only measures
    val_general: int = 100  # of its records are held out to measure forgetting
    prompt_learner: bool = True  # no: without E_forgery (ablation); what is told in words stays
    lora: bool = True  # no: the language model stays as it is (ablation)
    faces: int = 1500  # real training faces; each is judged as it is and forged
    val_faces: int = 100  # real validation faces, likewise
    frames: int = 0  # most real faces of one video, people taken in turn; 0: any, evenly spread over the set
    degraded: bool = True  # degrade real and forged faces before they are judged
    simulation: SimulationConfig = field(default_factory=SimulationConfig)  # how they are forged
    steps: int = 1200  # optimizer steps
    epochs: float = 0.0  # times that the judged faces are spoken of; above 0 it beats steps
    batch_size: int = 8  # conversations computed together; several processes divide them among themselves
    accumulate: int = 1  # batches per optimizer step
    max_turns: int = 6  # a conversation has 1 to this many turns
    where_share: float = 0.15  # of conversations that open with the question for the regions
    open_share: float = 0.4  # of those that open with any question; the rest opens with that for the verdict
    dropped_words: float = 0.2  # share of questions that lose a word, as a stand-in for wordings never seen
    local_weight: float = 2.0  # how often a face with single regions is drawn, against once for any other
    max_tokens: int = 1024  # longer conversations are cut at the end
    lr: float = 1e-3  # peak learning rate of the LoRA matrices
    align_steps: int = (
        600  # of the prompt learner alone, before the language model joins; see llm.training.align
    )
    soft_lr: float = 2e-3  # peak learning rate of prompt learner and projector
    optimizer: Optimizer = "adamw"  # adam: weight decay is part of the gradient
    schedule: Schedule = "cosine"  # constant: the peak rates all along
    weight_decay: float = 0.01
    warmup: int = 50  # steps of linear warm-up before the cosine
    clip: float = 1.0  # largest gradient norm; 0: any
    verdict_weight: float = 0.5  # of the Yes/No loss against the language loss
    rank: int = 16  # of LoRA
    alpha: int = 32  # of LoRA
    dropout: float = 0.0  # in front of LoRA; no conversation comes twice, so there is little to forget
    targets: tuple[str, ...] = EVERY_LINEAR  # layers that get LoRA
    dtype: str = ""  # of the frozen weights: fp32, bf16 or fp16; by default bf16 on a GPU and fp32 on a CPU
    num_prompts: int = 9  # tokens of E_forgery
    fpl: Design = "places"  # networks of the prompt learner: ours, or the grid of the paper's code
    quantize: bool = False  # QLoRA: base weights in 4 bits
    checkpointing: bool = False  # recompute activations: less memory, more time
    seed: int = 0
    val_every: int = 200  # steps between validations
    save_every: int = 100  # steps between resumable states
    log_every: int = 20  # steps between log lines
    device: str = "cpu"

    def __post_init__(self) -> None:
        positive = ("faces", "val_faces", "val_general", "steps", "batch_size", "accumulate", "max_turns",
                    "rank", "val_every", "save_every", "log_every")  # fmt: skip
        problems = [
            f"{name}: expected at least 1, got {getattr(self, name)}"
            for name in positive
            if getattr(self, name) < 1
        ]
        if self.told not in TOLD:
            problems.append(f"told: expected one of {TOLD}, got {self.told!r}")
        if self.taught not in TAUGHT:
            problems.append(f"taught: expected one of {TAUGHT}, got {self.taught!r}")
        if self.taught == "truth" and self.told in ("finding", "facts"):
            problems.append(
                f"taught: the truth would contradict the verdict that told={self.told!r} states; tell score "
                "or nothing"
            )
        if self.dtype and self.dtype not in DTYPES:
            problems.append(f"dtype: expected one of {tuple(DTYPES)}, got {self.dtype!r}")
        if min(self.untold_share, self.blank_share) < 0 or self.untold_share + self.blank_share > 1:
            problems.append(
                "untold_share, blank_share: expected shares that add up to at most 1, got "
                f"{self.untold_share} and {self.blank_share}"
            )
        if self.start and self.init_from:
            problems.append(
                "start, init_from: give one of them; an assistant brings projector and LoRA along"
            )
        if self.start and self.lora and self.alpha != self.rank:
            problems.append(
                f"start: PandaGPT's LoRA counts whole (alpha 32, rank 32), got alpha {self.alpha} and rank "
                f"{self.rank}: set both to the file's"
            )
        if min(self.frames, self.epochs, self.clip) < 0:
            problems.append("frames, epochs, clip: expected at least 0")
        if not 0 <= self.general_share < 1:
            problems.append(f"general_share: expected at least 0 and below 1, got {self.general_share}")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def drawn(self) -> Drawn:
        """Which faces are judged, and how they are forged."""
        return Drawn(self.frames, self.degraded, self.simulation)

    def planned(self, faces: int) -> FinetuneConfig:
        """The settings with the steps that `epochs` over so many judged faces take, or as they are."""
        if not self.epochs:
            return self
        about_faces = 1 - self.general_share if self.general else 1
        conversations = self.batch_size * self.accumulate * about_faces
        return replace(self, steps=math.ceil(self.epochs * faces / conversations))
