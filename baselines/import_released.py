"""Read the checkpoint of the paper's own public code, so that every command can score and measure with it.

    python -m baselines.import_released checkpoint/ckpt.pth --out runs/released
    python -m kfd.score photos/ --checkpoint runs/released
    python -m kfd.calibrate --data runs/set224 --checkpoint runs/released   # before it no verdicts
    python -m evaluation.detector --data runs/set224 --checkpoint runs/released --split test

Of the file the detector is taken: ImageBind's two towers with their LoRA matrices added, the projections,
the locator and the classifier. The folder has 4 GB, in float32. A file that lacks a tensor of these, or has
one that nobody knows, is refused.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from baselines.checkpoint import save_system
from baselines.released.layout import load_released
from baselines.released.model import ReleasedConfig
from common.cli import parse
from common.locks import one_writer
from kfd.config import Decision


@dataclass(frozen=True)
class ImportConfig:
    """What to read, and where to put it."""

    file: Annotated[Path, tyro.conf.Positional]  # the checkpoint, .pth or .safetensors
    out: Path  # folder to write the detector into
    encoder_settings: Annotated[dict[str, object] | None, tyro.conf.Suppress] = None  # sizes; in YAML only


def main(args: list[str] | None = None) -> None:
    config = parse(ImportConfig, __doc__, args)
    try:
        with one_writer(config.out, is_folder=True):
            found = load_released(config.file, ReleasedConfig(encoder_settings=config.encoder_settings))
            save_system(found.model, config.out, Decision())
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    aside = ", ".join(f"{count} of {owner}" for owner, count in found.left_aside.items()) or "none"
    print(f"wrote {config.out}; tensors left aside: {aside}")


if __name__ == "__main__":
    main()
