"""Image-grounded cases: what the detector finds in real and simulated faces, and what may be said of it."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from common.storage import write_atomically, write_text
from common.strict_json import read_json_object, to_json
from common.verdicts import FACE_REASONS, Reason, Verdict
from data_sim.dataset import FaceSet, evenly, faces_digest
from data_sim.dialogue import Case
from data_sim.simulate import SimulationConfig, simulate
from kfd.calibration.decision import decide, evidence_of
from kfd.detection import Detection, joined
from kfd.detector import Detector, regions_to_name
from kfd.model import KFD
from kfd.quality.corruptions import degrade_held_out
from kfd.training.sampler import choose_reals
from llm.tokens import verdict_target
from media.regions import REGION_NAMES, WHOLE_FACE, region_scores

BATCH = 16  # real faces forged and judged together
CASES_FILE, TENSORS_FILE = "cases.json", "detections.safetensors"


@dataclass(frozen=True)
class Drawn:
    """Which real faces are judged, and what becomes of them before.

    frames: most faces of one video, people then taken in turn; 0: any, evenly spread over the set.
    degraded: whether real and forged ones are degraded, half as often as a detector's training has it.
    simulation: how they are forged.
    """

    frames: int = 0
    degraded: bool = True
    simulation: SimulationConfig = field(default_factory=SimulationConfig)

    def reals(self, faces: FaceSet, count: int, seed: int) -> list[int]:
        """Positions of at most `count` real faces; with `frames` those that a detector would train on."""
        if not self.frames:
            return evenly(faces.where(label="real"), count)
        offered = choose_reals(faces, 0, seed, self.frames)
        return choose_reals(faces, min(count, len(offered)), seed, self.frames)


AS_USUAL = Drawn()


@dataclass(frozen=True)
class GroundedCases:
    """N faces, judged.

    detections: the detector's answers (B = N), stored in half precision.
    cases: what is to be said of each face, see `judged_case`. labels: 0 real, 1 fake.
    forged: the regions truly replaced. taught: "detector" where the cases are its findings, "truth" where
    they are what is true of the faces, see `truths`.
    """

    detections: Detection
    cases: tuple[Case, ...]
    labels: tuple[int, ...]
    forged: tuple[tuple[str, ...], ...]
    taught: str = "detector"

    def __len__(self) -> int:
        return len(self.cases)

    def truths(self) -> GroundedCases:
        """The same faces with cases as the truth has them, whatever the detector says (the paper's)."""
        cases = tuple(true_case(*pair) for pair in zip(self.cases, self.forged, strict=True))
        return dataclasses.replace(self, cases=cases, taught="truth")

    def yes_target(self, row: int, case: Case) -> float:
        """P(Yes) to be learnt of a face: its label, or as `verdict_target` has it of the case."""
        return float(self.labels[row]) if self.taught == "truth" else verdict_target(case)

    def detection(self, rows: list[int], device: str | torch.device = "cpu") -> Detection:
        """The detections of some faces, float32, on `device`."""
        index = torch.tensor(rows, dtype=torch.long)  # of no face, too
        found = self.detections

        def pick(tensor: Tensor) -> Tensor:
            return tensor[index].float().to(device)

        return Detection(
            pick(found.logit),
            pick(found.score),
            pick(found.heatmap),
            tuple(pick(maps) for maps in found.consistency_maps),
            pick(found.embedding),
        )


def judged_case(detector: Detector, score: float, logit: float, strength: Tensor) -> Case:
    """The case that a language model speaks of, in training as in a chat.

    Verdict and regions are the detector's, also where it errs: answers speak of "the heat map" and this is
    what it shows, so conversation, picture and the report's table never contradict each other. (The paper
    trains on the regions truly replaced, which no reader of the map could name where it misses them.)

    strength: (R,) mean P(fake) of each region.
    """
    verdict, reasons = decide(detector.decision, score)
    worth = evidence_of(detector.decision, logit, score)
    named = regions_to_name(verdict, strength)
    heat = tuple(zip(REGION_NAMES, strength.clamp(0, 1).tolist(), strict=True))
    return Case(verdict, score, named, reasons, heat, worth.verbal if worth else "")


def ground(
    detector: Detector, faces: FaceSet, num_faces: int, seed: int, drawn: Drawn = AS_USUAL
) -> GroundedCases:
    """Judge real faces of a set and forgeries simulated from them, one of each.

    num_faces: most real faces that are used. drawn: which, and how they are forged.
    Raises ValueError when the set's crops have another size than the detector's.
    """
    reals = drawn.reals(faces, num_faces, seed)
    judged = _Judged(detector, faces)
    for start in tqdm(range(0, len(reals), BATCH), desc="judging faces", mininterval=5):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + start)
        images, landmarks = faces.read(reals[start : start + BATCH])
        forgeries = simulate(images, landmarks, generator, drawn.simulation)
        pixels = torch.cat([forgeries.pristine, forgeries.images])
        pixels = degrade_held_out(pixels, generator) if drawn.degraded else pixels
        truth = [()] * len(images) + [forgeries.names(row) for row in range(len(images))]
        judged.add(pixels, landmarks.repeat(2, 1, 1), truth)
    return judged.cases()


def ground_known(detector: Detector, faces: FaceSet, positions: list[int]) -> GroundedCases:
    """Judge known fakes whose replaced regions somebody named (column `regions`, names split by "|").

    Raises ValueError when the set's crops have another size than the detector's.
    """
    judged = _Judged(detector, faces)
    for start in range(0, len(positions), BATCH):
        part = positions[start : start + BATCH]
        truth = [tuple(name for name in faces.rows[p]["regions"].split("|") if name) for p in part]
        judged.add(*faces.read(part), truth)
    return judged.cases()


class _Judged:
    """Gathers judged faces, batch by batch."""

    def __init__(self, detector: Detector, faces: FaceSet):
        if faces.size != detector.image_size:
            raise ValueError(
                f"the detector sees crops of side {detector.image_size}, the set has {faces.size}: "
                f"build the set with --size {detector.image_size}"
            )
        if not isinstance(detector.model, KFD):
            raise ValueError(
                "a language model learns from maps and embedding of a KFD, got "
                f"{type(detector.model).__name__}: name a folder of kfd.train as --kfd"
            )
        self.detector = detector
        self.parts: list[Detection] = []
        self.found: list[tuple[Case, int, tuple[str, ...]]] = []

    def add(self, pixels: Tensor, landmarks: Tensor, truth: list[tuple[str, ...]]) -> None:
        """Judge B faces. truth: the regions replaced in each; none of a real one."""
        detection = self.detector(pixels)
        strengths = region_scores(detection.heatmap, landmarks)
        read = detection.score.tolist(), detection.logit.tolist()
        for score, logit, forged, strength in zip(*read, truth, strengths, strict=True):
            case = judged_case(self.detector, score, logit, strength)
            self.found.append((case, int(bool(forged)), forged))
        self.parts.append(_half(detection))

    def cases(self) -> GroundedCases:
        return GroundedCases(joined(self.parts), *map(tuple, zip(*self.found, strict=True)))


def ground_once(
    folder: Path,
    detector: Detector,
    data: str | Path,
    split: str,
    num_faces: int,
    seed: int,
    faces: FaceSet | None = None,
    drawn: Drawn = AS_USUAL,
) -> GroundedCases:
    """`ground`, remembered in `folder`: cached; the detector is not rerun by a resumed or repeated run.

    faces: what may be used of the split; None: all of it. drawn: see `ground`.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    faces = faces or FaceSet.open(data, split)
    settings = {"kfd": detector.digest, "decision": dataclasses.asdict(detector.decision), "split": split,
                "data_digest": faces_digest(faces), "faces": num_faces, "seed": seed,
                "regions": "heatmap", "heat": True}  # fmt: skip
    if drawn != AS_USUAL:
        settings["drawn"] = dataclasses.asdict(drawn)
    told = to_json(settings)
    path, tensors = folder / CASES_FILE, folder / TENSORS_FILE
    if path.is_file() and to_json((values := read_json_object(path))["settings"]) == told:
        with safe_open(str(tensors), "pt") as file:
            together = (file.metadata() or {}).get("of") == told  # else a kill came between the two files
        if together:
            return _from_plain(values, load_file(str(tensors)))
    found = ground(detector, faces, num_faces, seed, drawn)
    state = _tensors(found.detections)
    write_atomically(tensors, lambda part: save_file(state, str(part), {"of": told}))
    plain = {"settings": settings, "cases": [dataclasses.asdict(case) for case in found.cases],
             "labels": found.labels, "forged": found.forged}  # fmt: skip
    write_text(path, to_json(plain))
    return found


def mirror_maps(found: Detection, which: Tensor) -> Detection:
    """The detections with the maps of some faces mirrored left to right.

    which: (B,) bool. The embedding has no sides and stays.
    """

    def turn(maps: Tensor) -> Tensor:
        return torch.where(which[:, None, None, None], maps.flip(-1), maps)

    maps = tuple(turn(tap) for tap in found.consistency_maps)
    return dataclasses.replace(found, heatmap=turn(found.heatmap), consistency_maps=maps)


def mirror_case(case: Case) -> Case:
    """The case of the mirrored face: left and right change places."""
    regions = tuple(_other_side(name) for name in case.regions)
    heat = tuple((_other_side(name), value) for name, value in case.heat)
    return dataclasses.replace(case, regions=regions, heat=heat)


def _other_side(name: str) -> str:
    sides = {"left": "right", "right": "left"}
    first, *rest = name.split("_", 1)
    return "_".join((sides.get(first, first), *rest))


def true_case(case: Case, forged: tuple[str, ...]) -> Case:
    """The case as the truth has it.

    forged: the regions truly replaced; none of a real face. The score stays the detector's, which is all that
    a prompt may tell of it.
    """
    heat = tuple((name, float(name in forged or WHOLE_FACE in forged)) for name in REGION_NAMES)
    return Case(Verdict.FAKE if forged else Verdict.REAL, case.score, forged, heat=heat)


def vary(case: Case, rng: random.Random, withheld: float = 0.08, unscored: float = 0.08) -> Case:
    """Sometimes the same face in a photograph too poor for a verdict, or for a score.

    withheld, unscored: how often. The rest of the time the case as it is.
    """
    draw = rng.random()
    if draw >= withheld + unscored:
        return case
    flaws = rng.sample(
        [reason for reason in FACE_REASONS if reason != Reason.BETWEEN_THRESHOLDS], k=rng.choice((1, 1, 2))
    )
    if draw < unscored:
        return Case(Verdict.INCONCLUSIVE, None, (), tuple(flaws))
    return Case(Verdict.INCONCLUSIVE, case.score, case.regions, tuple(flaws), case.heat)


def _half(found: Detection) -> Detection:
    return Detection(
        found.logit, found.score, found.heatmap.half(), tuple(m.half() for m in found.consistency_maps),
        found.embedding.half(),
    )  # fmt: skip


def _tensors(found: Detection) -> dict[str, Tensor]:
    named = {"logit": found.logit, "score": found.score, "heatmap": found.heatmap,
             "embedding": found.embedding}  # fmt: skip
    return named | {f"consistency_{tap}": maps for tap, maps in enumerate(found.consistency_maps)}


def _from_plain(values: dict, tensors: dict[str, Tensor]) -> GroundedCases:
    taps = sum(name.startswith("consistency_") for name in tensors)
    maps = tuple(tensors[f"consistency_{tap}"] for tap in range(taps))
    cases = tuple(
        Case(
            Verdict(c["verdict"]),
            c["score"],
            tuple(c["regions"]),
            tuple(map(Reason, c["reasons"])),
            tuple((name, value) for name, value in c["heat"]),
            c["strength"],
        )
        for c in values["cases"]
    )
    found = Detection(tensors["logit"], tensors["score"], tensors["heatmap"], maps, tensors["embedding"])
    return GroundedCases(found, cases, tuple(values["labels"]), tuple(map(tuple, values["forged"])))
