"""Whose real photographs are called fake? False positives by age, gender and race.

UTKFace names its files age_gender_race_date; other sets carry no such labels. The labels are UTKFace's own,
estimated by its authors and of two genders and five races only; the names below are the ones it documents.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal

from common.verdicts import Verdict
from evaluation.metrics.classification import Figure, wilson_interval
from evaluation.results import SIMULATED, Item

Label = Literal["age", "gender", "race"]
GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "other")
UNKNOWN = "unknown"
OLDEST_BAND = 70  # years; everybody from here on is one band
_NAMED = re.compile(r"(?:^|[_/])(\d{1,3})_([01])_([0-4])_\d{14,}")


def labels_of_name(path: str, group: str = "") -> dict[Label, str] | None:
    """Age band, gender and race out of a UTKFace name, or None where it tells none.

    path: of the file. group: of the set, which may keep the name when the file does not.
    """
    found = _NAMED.search(PurePosixPath(path).name) or _NAMED.search(group)
    if found is None:
        return None
    age, gender, race = (int(text) for text in found.groups())
    start = min(age // 10 * 10, OLDEST_BAND)
    band = f"{start}+" if start == OLDEST_BAND else f"{start}-{start + 9}"
    return {"age": band, "gender": GENDERS[gender], "race": RACES[race]}


def fairness(items: Sequence[Item], by: Sequence[Label]) -> dict[str, dict[str, dict[str, object]]]:
    """Real photographs called fake, and left inconclusive, by label: label -> value -> figures.

    Photographs of a labelled source whose name tells no labels are counted under "unknown", and all together
    under "all". Intervals are Wilson's: each photograph is of another person. Empty without any labels.
    """
    reals = [item for item in items if item.label == "real" and item.kind != SIMULATED]
    told = [labels_of_name(item.path, item.unit) for item in reals]
    labelled = {item.source for item, labels in zip(reals, told, strict=True) if labels}
    if not labelled:
        return {}
    section: dict[str, dict[str, dict[str, object]]] = {}
    for label in by:
        values: dict[str, list[Item]] = {"all": []}
        for item, labels in zip(reals, told, strict=True):
            if item.source in labelled:
                values.setdefault(labels[label] if labels else UNKNOWN, []).append(item)
                values["all"].append(item)
        order = sorted(values, key=lambda value: (value == "all", value == UNKNOWN, value))
        section[label] = {value: _rates(values[value]) for value in order}
    return section


def _rates(items: list[Item]) -> dict[str, object]:
    verdicts = [item.verdict for item in items]
    return {
        "photos": len(items),
        "real_called_fake": _share(verdicts.count(Verdict.FAKE), len(items)),
        "inconclusive_real": _share(verdicts.count(Verdict.INCONCLUSIVE), len(items)),
    }


def _share(hits: int, count: int) -> Figure:
    low, high = wilson_interval(hits, count)
    return {"value": hits / count, "low": low, "high": high}
