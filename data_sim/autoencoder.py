"""Train a small autoencoder on the real faces of a set: a generator to re-render faces with.

    python -m data_sim.autoencoder --data runs/set --out runs/autoencoder
    python -m data_sim.autoencoder --data runs/set --out runs/checkerboard --upsampling transposed --seed 1
    python -m data_sim.rerender --data runs/set --out runs/rerendered --autoencoders runs/autoencoder \\
        runs/checkerboard --autoencoder-share 0.5

It learns to draw patches as they are (mean absolute error of pixels, and of their fine detail), and from half
of the steps on to please a discriminator as well, as the autoencoders of latent diffusion do (Esser et al.
2021).
Killed at any moment, the same command resumes and ends with the same weights (same seed, CPU).
Minutes on two cores.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import storage
from common.cli import parse
from common.locks import one_writer
from common.schedule import cosine_rate
from data_sim.dataset import FaceSet
from data_sim.simulation.autoencoder import STRIDE, Autoencoder, AutoencoderConfig, Discriminator

STATE_FILE = "state.pt"
NOT_SETTINGS = ("out", "save_every", "threads")
WARMUP, FLOOR = 50, 0.05  # steps; of the peak learning rate, where the cosine ends
SETTLED = 0.5  # of the steps, before the discriminator judges
CREDIBLE = 0.4  # of the other losses' pull on the last layer, what the discriminator's is


@dataclass(frozen=True)
class TrainConfig:
    data: Path  # a face set made by data_sim.build; real faces of its train split are learnt from
    out: Path  # folder for the weights and the state to resume from
    upsampling: Literal["nearest", "transposed"] = "nearest"  # how the decoder enlarges
    width: int = 16  # channels at full size
    latent: int = 4  # channels of what stands for 4 x 4 pixels
    steps: int = 1000  # batches
    batch: int = 6  # patches
    patch: int = 96  # pixels of a patch's side
    lr: float = 5e-4  # peak learning rate
    save_every: int = 50  # steps between saved states
    threads: int = 0  # CPU threads; 0 leaves PyTorch's choice
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.save_every) < 1:
            raise ValueError("steps, batch and save_every must be at least 1")
        if self.patch < 8 * STRIDE or self.patch % STRIDE:
            raise ValueError(f"patch must be a multiple of {STRIDE} from {8 * STRIDE} on, got {self.patch}")


def main() -> None:
    config = parse(TrainConfig, __doc__)
    try:
        with one_writer(config.out, is_folder=True):
            train(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def train(config: TrainConfig) -> None:
    """Train to the end, from the saved state where there is one, and save the autoencoder.

    Raises FileNotFoundError or ValueError that says which input is of no use.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    faces = FaceSet.open(config.data, "train")
    reals = faces.index[faces.where(label="real")]
    if not len(reals) or faces.crops.shape[1] < config.patch:
        raise ValueError(
            f"{config.data}: expected real faces in split train, stored at {config.patch} pixels and more, "
            f"got {len(reals)} at {faces.crops.shape[1]}; lower --patch, or build another set"
        )
    torch.manual_seed(config.seed)
    shape = AutoencoderConfig(config.upsampling, config.width, config.latent)
    model, judge = Autoencoder(shape), Discriminator()
    painter = torch.optim.Adam(model.parameters(), lr=config.lr, betas=(0.5, 0.99))
    critic = torch.optim.Adam(judge.parameters(), lr=config.lr, betas=(0.5, 0.99))
    settings = {k: str(v) for k, v in vars(config).items() if k not in NOT_SETTINGS}
    settings["faces of"] = storage.digest_of(config.data / "manifest.csv")
    parts = {"model": model, "judge": judge, "painter": painter, "critic": critic}
    step = 0
    if (state := storage.resume_state(config.out / STATE_FILE, settings)) is not None:
        with storage.naming(config.out / STATE_FILE):
            for name, part in parts.items():
                part.load_state_dict(state[name])
            step = state["step"]
        print(f"resuming after step {step}", flush=True)
    started, first = time.time(), step
    while step < config.steps:
        factor = cosine_rate(step, config.steps, WARMUP, FLOOR)
        for group in (*painter.param_groups, *critic.param_groups):
            group["lr"] = config.lr * factor
        images = patches(faces.crops, reals, config, step)
        settled = step >= SETTLED * config.steps
        terms = one_step(model, judge, painter, critic, images, settled)
        step += 1
        last = step == config.steps
        if step % 25 == 0 or last:
            told = " ".join(f"{name} {value:.4f}" for name, value in terms.items())
            print(f"step {step} {told} {(time.time() - started) / (step - first):.2f} s/step", flush=True)
        if step % config.save_every == 0 or last:
            states = {name: part.state_dict() for name, part in parts.items()}
            storage.save_state({**states, "step": step, "settings": settings}, config.out / STATE_FILE)
    storage.save_module(model, shape, config.out)
    print(f"kept the autoencoder in {config.out}")


def patches(crops: np.ndarray, reals: np.ndarray, config: TrainConfig, step: int) -> Tensor:
    """The batch of a step: patches at random places of real faces, (B, 3, P, P) float32 RGB in [0, 1].

    crops: (N, T, T, 3) uint8 of a whole set. reals: the rows of it to choose from. A function of seed and
    step alone, so that a resumed run sees the same ones.
    """
    rng = np.random.default_rng([config.seed, step])
    found, room = [], crops.shape[1] - config.patch + 1
    for row in rng.choice(reals, config.batch):
        y, x = rng.integers(0, room, 2)
        found.append(np.array(crops[row, y : y + config.patch, x : x + config.patch]))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 255


def one_step(
    model: Autoencoder,
    judge: Discriminator,
    painter: torch.optim.Optimizer,
    critic: torch.optim.Optimizer,
    images: Tensor,
    settled: bool,
) -> dict[str, float]:
    """Move the autoencoder and, once settled, the discriminator; returns the losses."""
    drawn = model(images)
    pixels = F.l1_loss(drawn, images)
    fine = F.l1_loss(_fine_detail(drawn), _fine_detail(images))
    loss, terms = pixels + fine, {"pixels": pixels.item(), "fine": fine.item()}
    if settled:
        doubt = -judge(drawn).mean()
        last = model.decoder[-1].weight
        pulls = [torch.autograd.grad(term, last, retain_graph=True)[0].norm() for term in (loss, doubt)]
        loss = loss + CREDIBLE * (pulls[0] / (pulls[1] + 1e-6)).clamp(max=1e3) * doubt
    painter.zero_grad(set_to_none=True)
    loss.backward()
    painter.step()
    if settled:  # hinge loss
        unsure = F.relu(1 - judge(images)).mean() + F.relu(1 + judge(drawn.detach())).mean()
        critic.zero_grad(set_to_none=True)
        unsure.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        critic.step()
        terms["discriminator"] = unsure.item()
    return terms


def _fine_detail(images: Tensor) -> Tensor:
    return images - F.avg_pool2d(images, 3, stride=1, padding=1)


if __name__ == "__main__":
    main()
