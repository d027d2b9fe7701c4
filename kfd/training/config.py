"""Settings of one run of kfd.train."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from common.schedule import Optimizer, Schedule
from data_sim.simulate import SimulationConfig
from kfd.config import EncoderName
from kfd.encoders.backbones import Dtype
from kfd.training.weights import LossWeights

# May change between two resumed runs; the weights of a frozen encoder are known by their digest.
NOT_SETTINGS = ("out", "save_every", "device", "threads", "encoder_weights", "cache", "workers")


@dataclass(frozen=True)
class TrainConfig:
    data: Path  # a face set made by data_sim.build
    out: Path  # folder for the checkpoint, the log and the state to resume from
    recipe: Literal["real", "all"] = "real"  # real photographs only, or known fakes too
    encoder: EncoderName = "embedded"  # the vision-language model underneath; all but embedded stay frozen
    encoder_weights: str | None = None  # its file, folder or hub id; None: where kfd.encoders.backbones says
    encoder_settings: Annotated[dict[str, object] | None, tyro.conf.Suppress] = None  # sizes; in YAML only
    dtype: Dtype | None = None  # what the encoder computes in; None: bf16 if frozen and on a GPU, else fp32
    start: Path | None = None  # folder with ImageNet weights of its image tower; None: random
    init_from: Path | None = None  # folder of a trained detector; with start, all but its image tower
    train_images: int = 0  # real training images, the same people for the same seed; 0: all of the set
    frames: int = 0  # most frames of one video that are learned from; 0: all
    steps: int = 3000  # batches
    epochs: float = 0.0  # times that the real training images are seen; above 0 it beats steps
    batch: int = 20  # pairs of a real face and a forgery of it, in one batch of all processes
    cache_steps: int = 0  # step s sees the batch of step s % cache_steps again; 0: every step a new one
    cache: Path | None = None  # folder where the tapped features of those batches are kept
    known_share: float = 0.5  # recipe all: share of pairs whose fake is a known one
    generated_share: float = 0.15  # of those, share that is generated as a whole, not swapped
    resynthesised_share: float = 0.0  # share of pairs whose fake is the real face re-rendered as a whole
    rerendered: Path | None = None  # a set made by data_sim.rerender: real faces drawn anew by a generator
    rerendered_share: float = 0.1  # with it, share of pairs whose fake is one of those
    lr: float = 5e-4  # peak learning rate of the embedded encoder
    head_lr: float = 1e-3  # peak learning rate of everything else
    weight_decay: float = 0.01
    optimizer: Optimizer = "adamw"  # adam: weight decay is part of the gradient
    schedule: Schedule = "cosine"  # constant: the peak rates all along
    warmup: int = 100  # steps of linear warm-up before the cosine
    ema: float = 0.998  # decay of the averaged weights that are validated and kept; 0: the last ones
    donors: int = (
        0  # faces of the same source among which a swap's donor is the nearest in pose; 0: the batch
    )
    strength: float = 1.0  # how often photographs are degraded, 0..1
    clip: float = 1.0  # largest gradient norm; 0: any
    fixed_norms: bool = False  # the embedded tower's batch norms keep the statistics they start with
    mirror: bool = True  # calibrate, and later read, every face a second time as its mirror image
    seed: int = 0
    val_every: int = 250  # steps between validations
    val_images: int = 240  # real faces per validation
    save_every: int = 50  # steps between saved states
    device: str = "cpu"
    threads: int = 0  # CPU threads; 0 leaves PyTorch's choice
    workers: int = 0  # processes that simulate batches ahead of the training, on a CPU; 0: none
    num_context: int = 8  # learnable tokens in front of each class description
    text_guidance: bool = True  # False: fixed random class vectors (ablation)
    reference: bool = True  # False: without C_ref (ablation)
    losses: LossWeights = field(default_factory=LossWeights)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)

    def __post_init__(self) -> None:
        positive = ("steps", "val_every", "save_every")
        problems = [
            f"{n} must be at least 1, got {getattr(self, n)}" for n in positive if getattr(self, n) < 1
        ]
        if self.batch < 2:
            problems.append(f"batch must be at least 2 pairs, got {self.batch}")
        shares = self.known_share, self.resynthesised_share, self.rerendered_share * bool(self.rerendered)
        if min(shares) < 0 or sum(round(share * self.batch) for share in shares) >= self.batch:
            problems.append(
                "known_share, resynthesised_share and rerendered_share must leave pairs to simulate, "
                f"got {shares[0]}, {shares[1]} and {shares[2]} of {self.batch}"
            )
        if self.rerendered is not None and self.train_images:
            problems.append("give train_images or rerendered: its faces are others than the chosen ones")
        if min(self.train_images, self.cache_steps, self.frames, self.epochs) < 0:
            problems.append("train_images, frames, epochs and cache_steps must not be negative")
        if self.cache is not None and not self.cache_steps:
            problems.append("cache needs cache_steps, the number of batches to keep and to see again")
        if self.workers < 0 or (self.workers and torch.device(self.device).type != "cpu"):
            problems.append(
                f"workers must be 0 on {self.device}, where batches are simulated, or more on cpu, "
                f"got {self.workers}"
            )
        if self.fixed_norms and (self.encoder != "embedded" or not (self.start or self.init_from)):
            problems.append(
                "fixed_norms is for the embedded encoder, which takes them from start or init_from"
            )
        if self.encoder == "embedded" and self.cache is not None:
            problems.append("cache is for frozen encoders: the embedded one changes with every step")
        if problems:
            raise ValueError("; ".join(problems))
