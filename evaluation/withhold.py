"""Fit, on validation, which verdicts are not given because a second system says otherwise.

    python -m evaluation.detector --data runs/set --split val --simulated 0 --out runs/kfd-val.json
    python -m evaluation.detector --data runs/set --split val --simulated 0 --checkpoint runs/vlaforge \\
        --out runs/vlaforge-val.json
    python -m evaluation.withhold runs/kfd-val.json runs/vlaforge-val.json --opinion runs/vlaforge

A verdict is withheld beside what the second system says (it gives none, or says the opposite) where its
likelihood ratio there is not, with its whole interval, two to one at least: the table of evaluation.detector
--compare. Where too few faces were measured to say, it stays. The choice is written into the second system's
folder, and `--opinion` of kfd.score, app and app.report heeds it, of these two systems and thresholds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common.cli import parse
from common.storage import save_config
from evaluation.compare import compare_files
from evaluation.metrics.classification import NUM_RESAMPLES
from evaluation.results import read_results
from kfd.detector import Detector
from kfd.scoring.opinions import digests
from kfd.scoring.withheld import AGREES, WITHHELD_FILE, Withheld, place_of

SPLIT = "val"  # where thresholds, too, are fitted


@dataclass(frozen=True)
class WithholdConfig:
    first: Annotated[Path, tyro.conf.Positional]  # figures of the detector, by evaluation.detector --out
    second: Annotated[Path, tyro.conf.Positional]  # those of the second system, on the same faces
    opinion: str  # its folder, or FOLDER=WEIGHTS, as --opinion names it
    checkpoint: Path = Path("checkpoints/embedded/kfd")  # folder of the detector
    encoder: str | None = None  # weights of a frozen encoder, which such a folder does not hold
    num_resamples: int = NUM_RESAMPLES  # of the bootstrap


def main(args: list[str] | None = None) -> None:
    config = parse(WithholdConfig, __doc__, args)
    try:
        found = fit(config)
        path = Path(config.opinion.partition("=")[0]) / WITHHELD_FILE
        save_config(found, path)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"withheld: {'; '.join(found.places) or 'no verdict'}; written to {path}")


def fit(config: WithholdConfig) -> Withheld:
    """What is withheld. Raises ValueError for figures of another split, or of other weights or thresholds."""
    detector = Detector.from_pretrained(config.checkpoint, encoder=config.encoder)
    folder, _, weights = config.opinion.partition("=")
    second = Detector.from_pretrained(folder, encoder=weights or None)
    pairs = (config.first, digests(detector)), (config.second, digests(second))
    for path, expected in pairs:
        _check(path, read_results(path)[0], expected)
    rows = compare_files(config.first, config.second, config.num_resamples)["agreement"]
    places = [
        place_of(row["verdict"], row["second"])
        for row in rows
        if row["supported"] is False and row["second"] != AGREES
    ]
    counts = [sum(row[label] for row in rows) for label in ("real", "fake")]
    fitted_on = f"validation, {counts[0]} real and {counts[1]} fake faces with a verdict"
    return Withheld(tuple(places), fitted_on, *digests(detector), *digests(second))


def _check(path: Path, results: Mapping[str, object], expected: tuple[str, str]) -> None:
    split, checkpoint = results["data"]["split"], results["checkpoint"]
    if split != SPLIT:
        raise ValueError(f"{path} was measured on split {split}: what is withheld is fitted on {SPLIT}")
    if (checkpoint.get("sha256"), checkpoint.get("decision")) != expected:
        raise ValueError(
            f"{path} is of other weights or thresholds than the folder named for it: measure again with "
            "python -m evaluation.detector"
        )


if __name__ == "__main__":
    main()
