"""The faces that a training step sees."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import zip_longest

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data_sim.dataset import FaceSet, TrainingBatch, evenly, training_batch, unit_of, video_of
from data_sim.simulation.recipe import pose
from kfd.quality.estimate import sharpness
from kfd.training.config import TrainConfig
from media.regions import REGIONS, region_mask

AHEAD = 3  # batches each process may be ahead
# A kind of forgery that few people are shown in is drawn oftener than the fourth root would have it: what it
# teaches is the method, not the people.
KINDS_POWER = 0.125
PARTNERS = 40  # real faces of which the one most alike in sharpness stands beside a fake of no real source


def choose_reals(faces: FaceSet, count: int, seed: int, frames: int = 0) -> list[int]:
    """Positions of `count` real faces: one of every person in an order that the seed fixes, then a second one
    of every person, and so on; all when 0.

    frames: most faces of one video, evenly spread over it; all when 0.
    Raises ValueError when there are fewer.
    """
    reals = faces.where(label="real")
    if frames:
        by_video: dict[tuple[str, ...], list[int]] = {}
        for position in reals:
            by_video.setdefault(video_of(faces.rows[position]), []).append(position)
        reals = sorted(position for video in by_video.values() for position in evenly(video, frames))
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
    turns = zip_longest(*(people[person] for person in order))
    return sorted([position for turn in turns for position in turn if position is not None][:count])


def balanced(rows: list[dict[str, str]], world: str, power: float = 0.25) -> Tensor:
    """Weights by which faces are drawn, so that no large world or much photographed person drowns others.

    rows: of the manifest. world: the column to balance, "source" or "kind". A world weighs its images times
    its groups, to the given power: a hundred times as many images of the same people weigh as much as ten
    times as many, each of another person. Within a world an image weighs the less the more its group has.
    Returns (N,) float32.
    """
    sizes = Counter((row[world], row["source"], row["group"]) for row in rows)
    images = Counter(row[world] for row in rows)
    groups = Counter(key[0] for key in sizes)
    own = np.array([sizes[row[world], row["source"], row["group"]] ** -0.5 for row in rows])
    sums: dict[str, float] = defaultdict(float)
    for row, weight in zip(rows, own, strict=True):
        sums[row[world]] += weight
    mass = {name: (images[name] * groups[name]) ** power / total for name, total in sums.items()}
    factors = np.array([mass[row[world]] for row in rows])
    return torch.from_numpy(own * factors).float()


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
        self.reals = choose_reals(faces, config.train_images, config.seed, config.frames)
        counts = Counter(faces.rows[i]["source"] for i in self.reals)
        self.weights = balanced([faces.rows[i] for i in self.reals], "source")
        fakes = faces.where(label="fake") if config.recipe == "all" else []
        if config.train_images:  # what is learned from N photographs is learned from no other
            chosen = set(self.reals)
            fakes = [i for i in fakes if faces.pair_of(i) in chosen]
        self.aligned = [i for i in fakes if faces.pair_of(i) is not None]
        self.generated = [i for i in fakes if faces.pair_of(i) is None]
        self.rerendered, self.rerendered_fakes = None, []
        if config.rerendered is not None:
            self.rerendered = _rerendered(config, faces)
            self.rerendered_fakes = self.rerendered.where(label="fake")
            rows = [self.rerendered.rows[i] for i in self.rerendered_fakes]
            self.rerendered_weights = balanced(rows, "source")
        self.kind_weights = [
            balanced([faces.rows[i] for i in pool], "kind", KINDS_POWER)
            for pool in (self.aligned, self.generated)
        ]
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

    @property
    def rows(self) -> list[dict[str, str]]:
        """Manifest rows of every face that a batch may hold, but of the real ones that were re-rendered."""
        own = [self.faces.rows[i] for i in (*self.reals, *self.aligned, *self.generated)]
        return own + [self.rerendered.rows[i] for i in self.rerendered_fakes]

    def batch(self, step: int) -> TrainingBatch:
        """The training batch of a step, on the config's device."""
        config = self.config
        draw = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        known = self._known(draw)
        reals = [self._partner(i, draw) for i in known]
        made = self._made(draw)
        count = config.batch - len(known) - len(made)
        # A set smaller than a batch shows faces twice, each under another forgery.
        rest = torch.multinomial(self.weights, count, count > len(self.reals), generator=draw)
        reals += [self.reals[i] for i in rest.tolist()]
        border = self.faces.border
        shift = torch.randint(-border, border + 1, (config.batch, 2), generator=draw)
        images, landmarks = self.faces.read(reals, shift[: len(reals)])
        donors = rerendered = None
        if made:
            places = shift[len(reals) :]
            rerendered = self.rerendered.read(made, places)[0].to(config.device)
            beside = self.rerendered.read([self.rerendered.pair_of(i) for i in made], places)
            images, landmarks = torch.cat([images, beside[0]]), torch.cat([landmarks, beside[1]])
        resynthesised = round(config.resynthesised_share * config.batch)
        if config.donors:
            simulated = reals[len(known) : len(reals) - resynthesised]
            found = self.faces.read([self._donor(i, draw) for i in simulated])
            donors = found[0].to(config.device), found[1].to(config.device)
        fake = aligned = masks = compared = None
        if known:
            fake, fake_landmarks = self.faces.read(known, shift[: len(known)])
            masks, compared = known_masks(self.faces, known, fake_landmarks, shift)
            fake, masks, compared = (
                fake.to(config.device),
                masks.to(config.device),
                compared.to(config.device),
            )
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
            masks,
            resynthesised,
            rerendered,
            compared,
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
        pools = (self.aligned, self.generated)
        chosen = []
        for whole in generated.tolist():
            which = int(whole) if pools[int(whole)] else int(not whole)  # a set may lack one of them
            place = int(torch.multinomial(self.kind_weights[which], 1, generator=draw))
            chosen.append(pools[which][place])
        return chosen

    def _made(self, draw: torch.Generator) -> list[int]:
        """Positions, in their own set, of this batch's faces that a generator drew anew."""
        if self.rerendered is None:
            return []
        count = round(self.config.rerendered_share * self.config.batch)
        more = count > len(self.rerendered_fakes)
        places = torch.multinomial(self.rerendered_weights, count, more, generator=draw) if count else []
        return [self.rerendered_fakes[int(place)] for place in places]

    def _partner(self, fake: int, draw: torch.Generator) -> int:
        """The real face beside a known fake: its own, one of the same source, or one as sharp.

        Where a source has only fakes, their sharpness would tell them from any other source's real faces.
        """
        pair = self.faces.pair_of(fake)
        if pair is not None:
            return pair
        same = self.faces.where(label="real", source=self.faces.rows[fake]["source"])
        if same:
            return same[int(torch.randint(len(same), (1,), generator=draw))]
        drawn = torch.multinomial(self.weights, min(PARTNERS, len(self.reals)), generator=draw)
        some = [self.reals[i] for i in drawn.tolist()]
        wanted = np.log1p(self._sharpness(fake))
        return min(some, key=lambda real: abs(np.log1p(self._sharpness(real)) - wanted))

    def _sharpness(self, position: int) -> float:
        return sharpness(np.array(self.faces.crops[self.faces.index[position]]))


def _rerendered(config: TrainConfig, faces: FaceSet) -> FaceSet:
    """The re-rendered faces. Raises ValueError where they are of another size, or no pairs."""
    found = FaceSet.open(config.rerendered, "train")
    if (found.size, found.border) != (faces.size, faces.border):
        raise ValueError(
            f"{config.rerendered} has crops of {found.size} pixels and a border of {found.border}, "
            f"{config.data} {faces.size} and {faces.border}; make it of that set: python -m data_sim.rerender"
        )
    fakes = found.where(label="fake")
    if not fakes or any(found.pair_of(i) is None for i in fakes):
        raise ValueError(f"{config.rerendered} is no set of re-rendered faces; make it by data_sim.rerender")
    return found


def known_masks(
    faces: FaceSet, positions: list[int], landmarks: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """What is forged of known fakes: the data set's own mask, else what the manifest names, else everything.

    landmarks: (K, 68, 2), of those faces as they were read with `shift`, (K, 2) or longer.
    Returns (K, 1, S, S) float32 in [0, 1], and (K,) bool, which of them the difference from the real face
    tells better: those with a pair and no mask of their own.
    """
    masks = torch.ones(len(positions), 1, faces.size, faces.size)
    compared = torch.tensor([faces.pair_of(position) is not None for position in positions])
    for k, position in enumerate(positions):
        own = faces.mask_of(position, tuple(shift[k].tolist()))
        if own is not None:
            masks[k, 0], compared[k] = own, False
            continue
        names = faces.rows[position]["regions"].split("|")
        parts = [
            region_mask(landmarks[k : k + 1], region, faces.size)
            for region in REGIONS
            if region.name in names
        ]
        if parts:
            masks[k] = torch.stack(parts).amax(0)
    return masks, compared
