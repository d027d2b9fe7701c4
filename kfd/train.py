"""Train the Knowledge-guided Forgery Detector.

    python -m kfd.train --data runs/set --out runs/kfd --recipe real --start weights/mobilenet_v1
    python -m kfd.train --data runs/set --out runs/all --recipe all --go-on-from runs/kfd --steps 900
    python -m kfd.train --data runs/set --out runs/try --steps 6 --batch 2 --val-every 3   # seconds, CPU

`--recipe real` learns from real photographs and forgeries simulated from them (the paper's
protocol); `--recipe all` adds the known fakes of the set's train split. Every forgery stands in
one batch with its real face. Killed at any moment, the same command resumes and ends with the
same weights (same seed, CPU). The checkpoint kept is the one that validation prefers.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from data_sim.cli import parse
from data_sim.dataset import FaceSet, TrainingBatch, training_batch
from data_sim.simulate import SimulationConfig
from kfd import storage
from kfd.calibration import fit_decision
from kfd.checkpoint import load_kfd, new_kfd, save_kfd
from kfd.config import Decision, KFDConfig
from kfd.losses import LossWeights, kfd_loss
from kfd.model import KFD
from kfd.validation import Validation

STATE_FILE = "state.pt"
NOT_SETTINGS = ("out", "save_every", "device", "threads")  # may change between two resumed runs


@dataclass(frozen=True)
class TrainConfig:
    data: Path  # a face set made by data_sim.build
    out: Path  # folder for the checkpoint, the log and the state to resume from
    recipe: Literal["real", "all"] = "real"  # real photographs only, or known fakes too
    start: Path | None = None  # folder with the ImageNet weights of MobileNetV1; None: random
    go_on_from: Path | None = None  # folder of a trained detector to start from instead
    steps: int = 3000  # batches
    batch: int = 20  # pairs of a real face and a forgery of it, in one batch
    known_share: float = 0.5  # recipe all: share of pairs whose fake is a known one
    generated_share: float = 0.15  # of those, share that is generated as a whole, not swapped
    lr: float = 5e-4  # peak learning rate of the encoder
    head_lr: float = 1e-3  # peak learning rate of everything else
    weight_decay: float = 0.01
    warmup: int = 100  # steps of linear warm-up before the cosine
    ema: float = 0.998  # decay of the averaged weights that are validated and kept
    strength: float = 1.0  # how often photographs are degraded, 0..1
    clip: float = 1.0  # largest gradient norm
    seed: int = 0
    val_every: int = 250  # steps between validations
    val_images: int = 240  # real faces per validation
    save_every: int = 50  # steps between saved states
    device: str = "cpu"
    threads: int = 0  # CPU threads; 0 leaves PyTorch's choice
    num_context: int = 8  # learnable tokens in front of each class description
    text_guidance: bool = True  # False: fixed random class vectors (ablation)
    reference: bool = True  # False: without C_ref (ablation)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)

    def __post_init__(self) -> None:
        positive = ("steps", "val_every", "save_every")
        problems = [
            f"{n} must be at least 1, got {getattr(self, n)}" for n in positive if getattr(self, n) < 1
        ]
        if self.batch < 2:
            problems.append(f"batch must be at least 2 pairs, got {self.batch}")
        if not 0 <= self.known_share < 1 or round(self.known_share * self.batch) >= self.batch:
            problems.append(
                f"known_share must leave pairs to simulate, got {self.known_share} of {self.batch}"
            )
        if self.start is not None and self.go_on_from is not None:
            problems.append("give start or go_on_from, not both")
        if problems:
            raise ValueError("; ".join(problems))


def main() -> None:
    config = parse(TrainConfig, __doc__)
    try:
        run(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def run(config: TrainConfig) -> None:
    """Train, or go on training, and calibrate the checkpoint that validation prefers.

    Raises FileNotFoundError or ValueError that says which input is of no use.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    train, val = FaceSet.open(config.data, "train"), FaceSet.open(config.data, "val")
    model_config = KFDConfig(
        encoder_settings={"image_size": train.size},
        num_context=config.num_context,
        text_guidance=config.text_guidance,
    )
    model = new_kfd(model_config, config.start)
    if config.go_on_from is not None:
        storage.load_weights(model, config.go_on_from)
    model = model.to(config.device)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters()) - trainable
    print(
        f"{trainable:,} trainable and {frozen:,} frozen parameters; {len(train)} faces to train on",
        flush=True,
    )
    storage.save_config(config, config.out / "train.json")
    validation = Validation(val, config.val_images, known_fakes=config.recipe == "all")
    fit(model, train, validation, config)
    finish(config, validation)


def fit(model: KFD, train: FaceSet, validation: Validation, config: TrainConfig) -> None:
    """Train to the end, from the saved state where there is one."""
    sampler = PairSampler(train, config)
    weights = LossWeights(reference=LossWeights.reference if config.reference else 0.0)
    groups = [
        {"params": list(model.encoder.parameters()), "lr": config.lr},
        {
            "params": [p for n, p in model.named_parameters() if not n.startswith("encoder.")],
            "lr": config.head_lr,
        },
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: learning_rate(s, config))
    average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    step, best = 0, -1.0
    settings = {k: str(v) for k, v in vars(config).items() if k not in NOT_SETTINGS}
    state = storage.resume_state(config.out / STATE_FILE, settings)
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        average, step, best = state["average"], state["step"], state["best"]
        print(f"resuming after step {step}", flush=True)
    started, first = time.time(), step
    while step < config.steps:
        batch = sampler.batch(step)
        loss, terms = _loss(model.train(), batch, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        update_average(average, model, min(config.ema, (step + 1) / (step + 10)))
        step += 1
        if step % 25 == 0 or step == config.steps:
            seconds = (time.time() - started) / (step - first)
            parts = " ".join(f"{name} {value:.3f}" for name, value in terms.items())
            print(
                f"step {step} loss {loss.item():.4f} {parts} lr {rate:.2e} {seconds:.2f} s/step", flush=True
            )
        if step % config.val_every == 0 or step == config.steps:
            best = validate(model, average, validation, step, best, config.out)
        if step % config.save_every == 0 or step == config.steps:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "average": average,
                "step": step,
                "best": best,
                "settings": settings,
            }
            storage.save_state(state, config.out / STATE_FILE)


def _loss(model: KFD, batch: TrainingBatch, weights: LossWeights) -> tuple[Tensor, dict[str, float]]:
    images = torch.cat([batch.real, batch.fake])
    masks = torch.cat([torch.zeros_like(batch.masks), batch.masks])
    labels = torch.arange(2, device=images.device).repeat_interleave(len(batch.real))
    return kfd_loss(model, model(images), masks, labels, batch.aligned, weights)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Factor on the peak rate at a step counted from 0: linear warm-up, then cosine to a hundredth."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Move the averaged weights a step towards the model's; counters and constants are copied."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and bool(tensor.isfinite().all()):  # a causal mask is -inf
            average[name].lerp_(tensor, 1 - decay)
        else:
            average[name].copy_(tensor)


def validate(
    model: KFD, average: dict[str, Tensor], validation: Validation, step: int, best: float, out: Path
) -> float:
    """Measure the averaged weights, keep them if they are the best so far; returns the best value."""
    own = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(average)
    measured = validation.measure(model.eval())
    print(f"step {step} validation " + " ".join(f"{k} {v:.4f}" for k, v in measured.items()), flush=True)
    if measured["mean_auc"] > best:
        best = measured["mean_auc"]
        save_kfd(model, out, Decision())
    model.load_state_dict(own)
    return best


def finish(config: TrainConfig, validation: Validation) -> None:
    """Fit calibration and thresholds of the kept checkpoint on validation and save them with it."""
    model, _ = load_kfd(config.out)
    labels, logits = validation.logits(model.to(config.device))
    name = f"validation part of {config.data.name}, recipe {config.recipe}"
    try:
        decision = fit_decision(logits, labels, fitted_on=name)
    except ValueError as error:  # a rehearsal of a few steps; its scores say that they are not fitted
        print(f"kept without calibration: {error}")
        decision = Decision()
    save_kfd(model.cpu(), config.out, decision)
    print(f"kept checkpoint in {config.out}: {decision}")


class PairSampler:
    """Draws the batch of each step; the same step always gives the same batch."""

    def __init__(self, faces: FaceSet, config: TrainConfig):
        self.faces, self.config = faces, config
        self.reals = faces.where(label="real")
        counts = {source: len(faces.where(label="real", source=source)) for source in self._sources()}
        # The square root keeps a large source from drowning the small ones.
        self.weights = torch.tensor([counts[faces.rows[i]["source"]] ** -0.5 for i in self.reals])
        fakes = faces.where(label="fake") if config.recipe == "all" else []
        self.aligned = [i for i in fakes if faces.pair_of(i) is not None]
        self.generated = [i for i in fakes if faces.pair_of(i) is None]
        if not self.reals or (config.recipe == "all" and not fakes):
            raise ValueError(
                f"recipe {config.recipe!r} needs real faces{' and fakes' * (config.recipe == 'all')} "
                f"in split train; the set has {len(self.reals)} real faces and {len(fakes)} fakes"
            )

    def _sources(self) -> set[str]:
        return {row["source"] for row in self.faces.rows}

    def batch(self, step: int) -> TrainingBatch:
        """The training batch of a step, on the config's device."""
        config = self.config
        draw = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        known = self._known(draw)
        reals = [self._partner(i, draw) for i in known]
        count = config.batch - len(known)
        # A set smaller than a batch shows faces twice, each under another forgery.
        rest = torch.multinomial(self.weights, count, count > len(self.reals), generator=draw)
        reals += [self.reals[i] for i in rest.tolist()]
        border = self.faces.border
        shift = torch.randint(-border, border + 1, (config.batch, 2), generator=draw)
        images, landmarks = self.faces.read(reals, shift)
        fake = aligned = None
        if known:
            fake = self.faces.read(known, shift[: len(known)])[0].to(config.device)
            aligned = torch.tensor([self.faces.pair_of(i) is not None for i in known], device=config.device)
        generator = torch.Generator(config.device).manual_seed(config.seed * 1_000_003 + step)
        return training_batch(
            images.to(config.device),
            landmarks.to(config.device),
            generator,
            config.simulation,
            fake,
            aligned,
            config.strength,
        )

    def _known(self, draw: torch.Generator) -> list[int]:
        """Positions of this batch's known fakes."""
        if self.config.recipe != "all":
            return []
        count = round(self.config.known_share * self.config.batch)
        generated = torch.rand(count, generator=draw) < self.config.generated_share
        pools = [
            self.generated if g and self.generated else self.aligned or self.generated for g in generated
        ]
        return [pool[int(torch.randint(len(pool), (1,), generator=draw))] for pool in pools]

    def _partner(self, fake: int, draw: torch.Generator) -> int:
        """The real face beside a known fake: its own, or one of the same source."""
        pair = self.faces.pair_of(fake)
        if pair is not None:
            return pair
        same = self.faces.where(label="real", source=self.faces.rows[fake]["source"]) or self.reals
        return same[int(torch.randint(len(same), (1,), generator=draw))]


if __name__ == "__main__":
    main()
