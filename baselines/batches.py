"""The faces that a step of another system sees: as many real ones as fakes, degraded alike."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from baselines.config import BaselineTrainConfig
from data_sim.dataset import FaceSet, TrainingBatch, training_batch
from kfd.training.sampler import balanced, known_masks


class Batches:
    """Pairs of a real face and a fake: the fake's own original where the set has it, else one of its source.

    Masks are the data set's own; without them what differs from the original, or what the manifest names.
    """

    def __init__(self, faces: FaceSet, config: BaselineTrainConfig):
        """Raises ValueError where split train has no faces of one side."""
        self.faces, self.config = faces, config
        self.reals, self.fakes = faces.where(label="real"), []
        if config.recipe == "known":
            fakes = faces.where(label="fake")
            self.fakes = [i for i in fakes if not config.kinds or faces.rows[i]["kind"] in config.kinds]
        if not self.reals or (config.recipe == "known" and not self.fakes):
            kinds = sorted({row["kind"] for row in faces.rows if row["label"] == "fake"})
            raise ValueError(
                f"recipe {config.recipe} needs real faces{' and fakes' * (config.recipe == 'known')} "
                f"in split train, got {len(self.reals)} and {len(self.fakes)}; its kinds of fakes are {kinds}"
            )
        self.weights = balanced([faces.rows[i] for i in self.reals], "source")
        self.fake_weights = balanced([faces.rows[i] for i in self.fakes], "kind")

    @property
    def positions(self) -> list[int]:
        """Every face that a batch may hold."""
        return [*self.reals, *self.fakes]

    @property
    def steps(self) -> int:
        """How many batches the run has."""
        images = len(self.positions) if self.fakes else 2 * len(self.reals)
        return self.config.steps or math.ceil(self.config.epochs * images / (2 * self.config.batch))

    def batch(self, step: int) -> TrainingBatch:
        """The training batch of a step, on the config's device."""
        config, faces = self.config, self.faces
        draw = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        generator = torch.Generator(config.device).manual_seed(config.seed * 1_000_003 + step)
        shift = torch.randint(-faces.border, faces.border + 1, (config.batch, 2), generator=draw)
        if not self.fakes:
            images, landmarks = faces.read(self._draw(self.reals, self.weights, draw), shift)
            on_device = images.to(config.device), landmarks.to(config.device)
            return training_batch(*on_device, generator, strength=config.strength)
        chosen = self._draw(self.fakes, self.fake_weights, draw)
        images, landmarks = faces.read([self._partner(i, draw) for i in chosen], shift)
        fake, fake_landmarks = faces.read(chosen, shift)
        masks, compared = known_masks(faces, chosen, fake_landmarks, shift)
        aligned = torch.tensor([faces.pair_of(i) is not None for i in chosen], device=config.device)
        return training_batch(
            images.to(config.device),
            landmarks.to(config.device),
            generator,
            known_fake=fake.to(config.device),
            known_aligned=aligned,
            known_masks=masks.to(config.device),
            strength=config.strength,
            known_compared=compared.to(config.device),
        )

    def _draw(self, pool: list[int], weights: Tensor, draw: torch.Generator) -> list[int]:
        # A set smaller than a batch shows faces twice.
        rest = torch.multinomial(weights, self.config.batch, self.config.batch > len(pool), generator=draw)
        return [pool[i] for i in rest.tolist()]

    def _partner(self, fake: int, draw: torch.Generator) -> int:
        pair = self.faces.pair_of(fake)
        if pair is not None:
            return pair
        same = self.faces.where(label="real", source=self.faces.rows[fake]["source"]) or self.reals
        return same[int(torch.randint(len(same), (1,), generator=draw))]
