"""Train one of the compared systems (docs/baselines.md).

    python -m baselines.train --config configs/baselines/clip-lora.yaml --data SETS/ffpp --out RUNS/clip-lora
    python -m baselines.train --system vlaforge --encoder embedded --data runs/set --out runs/vlaforge
    python -m baselines.train --system mesonet4 --data runs/set --out runs/try --steps 6 --batch 2

`--recipe known` learns from the set's known fakes and their masks, `--recipe simulated` from real faces and
forgeries simulated of them. Killed at any moment, the same command resumes and ends with the same weights
(same seed, CPU). The checkpoint kept is the one that validation prefers; it is calibrated as the detector is.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from baselines.batches import Batches
from baselines.checkpoint import config_class, load_trained_state, new_system, save_system
from baselines.config import NOT_SETTINGS, BaselineTrainConfig
from baselines.convnets import ConvConfig, Sbi
from baselines.sam import sam_gradients
from baselines.system import System, count_trained
from common import storage
from common.cli import parse
from common.locks import one_writer
from common.schedule import cosine_rate
from data_sim.dataset import FaceSet, TrainingBatch, faces_digest
from kfd.calibrate import CalibrationSettings, calibrate
from kfd.calibration.familiar import save_familiar
from kfd.config import Decision
from kfd.detector import Detector
from kfd.training.record import save_worlds
from kfd.training.validation import Validation

STATE_FILE = "state.pt"
FLOOR = 0.01  # of the peak learning rate, where the cosine ends
LATE = 0.75  # of the steps, until which the late schedule is constant


def main() -> None:
    config = parse(BaselineTrainConfig, __doc__)
    try:
        with one_writer(config.out, is_folder=True):
            run(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def run(config: BaselineTrainConfig) -> None:
    """Train, or go on training, and calibrate the checkpoint that validation prefers.

    Raises FileNotFoundError or ValueError that says which input is of no use.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    train, val = FaceSet.open(config.data, "train"), FaceSet.open(config.data, "val")
    batches = Batches(train, config)
    known = config.recipe == "known"
    validation = Validation(val, config.val_images, known, simulated=not known, kinds=config.kinds)
    model = build(config, train.size)
    trained = count_trained(model)
    frozen = sum(p.numel() for p in model.parameters()) - trained
    print(
        f"{config.system}: {trained:,} trainable and {frozen:,} frozen parameters; {len(batches.reals)} real "
        f"faces and {len(batches.fakes)} fakes to train on, {batches.steps} steps",
        flush=True,
    )
    storage.save_config(config, config.out / "train.json")
    save_worlds(config.out, [train.rows[i] for i in batches.positions], None)
    fit(model, batches, validation, config)
    finish(model, config, validation)


def build(config: BaselineTrainConfig, size: int) -> System:
    """The system to be trained, on its device. size: side of the set's crops, in pixels.

    Raises ValueError when the system sees another size, or does not know a setting.
    """
    torch.manual_seed(config.seed)
    kind = config_class(config.system)
    settings = {"system": config.system, **(config.settings or {})}
    if config.encoder:
        settings["encoder"] = config.encoder
    if kind is ConvConfig:
        settings.setdefault("image_size", size)
    unknown = sorted(settings.keys() - {field.name for field in fields(kind)})
    if unknown:
        raise ValueError(f"settings: {config.system} does not know {', '.join(unknown)}")
    model = new_system(kind(**settings), config.encoder_weights, config.dtype, config.device)
    if config.start is not None and isinstance(model, Sbi):
        model.start_from(config.start)
    if model.image_size != size:
        raise ValueError(
            f"{config.system} sees crops of {model.image_size} pixels, those of {config.data} have {size}; "
            f"build a set for it: python -m data_sim.build --size {model.image_size}"
        )
    return model


def rate_at(config: BaselineTrainConfig, step: int, steps: int) -> float:
    """The factor on the peak learning rate at a step, from 0."""
    if config.schedule == "cosine":
        return cosine_rate(step, steps, config.warmup, FLOOR)
    if config.schedule == "late":
        return min(1.0, (steps - step) / (steps * (1 - LATE)))
    return 1.0


def fit(model: System, batches: Batches, validation: Validation, config: BaselineTrainConfig) -> None:
    """Train to the end, from the saved state where there is one."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = _optimizer(parameters, config)
    step, steps, best = 0, batches.steps, -1.0
    settings = {k: str(v) for k, v in vars(config).items() if k not in NOT_SETTINGS}
    settings["encoder_digest"] = model.config.encoder_digest
    settings["data_digest"] = faces_digest(batches.faces, validation.faces)
    state = storage.resume_state(config.out / STATE_FILE, settings)
    if state is not None:
        load_trained_state(model, state["model"], str(config.out / STATE_FILE))
        optimizer.load_state_dict(state["optimizer"])
        step, best = state["step"], state["best"]
        print(f"resuming after step {step}", flush=True)
    started, first = time.time(), step
    while step < steps:
        rate = config.lr * rate_at(config, step, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        model.train()
        batch, seed = batches.batch(step), config.seed * 1_000_003 + step
        terms = backward(model, batch, config.micro, seed)
        if not all(map(math.isfinite, terms.values())):  # before it is in weights and state
            raise ValueError(f"step {step + 1} has no finite loss ({terms}); lower --lr")
        if config.optimizer == "sam":
            again = partial(backward, model, batch, 0, seed)
            sam_gradients(parameters, again, config.rho)
        if config.clip:
            nn.utils.clip_grad_norm_(parameters, config.clip)
        optimizer.step()
        step += 1
        last = step == steps
        if step % 25 == 0 or last:
            seconds = (time.time() - started) / (step - first)
            parts = " ".join(f"{name} {value:.4f}" for name, value in terms.items())
            print(f"step {step} {parts} lr {rate:.2e} {seconds:.2f} s/step", flush=True)
        if step % config.val_every == 0 or last:
            best = validate(model, validation, step, best, config.out)
        if step % config.save_every == 0 or last:
            state = {
                "model": model.trained_state(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "best": best,
                "settings": settings,
            }
            storage.save_state(state, config.out / STATE_FILE)


def backward(model: System, batch: TrainingBatch, micro: int, seed: int) -> dict[str, float]:
    """Put the gradients of a batch's mean loss into `.grad`, and return the loss and its terms.

    micro: images that go through the system at once, 0 for all. seed: of dropout.
    """
    torch.manual_seed(seed)
    model.zero_grad(set_to_none=True)
    images = torch.cat([batch.real, batch.fake])
    masks = torch.cat([torch.zeros_like(batch.masks), batch.masks])
    count = len(images)
    labels = torch.arange(2, device=images.device).repeat_interleave(len(batch.fake))
    # Real faces and fakes by turns, so that every part of a batch has both.
    order = torch.arange(count, device=images.device).view(2, -1).T.flatten()
    terms: dict[str, float] = {}
    for part in order.split(micro or count):
        loss, found = model.loss(model(images[part]), labels[part], masks[part])
        share = len(part) / count
        (share * loss).backward()
        for name, value in {"loss": float(loss.detach()), **found}.items():
            terms[name] = terms.get(name, 0.0) + share * value
    return terms


def validate(model: System, validation: Validation, step: int, best: float, out: Path) -> float:
    """Measure the weights, and keep them if they are the best so far; returns the best value."""
    measured = validation.measure(model.eval())
    print(f"step {step} validation " + " ".join(f"{k} {v:.4f}" for k, v in measured.items()), flush=True)
    if measured["mean_auc"] > best:
        best = measured["mean_auc"]
        save_system(model, out, Decision())
    return best


def finish(model: System, config: BaselineTrainConfig, validation: Validation) -> None:
    """Fit calibration and thresholds of the kept checkpoint on validation and save them with it."""
    load_trained_state(model, storage.read_weights(config.out), str(config.out / storage.WEIGHTS_FILE))
    detector = Detector(model, Decision(), "", config.device)
    known = config.recipe == "known"
    settings = CalibrationSettings(known_fakes=known, flip=config.mirror, kinds=config.kinds)
    try:
        decision, familiar = calibrate(detector, validation.faces, settings)
        decision = save_familiar(familiar, decision, config.out)
    except ValueError as error:  # a rehearsal of a few steps; its scores say that they are not fitted
        print(f"kept without calibration: {error}")
        decision = replace(Decision(), flip=config.mirror)
    save_system(model, config.out, decision)
    print(f"kept checkpoint in {config.out}: {decision}")


def _optimizer(parameters: list[Tensor], config: BaselineTrainConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sam":
        return torch.optim.SGD(parameters, config.lr, momentum=0.9, weight_decay=config.weight_decay)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, config.lr, weight_decay=config.weight_decay)


if __name__ == "__main__":
    main()
