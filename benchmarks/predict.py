"""One number per file, for benchmarks of others that ask a model file for `predict(path) -> float`.

    deepsafe eval --model benchmarks/predict.py
    python -m benchmarks.predict photo.jpg clip.mp4

The number is the calibrated probability of the most suspicious face, of a video that of its most suspicious
person, so that a file counts as forged where anybody in it is. It is a score, not a verdict: Unmask would
withhold one from many of these files. A file without a face that can be scored raises, because a number for
it would be invented; a benchmark that wants a number all the same has to choose it, and say so.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # the file is loaded by its path, from anywhere
    sys.path.insert(0, str(ROOT))

from kfd.detector import Detector, NoFaceError  # noqa: E402
from kfd.examine import examine_file  # noqa: E402

CHECKPOINT = ROOT / "checkpoints/embedded/kfd"


class NotScoredError(ValueError):
    """A file whose faces must not be scored, being too small."""


def predict(path: str | Path) -> float:
    """P(fake) in [0, 1] of a photograph or video.

    Raises media.errors.MediaError for a file that gives no picture, NoFaceError where no face was found, and
    NotScoredError where none of those found may be scored.
    """
    found = examine_file(_detector(), path)
    if not found.faces:
        raise NoFaceError
    scores = [face.score for face in found.faces if face.score is not None]
    if not scores:
        reasons = sorted({str(reason) for face in found.faces for reason in face.reasons})
        raise NotScoredError(f"{path}: no face that may be scored ({', '.join(reasons)})")
    return max(scores)


@lru_cache(maxsize=1)
def _detector() -> Detector:
    """Loaded once: a benchmark calls `predict` for every file."""
    return Detector.from_pretrained(CHECKPOINT)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        try:
            print(f"{argument}\t{predict(argument):.6f}")
        except ValueError as error:
            sys.exit(f"error: {argument}: {error}")
