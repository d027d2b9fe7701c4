"""Split a manifest again, in the ways of document 001: by frame or video, which leaks, or by person.

    python -m data_sim.splits frames/manifest.csv --by frame --out frames/leaky.csv
    python -m data_sim.splits frames/manifest.csv --by person --out frames/clean.csv
    python -m data_sim.build frames --manifest frames/leaky.csv --val-every 0 --size 224 --out runs/leaky
    python -m data_sim.build frames --manifest frames/clean.csv --val-every 0 --size 224 --out runs/clean
    python -m data_sim.splits photos/manifest.csv --sources pairs --train-kinds swap --test-kinds swap \
      --by person --val 0.2 --test 0.3 --out photos/clean.csv

Document 001 trains on 80 % of FaceForensics++'s real videos and on 90 % of FaceSwap, validates on a tenth of
each, and tests on the last tenth of the real ones and on all of NeuralTextures, or of Face2Face. The same
people are then in training and in test, and a detector that knows them by sight scores well. `--by frame`
even splits the frames of a video, `--by video` keeps them together. `--by person` deals out groups of people
who were exchanged with one another: a fake of whatever kind stands in the split of its people or nowhere, and
nothing is shared. A kind that is named on both sides is dealt out to all three splits, which shows what the
leak alone is worth. Train the same system on both sets, and measure; the leaky one with --allow-leaks.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from common.cli import parse
from common.locks import one_writer
from common.storage import write_rows
from data_sim.dataset import COLUMNS, unit_of, video_of
from data_sim.manifests import SPLITS, read_manifest

By = Literal["frame", "video", "person"]


@dataclass(frozen=True)
class SplitsConfig:
    manifest: Annotated[Path, tyro.conf.Positional]  # with the columns of data_sim.dataset
    out: Path  # the new manifest; beside the old one, because its paths are relative to it
    by: By = "person"  # what is never split: nothing, a video, or people who were exchanged with one another
    train_kinds: tuple[str, ...] = ("FaceSwap",)  # kinds of fakes in train and val
    test_kinds: tuple[str, ...] = ("NeuralTextures",)  # kinds of fakes in test
    sources: tuple[str, ...] = ()  # of the manifest that are used; empty: all
    val: float = 0.1  # share of real ones, and of the train kinds, that goes to val
    test: float = 0.1  # share of real ones, and of kinds that are in train and in test, that goes to test
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if min(self.val, self.test) <= 0 or self.val + self.test >= 1:
            problems.append(f"val and test must leave something to train on, got {self.val} and {self.test}")
        if self.out.parent.resolve() != self.manifest.parent.resolve():
            problems.append(f"out must lie beside {self.manifest}, because paths are relative to it")
        if problems:
            raise ValueError("; ".join(problems))


def main(args: list[str] | None = None) -> None:
    config = parse(SplitsConfig, __doc__, args)
    try:
        with one_writer(config.out):
            rows = [dict.fromkeys(COLUMNS, "") | row for row in read_manifest(config.manifest)]
            kept = split_again(rows, config)
            columns = list(dict.fromkeys([*kept[0], *COLUMNS]))
            write_rows(config.out, columns, kept)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    counts = Counter((row["split"], row["label"], row["kind"]) for row in kept)
    for split in SPLITS:
        for (where, label, kind), count in sorted(counts.items()):
            if where == split:
                print(f"{count:7d} faces  {split} / {label}{f' / {kind}' if kind else ''}")
    shared = len(people(kept, "train") & people(kept, "test"))
    print(f"{shared} people are in train and in test")


def split_again(rows: list[dict[str, str]], config: SplitsConfig) -> list[dict[str, str]]:
    """The rows that a protocol uses, each with its new split.

    rows: with all of data_sim.dataset.COLUMNS.
    Raises ValueError where a source or kind is missing or a split is empty.
    """
    sources = {row["source"] for row in rows}
    if absent := sorted(set(config.sources) - sources):
        raise ValueError(f"no source {', '.join(absent)}; the manifest has {sorted(sources)}")
    rows = [row for row in rows if not config.sources or row["source"] in config.sources]
    kinds = {row["kind"] for row in rows if row["label"] == "fake"}
    missing = [kind for kind in (*config.train_kinds, *config.test_kinds) if kind not in kinds]
    if missing:
        raise ValueError(f"no fakes of the kind {', '.join(missing)}; the manifest has {sorted(kinds)}")
    key = _key_of(rows, config.by)
    rng = np.random.default_rng(config.seed)
    reals = _dealt({key(row) for row in rows if row["label"] == "real"}, config, rng)
    dealt = {
        kind: reals
        if config.by == "person"  # a fake follows its people
        else _dealt_kind(kind, {key(row) for row in rows if row["kind"] == kind}, config, rng)
        for kind in dict.fromkeys((*config.train_kinds, *config.test_kinds))
    }
    kept = []
    for row in rows:
        real = row["label"] == "real"
        split = (reals if real else dealt.get(row["kind"], {})).get(key(row), "")
        allowed = config.test_kinds if split == "test" else config.train_kinds
        if split and (real or row["kind"] in allowed):
            kept.append({**row, "split": split})
    for split in SPLITS:
        if {row["label"] for row in kept if row["split"] == split} != {"real", "fake"}:
            raise ValueError(
                f"split {split} has not both real faces and fakes: too few to split, or no pairs"
            )
    return kept


def people(rows: list[dict[str, str]], split: str) -> set[str]:
    """Everyone who is seen in a split."""
    return {
        person
        for row in rows
        if row["split"] == split
        for person in (row["identity"].split("|") if row["identity"] else [unit_of(row)])
    }


def _key_of(rows: list[dict[str, str]], by: By):
    """What a row is dealt out by, as a function of the row."""
    if by == "frame":
        return lambda row: (*video_of(row), row["frame"], row["path"])
    if by == "video":
        return video_of
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for row in rows:
        names = row["identity"].split("|") if row["identity"] else [unit_of(row)]
        for other in [*names[1:], *([f"group {row['group']}"] if row["group"] else [])]:
            parent[root(other)] = root(names[0])
    return lambda row: root((row["identity"].split("|") if row["identity"] else [unit_of(row)])[0])


def _dealt(
    keys: set, config: SplitsConfig, rng: np.random.Generator, test: float | None = None
) -> dict[object, str]:
    """A split for every key, in the shares of the config."""
    order = sorted(keys)
    rng.shuffle(order)
    order = [tuple(key) if isinstance(key, list | np.ndarray) else key for key in order]
    num_val = round(config.val * len(order))
    num_test = round((config.test if test is None else test) * len(order))
    names = ["val"] * num_val + ["test"] * num_test
    names += ["train"] * (len(order) - len(names))
    return dict(zip(order, names, strict=True))


def _dealt_kind(kind: str, keys: set, config: SplitsConfig, rng: np.random.Generator) -> dict[object, str]:
    """A split for every key of a kind of fakes, where these do not follow their people."""
    if kind not in config.train_kinds:
        return dict.fromkeys(keys, "test")
    return _dealt(keys, config, rng, test=None if kind in config.test_kinds else 0.0)


if __name__ == "__main__":
    main()
