"""Score photographs and videos: one JSON line per face, or per person of a video.

    python -m kfd.score photo.jpg
    python -m kfd.score album/ more/*.jpg clip.mp4 --out scores.jsonl

Files or folders, searched recursively. A line holds path, sha256, face, box, score, log10_lr (log10
likelihood ratio, null where none is supported), verdict, reasons and regions; that of a video
also `frames`, [seconds, score] of each examined frame that shows the face, and `video`: when those examined
are shown, whether the file is damaged, and how many faces were left out. A file without a result
has one line with `score: null`, the reason and what to do about it. With --out, a re-run
continues where the last one stopped.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common.cli import parse
from common.storage import digest_of, write_atomically
from data_sim.layouts.records import VIDEO_SUFFIXES
from kfd.detection import FaceFinding
from kfd.detector import Detector, NoFaceError
from kfd.quality import jpeg_quality
from kfd.video import Person, examine_video
from media.images import (
    IMAGE_SUFFIXES,
    ImageError,
    find_images,
    is_video_file,
    read_bytes,
    read_image,
    sha256_of,
)
from media.video import VideoError


@dataclass(frozen=True)
class ScoreConfig:
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]  # photographs, videos, or folders of them
    out: Path | None = None  # JSON-lines file to write or to continue; None prints
    checkpoint: Path = Path("checkpoints/embedded/kfd")  # folder of the detector
    encoder: str | None = None  # weights of a frozen encoder, which such a folder lacks: file, folder, hub id
    device: str = "cpu"


def main() -> None:
    config = parse(ScoreConfig, __doc__)
    try:
        paths = find_images(config.paths, IMAGE_SUFFIXES | VIDEO_SUFFIXES)
        detector = Detector.from_pretrained(config.checkpoint, config.device, config.encoder)
        if config.out is None:
            for path in paths:
                for line in lines_of(path, detector):
                    print(json.dumps(line), flush=True)
        else:
            score_into(config.out, paths, detector)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def lines_of(path: Path, detector: Detector) -> list[dict[str, object]]:
    """The output lines of one photograph or video, at least one, never an exception for a bad file."""
    line: dict[str, object] = {"path": str(path), "sha256": None, "checkpoint": detector.digest}
    try:
        if is_video_file(path):
            line["sha256"] = digest_of(path)
            footage = examine_video(detector, path)
            sampled = [round(seconds, 3) for seconds in footage.sampled]
            line["video"] = {"sampled": sampled, "damaged": footage.damaged, "left_out": footage.fleeting}
            if not footage.people:
                raise NoFaceError
            return [
                line | _describe(person.finding) | {"frames": _frames(person)} for person in footage.people
            ]
        data = read_bytes(path)
        line["sha256"] = sha256_of(data)
        findings = detector.examine(read_image(data), jpeg_quality(data))
    except (ImageError, NoFaceError, VideoError) as error:
        return [line | _nothing(error.code, str(error))]
    return [line | _describe(finding) for finding in findings]


def _nothing(code: str, message: str) -> dict[str, object]:
    """The fields of a file that gave no face to judge."""
    fields = {"face": None, "box": None, "score": None, "log10_lr": None, "verdict": "inconclusive"}
    return {**fields, "reasons": [code], "regions": [], "message": message}


def _describe(finding: FaceFinding) -> dict[str, object]:
    return {
        "face": finding.index,
        "box": list(finding.box),
        "score": None if finding.score is None else round(finding.score, 4),
        "log10_lr": None if finding.evidence is None else round(finding.evidence.log10_lr, 2),
        "verdict": finding.verdict,
        "reasons": list(finding.reasons),
        "regions": list(finding.regions),
    }


def _frames(person: Person) -> list[list[float | None]]:
    scores = ((moment.seconds, moment.finding.score) for moment in person.moments)
    return [[round(seconds, 3), None if score is None else round(score, 4)] for seconds, score in scores]


def score_into(out: Path, paths: list[Path], detector: Detector) -> None:
    """Append the lines of every path that `out` does not hold yet, with progress.

    Raises ValueError when `out` was made with other weights: two scales must not mix in one file.
    """
    from tqdm import tqdm

    out.parent.mkdir(parents=True, exist_ok=True)
    done = resume(out, detector.digest)
    left = [path for path in paths if str(path) not in done]
    with out.open("a", encoding="utf-8") as file:
        for path in tqdm(left, unit="file", initial=len(paths) - len(left), total=len(paths)):
            file.write("".join(json.dumps(x) + "\n" for x in lines_of(path, detector)))
            file.flush()


def resume(out: Path, digest: str) -> set[str]:
    """Paths that `out` holds completely; what a kill may have cut short is taken out of the file.

    digest: of the weights that go on.
    """
    if not out.is_file():
        return set()
    text = out.read_text(encoding="utf-8")
    try:
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        if any(line["checkpoint"] != digest for line in lines):
            raise ValueError(f"{out} was made with other weights; choose another --out")
    except (KeyError, TypeError, json.JSONDecodeError):
        raise ValueError(f"{out} is no file of kfd.score; choose another --out") from None
    # The last photograph may have lost faces: a kill can fall between two of its lines.
    last = lines[-1]["path"] if lines else None
    kept = [line for line in lines if line["path"] != last]
    text = "".join(json.dumps(line) + "\n" for line in kept)
    write_atomically(out, lambda part: part.write_text(text, encoding="utf-8"))
    return {line["path"] for line in kept}


if __name__ == "__main__":
    main()
