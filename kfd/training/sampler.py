"""The faces that a training step sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from data_sim.dataset import FaceSet, TrainingBatch, training_batch, unit_of
from data_sim.recipe import pose
from kfd.training.config import TrainConfig

AHEAD = 3  # batches each process may be ahead


def choose_reals(faces: FaceSet, count: int, seed: int) -> list[int]:
    """Positions of `count` real faces, person after person in an order that the seed fixes; all when 0.

    Raises ValueError when there are fewer.
    """
    reals = faces.where(label="real")
    if not count:
        return reals
    if count > len(reals):
        raise ValueError(
            f"expected train_images up to {len(reals)}, the real faces of split train, got {count}"
        )
    by_person: dict[str, list[int]] = {}
    for position in reals:
        by_person.setdefault(unit_of(faces.rows[position]), []).append(position)
    people = [by_person[name] for name in sorted(by_person)]
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted([position for person in order for position in people[person]][:count])


class _Batches(Dataset):
    """The sampler's batches by their place in a list of steps, for a DataLoader."""

    def __init__(self, sampler: PairSampler, steps: list[int]):
        self.sampler, self.steps = sampler, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, place: int) -> TrainingBatch:
        return self.sampler.batch(self.steps[place])


def _one_thread(worker: int) -> None:
    """OpenCV's threads do not outlive a fork, and the processes are as many as the cores."""
    cv2.setNumThreads(0)


class PairSampler:
    """Draws the batch of each step; the same step always gives the same batch."""

    def __init__(self, faces: FaceSet, config: TrainConfig):
        self.faces, self.config = faces, config
        self.reals = choose_reals(faces, config.train_images, config.seed)
        counts = Counter(faces.rows[i]["source"] for i in self.reals)
        # The square root keeps a large source from drowning the small ones.
        self.weights = torch.tensor([counts[faces.rows[i]["source"]] ** -0.5 for i in self.reals])
        fakes = faces.where(label="fake") if config.recipe == "all" else []
        if config.train_images:  # what is learned from N photographs is learned from no other
            chosen = set(self.reals)
            fakes = [i for i in fakes if faces.pair_of(i) in chosen]
        self.aligned = [i for i in fakes if faces.pair_of(i) is not None]
        self.generated = [i for i in fakes if faces.pair_of(i) is None]
        if config.donors:
            self.poses = pose(torch.from_numpy(faces.landmarks[faces.index]))
            self.by_source = {
                source: torch.tensor([i for i in self.reals if faces.rows[i]["source"] == source])
                for source in counts
            }
        if not self.reals or (config.recipe == "all" and not fakes):
            raise ValueError(
                f"recipe {config.recipe!r} needs real faces{' and fakes' * (config.recipe == 'all')} "
                f"in split train; the set has {len(self.reals)} real faces and {len(fakes)} fakes"
            )

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
        donors = None
        if config.donors:
            found = self.faces.read([self._donor(i, draw) for i in reals[len(known) :]])
            donors = found[0].to(config.device), found[1].to(config.device)
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
            donors,
        )

    def ahead(self, steps: list[int], workers: int) -> Iterator[TrainingBatch]:
        """The batches of the given steps, made by `workers` other processes while the last one trains."""
        if not workers:
            return (self.batch(step) for step in steps)
        loader = DataLoader(
            _Batches(self, steps),
            batch_size=None,
            num_workers=workers,
            prefetch_factor=AHEAD,
            worker_init_fn=_one_thread,
        )
        return iter(loader)

    def _donor(self, real: int, draw: torch.Generator) -> int:
        """Another person's face for a swap: of some of the same source, the one nearest in pose."""
        rows = self.faces.rows
        pool = self.by_source[rows[real]["source"]]
        some = pool[torch.randint(len(pool), (self.config.donors,), generator=draw)]
        distance = (self.poses[some] - self.poses[real]).norm(dim=1)
        same = [unit_of(rows[i]) == unit_of(rows[real]) for i in some.tolist()]
        distance[torch.tensor(same)] = torch.inf
        return int(some[distance.argmin()])

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
