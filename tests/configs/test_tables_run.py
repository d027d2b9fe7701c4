"""The paper's tables, row by row, on tiny random models and faces: every command of configs/tables runs as it
stands there, on its own file, with the sizes, counts and the device alone made small."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from evaluation.results import read_results
from kfd.checkpoint import load_kfd
from llm.model import read_info
from tests.tiny.general import save_general
from tests.tiny.tables import TABLES, save_set, save_tables

SECTIONS = (TABLES / "README.md").read_text(encoding="utf-8").split("## Table ")[1:]
SETS = ("ffpp", "cdf1", "cdf2", "dfd", "dfdc", "dfdcp")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Sets, general data, ImageBind and language models, and the tables' files made small."""
    folder = save_tables(tmp_path_factory.mktemp("tables"))
    for seed, name in enumerate(SETS):
        save_set(folder / "SETS" / name, seed)
    save_general(folder)
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
