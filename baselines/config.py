"""Settings of one run of baselines.train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from baselines.checkpoint import SystemName
from kfd.encoders.backbones import Dtype

# May change between two resumed runs; the weights of a frozen model are known by their digest.
NOT_SETTINGS = ("out", "save_every", "device", "threads", "encoder_weights", "micro")


@dataclass(frozen=True)
class BaselineTrainConfig:
    system: SystemName  # which system to train
    data: Path  # a face set made by data_sim.build
    out: Path  # folder for the checkpoint and the state to resume from
    settings: Annotated[dict[str, object] | None, tyro.conf.Suppress] = None  # of the system; in YAML only
    encoder: str = ""  # the frozen model underneath, such as "embedded"; "": the system's own choice
    encoder_weights: str | None = None  # its file, folder or hub id
    dtype: Dtype | None = None  # what it computes in; None: bf16 on a GPU, fp32 on a CPU
    start: str | None = None  # sbi: ImageNet weights, folder or hub id (google/efficientnet-b4); None: random
    recipe: Literal["known", "simulated"] = "known"  # learn from known fakes, or simulated ones
    kinds: tuple[str, ...] = ()  # kinds of known fakes to learn from; empty: all of split train
    batch: int = 16  # pairs of a real face and a fake in one batch
    micro: int = 0  # images that go through the system at once, for its memory; 0: the whole batch
    steps: int = 0  # batches; 0: as many as `epochs` need
    epochs: float = 1.0  # times that the training images are seen
    optimizer: Literal["adam", "adamw", "sam"] = "adam"  # sam: over SGD with momentum 0.9
    lr: float = 1e-3  # peak learning rate
    weight_decay: float = 0.0
    rho: float = 0.05  # sam: how far it looks uphill
    schedule: Literal["constant", "cosine", "late"] = "constant"  # late: constant, to 0 in the last quarter
    warmup: int = 0  # cosine: steps of linear warm-up
    clip: float = 0.0  # largest gradient norm; 0: any
    strength: float = 1.0  # how often photographs are degraded, 0..1
    mirror: bool = True  # calibrate, and later read, every face a second time as its mirror image
    seed: int = 0
    val_every: int = 250  # steps between validations
    val_images: int = 240  # real faces, and fakes of each kind, per validation
    save_every: int = 50  # steps between saved states
    device: str = "cpu"
    threads: int = 0  # CPU threads; 0 leaves PyTorch's choice

    def __post_init__(self) -> None:
        problems = [
            f"{n} must be at least 1, got {getattr(self, n)}"
            for n in ("batch", "val_every", "save_every")
            if getattr(self, n) < 1
        ]
        if min(self.steps, self.micro, self.warmup) < 0:
            problems.append("steps, micro and warmup must not be negative")
        if not self.steps and self.epochs <= 0:
            problems.append(f"give steps, or epochs above 0, got {self.epochs}")
        if self.start is not None and self.system != "sbi":
            problems.append(f"start is for sbi; {self.system} takes --encoder-weights or nothing")
        if self.kinds and self.recipe == "simulated":
            problems.append("kinds are of known fakes: leave them out, or --recipe known")
        if self.optimizer == "sam" and self.micro:
            problems.append("sam looks uphill of the whole batch: leave micro out")
        if problems:
            raise ValueError("; ".join(problems))
