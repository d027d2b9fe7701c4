"""The paper's tables, row by row, on tiny random models and faces: every command of configs/tables runs as it
stands there, on its own file, with the sizes, counts and the device alone made small."""

from __future__ import annotations

import csv
import importlib
import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from data_sim.dataset import COLUMNS
from evaluation.results import read_results
from kfd.checkpoint import load_kfd
from llm.model import read_info
from tests.tiny.encoders import IMAGEBIND, SIZE, save_imagebind
from tests.tiny.faces import add_known_fakes, save_tiny_faces
from tests.tiny.general import save_general
from tests.tiny.llm import save_base, save_vicuna_base

TABLES = Path(__file__).parents[2] / "configs" / "tables"
SECTIONS = (TABLES / "README.md").read_text(encoding="utf-8").split("## Table ")[1:]
SETS = ("ffpp", "cdf1", "cdf2", "dfd", "dfdc", "dfdcp")
# What a table's file asks for, made small; nothing else of it changes.
SMALL = {
    "kfd.train": {"encoder_settings": IMAGEBIND, "epochs": 1.0, "batch": 2, "val_images": 2},
    "evaluation.detector": {"num_resamples": 4},
    "llm.finetune": {"epochs": 0.5, "batch_size": 2, "accumulate": 1, "rank": 2, "num_prompts": 3,
                     "val_faces": 2, "val_general": 4},
    "llm.benchmark": {"num_resamples": 4},
}  # fmt: skip


def save_set(folder: Path, seed: int) -> None:
    """Faces of noise, no two sets alike, two frames of a video each, with known fakes."""
    save_tiny_faces(folder, SIZE, 4, ("train", "val", "test"))
    crops = np.load(folder / "crops.npy")
    np.save(folder / "crops.npy", np.random.default_rng(seed).integers(0, 255, crops.shape).astype(np.uint8))
    add_known_fakes(folder, SIZE)
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [dict.fromkeys(COLUMNS, "") | row for row in csv.DictReader(file)]
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            video = f"{folder.name}-{int(row['group']) // 2}"
            names = {"path": f"{folder.name}/{row['path']}", "source": folder.name}
            writer.writerow(row | names | {"group": video, "video": video, "frame": row["group"]})


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Sets, general data, ImageBind and language models, and the tables' files made small."""
    folder = tmp_path_factory.mktemp("tables")
    for seed, name in enumerate(SETS):
        save_set(folder / "SETS" / name, seed)
    save_general(folder)
    save_imagebind(folder / "imagebind")
    models = {"vicuna": save_vicuna_base(folder / "vicuna"), "llama": save_base(folder / "llama", width=64)}
    for path in TABLES.glob("*.yaml"):
        module = path.name.split(".", 1)[1].removesuffix(".yaml")
        values = yaml.safe_load(path.read_text()) | SMALL[module] | {"device": "cpu"}
        if module == "kfd.train":
            values["encoder_weights"] = str(folder / "imagebind")
            values["encoder"] = "imagebind-huge"
            if values.get("train_images"):
                values |= {"epochs": 0.0, "steps": 2}
        if module == "llm.finetune":
            values["llm"] = str(models["vicuna" if values["template"] == "vicuna" else "llama"])
            values["template"] = "vicuna"  # a tiny Llama has no chat template
            values["encoder"] = str(folder / "imagebind")
            values["system"] = ""
        if module in ("llm.benchmark", "evaluation.detector"):
            values["encoder"] = str(folder / "imagebind")
        (folder / path.name).write_text(yaml.safe_dump(values))
    run_table(folder, 1, only="kfd.train")
    return folder


def run_table(place: Path, number: int, only: str = "", each: tuple[str, ...] = ("dfdc",)) -> list[Path]:
    """Run every command of a table's section; returns the reports that were written.

    each: the sets that "each" stands for. only: commands of this module alone.
    """
    reports = []
    for command in re.findall(r"`python -m ([^`]+)`", SECTIONS[number - 1]):
        module, *words = shlex.split(command)
        if only and module != only:
            continue
        for name in each if "SETS/NAME" in words else ("",):
            filled = [_filled(word, place, name) for word in words]
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(place)
                patch.setattr(sys, "argv", [module, *filled])
                importlib.import_module(module).main()
            reports += [Path(after) for word, after in pairwise(filled) if word == "--report"]
    return reports


def _filled(word: str, place: Path, name: str) -> str:
    if word.startswith("configs/tables/"):
        return str(place / Path(word).name)
    if "/" in word and word.split("/")[0] not in ("SETS", "RUNS"):
        return str(place / "llama")  # another language model of the hub
    word = {"GENERAL.json": "general.json", "IMAGES": "pictures"}.get(word, word).replace("NAME", name)
    if word.isdigit():  # so many photographs, of which tiny sets have two
        return "2"
    return str(place / word) if word.startswith(("SETS", "RUNS", "general", "pictures")) else word


def videos(report: Path) -> dict[str, object]:
    """AUC of videos, all known fakes against all real ones."""
    return read_results(report / "results.json")[0]["results"]["video"]


def test_table_5_trains_on_other_sets_and_measures_videos(place: Path) -> None:
    reports = run_table(place, 5, each=("ffpp", "dfdc"))
    assert [report.name for report in reports] == ["table5-cdf2-ffpp", "table5-cdf2-dfdc"]
    for report in reports:
        auc = next(iter(videos(report).values()))["auc"]["value"]
        assert 0 <= auc <= 1
    digests = {load_kfd(place / "RUNS" / run, place / "imagebind")[0].alignment.context.sum().item()
               for run in ("kfd", "kfd-cdf2", "kfd-dfdcp")}  # fmt: skip
    assert len(digests) == 3, "each set gives another detector"


def test_table_6_fits_other_language_models_and_measures_their_answers(place: Path) -> None:
    (report,) = run_table(place, 6)
    results = read_results(report / "results.json")[0]
    assert results["base_in_4_bits"] and results["hard"]["video"] and report.name == "table6-llama-1b-dfdc"
    for run in ("llama-1b", "llama-3b"):
        assert read_info(place / "RUNS" / run).base.endswith("llama")


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_other_tables_run_too(place: Path, number: int) -> None:
    reports = run_table(place, number)
    assert reports and all(videos(report) for report in reports)
