"""evaluation.withhold: what is not worth giving beside a second verdict, by figures of validation alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.storage import read_config
from evaluation.detector import main as measure
from evaluation.withhold import main
from kfd.config import Decision
from kfd.scoring.withheld import WITHHELD_FILE, Withheld, place_of
from tests.tiny.checkpoint import save_opposed_opinions
from tests.tiny.faces import add_known_fakes, save_tiny_faces, soften_crops
from tests.tiny.kfd import save_tiny_kfd

SURE = Decision(real_below=0.001, fake_above=0.002, fitted_on="a test", min_sharpness=0.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> tuple[Path, str]:
    """A detector that calls every face fake, one that calls every face real, and their figures."""
    folder = tmp_path_factory.mktemp("withhold")
    save_tiny_kfd(folder / "kfd", SURE)
    lenient, _ = save_opposed_opinions(folder, folder / "kfd")
    data = add_known_fakes(
        soften_crops(save_tiny_faces(folder / "set", faces=12, splits=("train", "val", "test")))
    )
    for name, kfd, split in (("a", "kfd", "val"), ("b", "lenient", "val"), ("test", "kfd", "test")):
        words = {"data": data, "split": split, "checkpoint": folder / kfd, "simulated": 0,
                 "num-resamples": 50, "out": folder / f"{name}.json"}  # fmt: skip
        words |= {"encoder": folder / "kfd"} if kfd == "lenient" else {}
        measure(["--allow-leaks", *(str(w) for name, value in words.items() for w in (f"--{name}", value))])
    return folder, lenient


def words_of(place: tuple[Path, str], first: str = "a") -> list[str]:
    folder, second = place
    words = [folder / f"{first}.json", folder / "b.json", "--opinion", second, "--checkpoint", folder / "kfd"]
    return [str(word) for word in [*words, "--num-resamples", 50]]


def test_a_verdict_that_is_worth_nothing_beside_its_opposite_is_withheld(place, capsys):
    main(words_of(place))
    found = read_config(Withheld, place[0] / "lenient" / WITHHELD_FILE)
    # Every face, real or fake, is called fake by the one and real by the other: the ratio is one.
    assert found.places == (place_of("fake", "says the opposite"),)
    assert "withheld: fake, the second says the opposite" in capsys.readouterr().out
    assert found.fitted_on == "validation, 12 real and 12 fake faces with a verdict"


def test_figures_of_another_split_or_of_other_weights_are_refused(place, tmp_path):
    with pytest.raises(SystemExit, match="measured on split test"):
        main(words_of(place, "test"))
    results = json.loads((place[0] / "a.json").read_text())
    results["checkpoint"]["decision"] = "0" * 64
    (place[0] / "old.json").write_text(json.dumps(results))
    with pytest.raises(SystemExit, match="other weights or thresholds"):
        main(words_of(place, "old"))
