"""Train the Knowledge-guided Forgery Detector.

    python -m kfd.train --data runs/set --out runs/kfd --recipe real --start weights/mobilenet_v1
    python -m kfd.train --data runs/set --out runs/all --recipe all --init-from runs/kfd --steps 900
    python -m kfd.train --data runs/set --out runs/try --steps 6 --batch 2 --val-every 3   # seconds, CPU

`--recipe real` learns from real photographs and forgeries simulated from them (the paper's
protocol); `--recipe all` adds the known fakes of the set's train split. Every forgery stands in
one batch with its real face. Killed at any moment, the same command resumes and ends with the
same weights (same seed, CPU). The checkpoint kept is the one that validation prefers.

The paper's encoder and others (kfd.encoders.backbones) stay frozen; the set must have their size (224):

    python -m kfd.train --data runs/set224 --out runs/huge --encoder imagebind-huge --device cuda \\
        --encoder-weights checkpoints/imagebind_huge.pth --cache runs/cache --cache-steps 500
    accelerate launch --multi_gpu --num_processes 4 -m kfd.train --encoder openclip-vit-h14 --device cuda ...
    torchrun --nproc-per-node 2 -m kfd.train --encoder clip-vit-l14 ...            # CPU

The batch is the global one, whatever the number of processes, which may change when a run is resumed.
"""

from __future__ import annotations

import math
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from common import storage
from common.cli import parse
from common.distributed import Processes, cleanup, init_distributed
from common.locks import one_writer
from common.schedule import make_optimizer, rate
from data_sim.dataset import FaceSet, faces_digest
from kfd.calibrate import CalibrationSettings, calibrate
from kfd.calibration.familiar import save_familiar
from kfd.checkpoint import load_trained, load_trained_state, new_kfd, save_kfd, trained_state
from kfd.config import Decision, KFDConfig
from kfd.detector import Detector
from kfd.encoders.backbones import usual_dtype
from kfd.model import KFD
from kfd.training.config import NOT_SETTINGS, TrainConfig
from kfd.training.feature_cache import FeatureCache, encode, fill
from kfd.training.record import read_worlds, save_worlds
from kfd.training.sampler import PairSampler
from kfd.training.step import global_loss, sum_terms, update_average
from kfd.training.validation import Validation

STATE_FILE = "state.pt"
FLOOR = 0.01  # of the peak learning rate, where the cosine ends


def main() -> None:
    config = parse(TrainConfig, __doc__)
    processes = init_distributed(config.device)
    try:
        with one_writer(config.out, is_folder=True) if processes.main else nullcontext():
            run(replace(config, device=processes.device), processes)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}" if processes.main else 1)
    cleanup(processes)


def run(config: TrainConfig, processes: Processes) -> None:
    """Train, or go on training, and calibrate the checkpoint that validation prefers.

    Raises FileNotFoundError or ValueError that says which input is of no use.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    if processes.count > 1 and config.encoder == "embedded":
        raise ValueError(
            f"expected 1 process for the embedded encoder, got {processes.count}: its BatchNorm would see "
            "parts of a batch; start python -m kfd.train without a launcher, or choose a frozen --encoder"
        )
    processes.part(config.batch)  # raises when a process would have nothing to do
    config = replace(config, dtype=config.dtype or usual_dtype(config.encoder, config.device))
    train, val = FaceSet.open(config.data, "train"), FaceSet.open(config.data, "val")
    sampler = PairSampler(train, config)
    if config.epochs:
        config = replace(config, steps=math.ceil(config.epochs * len(sampler.reals) / config.batch))
    model = build(config, train.size, processes)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters()) - trainable
    processes.print0(
        f"{trainable:,} trainable and {frozen:,} frozen parameters; {len(train)} faces to train on, "
        f"{len(sampler.reals)} of them real photographs to start from"
    )
    validation = Validation(val, config.val_images, known_fakes=config.recipe == "all")
    if processes.main:
        storage.save_config(config, config.out / "train.json")
        before = None if config.init_from is None else read_worlds(config.init_from)
        save_worlds(config.out, sampler.rows, before)
    cache = None
    if config.cache is not None:
        cache = FeatureCache(config.cache, cache_settings(config, model, sampler), processes)
        fill(cache, model, sampler.batch, min(config.cache_steps, config.steps), processes)
    fit(model, sampler, cache, validation, config, processes)
    if processes.main:
        finish(model, config, validation)


def build(config: TrainConfig, size: int, processes: Processes) -> KFD:
    """The detector to be trained, on its device. size: side of the set's crops, in pixels.

    Raises ValueError when the encoder sees another size.
    """
    torch.manual_seed(config.seed)
    embedded = {"image_size": size} if config.encoder == "embedded" else {}
    settings = KFDConfig(
        encoder=config.encoder,
        encoder_settings={**embedded, **(config.encoder_settings or {})} or None,
        num_context=config.num_context,
        text_guidance=config.text_guidance,
    )
    model = new_kfd(
        settings, config.start, config.encoder_weights, config.dtype, config.device, processes.print0
    )
    if model.encoder.image_size != size:
        # Enlarged crops would hide the traces that crops made at the right size show.
        raise ValueError(
            f"{config.encoder} sees crops of {model.encoder.image_size} pixels, those of {config.data} have "
            f"{size}; build a set for it: python -m data_sim.build --size {model.encoder.image_size}"
        )
    if config.init_from is not None:
        load_trained(model, config.init_from, image_tower=config.start is None)
    if config.fixed_norms:
        model.encoder.fixed_norms = True
    return model


def cache_settings(config: TrainConfig, model: KFD, sampler: PairSampler) -> dict[str, str]:
    """All that the features of a step depend on."""
    names = (
        "recipe", "train_images", "batch", "known_share", "generated_share", "resynthesised_share",
        "rerendered_share", "seed", "donors", "strength", "simulation", "dtype", "frames",
    )  # fmt: skip
    of_model = {
        name: getattr(model.config, name) for name in ("encoder", "encoder_settings", "encoder_digest")
    }
    sets = {"faces": sampler.faces, "rerendered": sampler.rerendered}
    digests = {name: faces and faces_digest(faces) for name, faces in sets.items()}
    values = {name: getattr(config, name) for name in names} | of_model | digests
    return {name: str(value) for name, value in values.items()}


def fit(
    model: KFD,
    sampler: PairSampler,
    cache: FeatureCache | None,
    validation: Validation,
    config: TrainConfig,
    processes: Processes,
) -> None:
    """Train to the end, from the saved state where there is one."""
    weights = config.losses if config.reference else replace(config.losses, reference=0.0)
    part = processes.part(config.batch)
    trains = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for n, p in trains if n.startswith("encoder.")], "lr": config.lr},
        {"params": [p for n, p in trains if not n.startswith("encoder.")], "lr": config.head_lr},
    ]
    optimizer = make_optimizer(config.optimizer, groups, config.head_lr, config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: rate(config.schedule, s, config.steps, config.warmup, FLOOR)
    )
    average = {name: tensor.detach().clone() for name, tensor in trained_state(model).items()}
    step, best = 0, -1.0
    settings = {k: str(v) for k, v in vars(config).items() if k not in NOT_SETTINGS}
    settings["encoder_digest"] = model.config.encoder_digest
    settings["data_digest"] = faces_digest(sampler.faces, validation.faces, sampler.rerendered)
    state = storage.resume_state(config.out / STATE_FILE, settings)
    if state is not None:
        with storage.naming(config.out / STATE_FILE):
            load_trained_state(model, state["model"], str(config.out / STATE_FILE))
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
            average = {name: t.to(config.device) for name, t in state["average"].items()}
            step, best = state["step"], state["best"]
        processes.print0(f"resuming after step {step}")
    started, first = time.time(), step
    numbers = [n % config.cache_steps if config.cache_steps else n for n in range(step, config.steps)]
    batches = sampler.ahead(numbers, config.workers) if cache is None else None
    while step < config.steps:
        model.train()
        if batches is not None:
            encoded = encode(model, next(batches), part)
        else:
            encoded = cache.read(numbers[step - first], part, config.device)
        loss, terms = global_loss(model, encoded, weights, config.batch, processes)
        if not all(map(math.isfinite, terms.values())):  # before it is in weights and state
            raise ValueError(
                f"step {step + 1} has no finite loss ({terms}); lower the rates, or --dtype bf16"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        processes.sum_gradients(model.parameters())
        if config.clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        lr = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        update_average(average, trained_state(model), min(config.ema, (step + 1) / (step + 10)))
        step += 1
        if step % 25 == 0 or step == config.steps:
            seconds = (time.time() - started) / (step - first)
            parts = " ".join(f"{name} {value:.3f}" for name, value in sum_terms(terms, processes).items())
            total = processes.sum(loss.detach()).item()
            processes.print0(f"step {step} loss {total:.4f} {parts} lr {lr:.2e} {seconds:.2f} s/step")
        last = step == config.steps
        if processes.main and (step % config.val_every == 0 or last):
            best = validate(model, average, validation, step, best, config.out)
        if processes.main and (step % config.save_every == 0 or last):
            state = {
                "model": trained_state(model),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "average": average,
                "step": step,
                "best": best,
                "settings": settings,
            }
            storage.save_state(state, config.out / STATE_FILE)


def validate(
    model: KFD, average: dict[str, Tensor], validation: Validation, step: int, best: float, out: Path
) -> float:
    """Measure the averaged weights, keep them if they are the best so far; returns the best value."""
    own = {name: tensor.detach().clone() for name, tensor in trained_state(model).items()}
    load_trained_state(model, average, "the averaged weights")
    measured = validation.measure(model.eval())
    print(f"step {step} validation " + " ".join(f"{k} {v:.4f}" for k, v in measured.items()), flush=True)
    if measured["mean_auc"] > best:
        best = measured["mean_auc"]
        save_kfd(model, out, Decision())
    load_trained_state(model, own, "the weights before")
    return best


def finish(model: KFD, config: TrainConfig, validation: Validation) -> None:
    """Fit calibration and thresholds of the kept checkpoint on validation and save them with it."""
    load_trained(model, config.out)
    detector = Detector(model, Decision(), "", config.device)
    settings = CalibrationSettings(known_fakes=config.recipe == "all", flip=config.mirror)
    try:
        decision, familiar = calibrate(detector, validation.faces, settings)
        decision = save_familiar(familiar, decision, config.out)
    except ValueError as error:  # a rehearsal of a few steps; its scores say that they are not fitted
        print(f"kept without calibration: {error}")
        decision = Decision()
    save_kfd(model, config.out, decision)
    print(f"kept checkpoint in {config.out}: {decision}")


if __name__ == "__main__":
    main()
