"""Verdicts that are not given, because a second system says otherwise: fitted on validation, kept with it.

withheld.json in the folder of a second system is written by python -m evaluation.withhold. Without that file
no verdict changes, whatever a second system says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.storage import naming, read_config
from common.verdicts import Verdict

WITHHELD_FILE = "withheld.json"
AGREES, SILENT, OPPOSITE = ANSWERS = ("agrees", "gives none", "says the opposite")


def answer_of(first: Verdict, second: Verdict) -> str:
    """What a second verdict is to a first, which is fake or real: one of ANSWERS."""
    if second == Verdict.INCONCLUSIVE:
        return SILENT
    return AGREES if second == first else OPPOSITE


def place_of(first: Verdict, answer: str) -> str:
    """A verdict and what a second system says beside it, as `Withheld` names them."""
    return f"{first}, the second {answer}"


@dataclass(frozen=True)
class Withheld:
    """Which verdicts of a detector are withheld, by what a second system says of the same face.

    places: of `place_of`. fitted_on: the data, in words.
    checkpoint, decision: digests of the detector and of its calibration. second_checkpoint, second_decision:
        likewise of the second system. With others than these, what the verdicts are worth is not known.
    """

    places: tuple[str, ...]
    fitted_on: str
    checkpoint: str
    decision: str
    second_checkpoint: str
    second_decision: str

    def __post_init__(self) -> None:
        known = {place_of(v, a) for v in (Verdict.FAKE, Verdict.REAL) for a in (SILENT, OPPOSITE)}
        if unknown := sorted(set(self.places) - known):
            raise ValueError(f"places must be of {sorted(known)}, got {unknown}")

    @classmethod
    def load(cls, folder: Path, second: Sequence[str]) -> Withheld | None:
        """Read the file of a folder; None without one.

        second: digests of that folder's system and calibration. Raises ValueError where it is of others.
        """
        path = folder / WITHHELD_FILE
        if not path.is_file():
            return None
        with naming(path):
            found = read_config(cls, path)
        _check(path, (found.second_checkpoint, found.second_decision), second)
        return found

    def check_first(self, folder: str, first: Sequence[str]) -> None:
        """Raise ValueError unless fitted for this detector. folder: of the file. first: its digests."""
        _check(Path(folder) / WITHHELD_FILE, (self.checkpoint, self.decision), first)

    def withholds(self, first: Verdict, second: Verdict) -> bool:
        """Whether a verdict is not given beside this second one."""
        return place_of(first, answer_of(first, second)) in self.places


def _check(path: Path, expected: Sequence[str], got: Sequence[str]) -> None:
    if tuple(expected) != tuple(got):
        raise ValueError(
            f"{path} was fitted with other weights or thresholds; fit it again with python -m "
            "evaluation.withhold, or delete it: then no verdict changes"
        )
