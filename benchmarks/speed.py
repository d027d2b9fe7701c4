"""Processor time of the usual work, each against another way of doing the same, in one run.

    pip install -e '.[bench]'       # albumentations, for SBI's steps; without it those rows are left out
    OMP_NUM_THREADS=1 python -m benchmarks.speed

Both ways take turns, on one processor core each, and the medians of processor time and of the ratio are
printed as a Markdown table, so that a machine that others use too distorts little; a clip and a folder, on
which several processes work, are timed by the clock and need a quiet machine. The face is that of
app/example.jpg; the clip of ten seconds at 1080p and all photographs are made from it.
`--rounds 3` is quick.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.faces import dlib_before
from common.cli import parse
from common.distributed import Processes
from data_sim.dataset import BORDER, TrainingBatch, training_batch
from data_sim.degrade import Degradation, degrade_batch
from data_sim.simulate import simulate
from data_sim.simulation import render_batch
from data_sim.simulation.recipe import draw_recipe
from kfd.checkpoint import load_kfd
from kfd.detector import Detector
from kfd.examine import examine_file
from kfd.model import KFD
from kfd.training.feature_cache import encode
from kfd.training.losses import LossWeights
from kfd.training.step import global_loss
from media.faces import crop_face, find_faces
from media.images import read_image

EXAMPLE = Path(__file__).parents[1] / "app" / "example.jpg"
PAIRS = 16  # faces a batch
PHOTOS = 320  # in a folder
# A process of its own, since the peak of children is that of all there ever were.
PEAK = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


@dataclass(frozen=True)
class SpeedConfig:
    checkpoint: Path = Path("checkpoints/embedded/kfd")
    rounds: int = 11  # turns of each way; the slow rows take a fifth of them


@dataclass(frozen=True)
class Row:
    """A line of the table: what it costs our way, in `unit`, and the other way, if there is one."""

    work: str
    unit: str
    ours: float
    other: str = ""
    theirs: float | None = None
    gain: float | None = None  # how many times better ours is, the median over the turns

    def cells(self) -> tuple[str, ...]:
        theirs = "" if self.theirs is None else f"{self.theirs:.3g} {self.unit}"
        gain = "" if self.gain is None else f"{self.gain:.2f} ×"
        return self.work, f"{self.ours:.3g} {self.unit}", self.other, theirs, gain


def main() -> None:
    config = parse(SpeedConfig, __doc__)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print("| work | ours | other way | cost | gain |\n|---|---|---|---|---|")
    for row in rows(config):
        print("| " + " | ".join(row.cells()) + " |", flush=True)


def rows(config: SpeedConfig) -> Iterator[Row]:
    few = max(1, config.rounds // 5)
    for size in (224, 380):
        yield from pairs(size, config.rounds)
    yield from training(config.checkpoint, max(1, config.rounds // 2))
    detector = Detector.from_pretrained(config.checkpoint)
    yield photograph(detector, config.rounds)
    with tempfile.TemporaryDirectory() as folder:
        yield clip(detector, few, Path(folder))
        if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
            yield album(config.checkpoint, Path(folder))
        yield memory(config.checkpoint, Path(folder))


def compare(
    ours: Callable[[int], object], theirs: Callable[[int], object], rounds: int
) -> tuple[float, float, float]:
    """Medians of processor seconds of both ways, taking turns, and of their ratio."""
    ours(0), theirs(0)  # what is loaded or compiled on the first call
    spent = [(_seconds(ours, turn), _seconds(theirs, turn)) for turn in range(rounds)]
    first, second = zip(*spent, strict=True)
    return median(first), median(second), median(b / a for a, b in spent)


def _seconds(work: Callable[[int], object], turn: int) -> float:
    before = time.process_time()
    work(turn)
    return time.process_time() - before


def example_faces(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The example's face: crops (PAIRS, T, T, 3) uint8, T = size + 2 BORDER, and landmarks (PAIRS, 68, 2)."""
    image, stored = read_image(EXAMPLE), size + 2 * BORDER
    crop = crop_face(image, find_faces(image)[0], stored, stored / size)
    return np.stack([crop.pixels] * PAIRS), np.stack([crop.landmarks] * PAIRS)


def centred(size: int) -> tuple[Tensor, Tensor]:
    """The same as a detector sees them: (PAIRS, 3, size, size) in [0, 1] and landmarks in their pixels."""
    crops, landmarks = example_faces(size)
    inner = np.ascontiguousarray(crops[:, BORDER:-BORDER, BORDER:-BORDER])
    return torch.from_numpy(inner).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(landmarks - BORDER)


def pairs(size: int, rounds: int) -> Iterator[Row]:
    """A real face and its forgery, against SBI's steps and against batches of tensors."""
    images, landmarks = centred(size)
    work = f"a simulated pair, {size} px"

    def ours(turn: int) -> object:
        return simulate(images, landmarks, torch.Generator().manual_seed(turn))

    def tensors(turn: int) -> object:
        recipe = draw_recipe(landmarks, size, torch.Generator().manual_seed(turn))
        return render_batch.render(images, landmarks, recipe)

    if importlib.util.find_spec("albumentations") is None:
        print("albumentations is missing (pip install '.[bench]'): no row for SBI's steps", file=sys.stderr)
    else:
        from benchmarks.sbi_steps import SelfBlending

        blending, (crops, points) = SelfBlending(size), example_faces(size)

        def sbi(turn: int) -> object:
            return [blending.pair(crop, where) for crop, where in zip(crops, points, strict=True)]

        fast, slow, gain = compare(ours, sbi, rounds)
        other = "SBI's steps, albumentations and OpenCV"
        yield Row(work, "ms", 1e3 * fast / PAIRS, other, 1e3 * slow / PAIRS, gain)
    fast, slow, gain = compare(ours, tensors, max(1, rounds // 3))
    yield Row(work, "ms", 1e3 * fast / PAIRS, "batches of tensors", 1e3 * slow / PAIRS, gain)


def training(checkpoint: Path, rounds: int) -> Iterator[Row]:
    """A training batch, degraded, and a whole step of the embedded detector, made by OpenCV or by tensors."""
    model, _ = load_kfd(checkpoint)
    model.train().requires_grad_(True)
    images, landmarks = centred(model.image_size)

    def ours(turn: int) -> TrainingBatch:
        return training_batch(images, landmarks, torch.Generator().manual_seed(turn))

    def tensors(turn: int) -> TrainingBatch:
        generator = torch.Generator().manual_seed(turn)
        recipe = draw_recipe(landmarks, images.shape[-1], generator)
        forged, background, masks = render_batch.render(images, landmarks, recipe)
        how = Degradation.draw(PAIRS, generator)
        noisy = how.noise.nonzero().flatten()
        noise = torch.randn(len(noisy), *images.shape[1:], generator=generator)
        real, fake = (degrade_batch(part, how, noisy, noise) for part in (background, forged))
        return TrainingBatch(real, fake, masks, torch.ones(PAIRS, dtype=torch.bool))

    other = "batches of tensors"
    fast, slow, gain = compare(ours, tensors, rounds)
    work = f"a pair of a training batch, degraded, {model.image_size} px"
    yield Row(work, "ms", 1e3 * fast / PAIRS, other, 1e3 * slow / PAIRS, gain)
    steps = (lambda turn: _step(model, ours(turn))), (lambda turn: _step(model, tensors(turn)))
    fast, slow, gain = compare(*steps, rounds)
    both = 2 * PAIRS  # real and forged
    yield Row("a training step, its batch included", "images/s", both / fast, other, both / slow, gain)


def _step(model: KFD, batch: TrainingBatch) -> None:
    model.zero_grad(set_to_none=True)
    loss, _ = global_loss(model, encode(model, batch), LossWeights(), PAIRS, Processes())
    loss.backward()


def photograph(detector: Detector, rounds: int) -> Row:
    """From the pixels of a photograph to its finding; the other way dlib's finder looks for the face."""
    image = read_image(EXAMPLE)
    faces = find_faces(image)

    def with_dlib(turn: int) -> object:
        return dlib_before(image), detector.judge(image, faces)

    fast, slow, gain = compare(lambda turn: detector.examine(image), with_dlib, rounds)
    work = "a photograph with one face, pixels to finding"
    return Row(work, "ms", 1e3 * fast, "dlib's finder as it was used before", 1e3 * slow, gain)


def clip(detector: Detector, rounds: int, folder: Path) -> Row:
    """Ten seconds at 1080p, from the file to findings; the other way decodes every frame and does no more.

    By the clock and not by processor time, because the decoder is a process of its own; faces are looked for
    in as many frames at a time as there are cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    path = folder / "clip.mp4"
    write_clip(path)
    walls, decoding = [], []
    for _ in range(rounds):
        before = time.perf_counter()
        examine_file(detector, path, threads=cores)
        walls.append(time.perf_counter() - before)
        before = time.perf_counter()
        decode_all(path)
        decoding.append(time.perf_counter() - before)
    gain = median(b / a for a, b in zip(walls, decoding, strict=True))
    work = f"a clip of 10 s at 1080p, file to findings, by the clock, {cores} cores"
    return Row(work, "s", median(walls), "decoding all frames, nothing else", median(decoding), gain)


def write_clip(path: Path, seconds: int = 10, rate: int = 25) -> None:
    """The example, which drifts through a picture of 1920 by 1080 pixels, as H.264."""
    still = cv2.resize(read_image(EXAMPLE), (2200, 1500), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number in range(seconds * rate):
            x, y = number % 200, number % 150
            frame = np.ascontiguousarray(still[y : y + 1080, x : x + 1920])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode(None))


def decode_all(path: Path) -> None:
    """Every frame of a clip to RGB."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frame.to_ndarray(format="rgb24")


def album(checkpoint: Path, folder: Path) -> Row:
    """A folder of photographs through kfd.score, by two processes on two cores and by one on one.

    By the clock, from the first lines on: what a process takes to begin is left out.
    """
    photos = folder / "album"
    photos.mkdir()
    example = cv2.imread(str(EXAMPLE))
    for number in range(PHOTOS):
        quality = [cv2.IMWRITE_JPEG_QUALITY, 70 + number % 25]
        cv2.imwrite(str(photos / f"{number:03}.jpg"), np.roll(example, number % 8, axis=1), quality)
    one, two = (_files_a_second(checkpoint, photos, folder / f"{n}.jsonl", n) for n in (1, 2))
    work = "a folder of photographs, files a second on two cores"
    return Row(work, "files/s", two, "on one core", one, two / one)


def _files_a_second(checkpoint: Path, photos: Path, out: Path, count: int) -> float:
    """How many lines a run on so many cores, with as many processes, writes a second."""
    cores = sorted(os.sched_getaffinity(0))[:count]
    command = [sys.executable, "-m", "kfd.score", str(photos), "--out", str(out), "--workers", str(count),
               "--checkpoint", str(checkpoint)]  # fmt: skip
    written: list[tuple[float, int]] = []
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    ) as run:
        while run.poll() is None:
            lines = out.read_bytes().count(b"\n") if out.is_file() else 0
            if lines and (not written or lines > written[-1][1]):
                written.append((time.perf_counter(), lines))
            time.sleep(0.02)
    (began, first), (ended, last) = written[0], written[-1]
    return (last - first) / (ended - began)


def memory(checkpoint: Path, folder: Path) -> Row:
    """Most memory that any process of kfd.score holds for a photograph of 12 megapixels."""
    large = cv2.resize(read_image(EXAMPLE), (4000, 3000), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(folder / "large.jpg"), cv2.cvtColor(large, cv2.COLOR_RGB2BGR))
    command = [sys.executable, "-c", PEAK, sys.executable, "-m", "kfd.score", str(folder / "large.jpg"),
               "--checkpoint", str(checkpoint)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = int(done.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024)
    return Row("peak memory of kfd.score, a photograph of 12 megapixels", "GB", peak / 1e9)


if __name__ == "__main__":
    main()
