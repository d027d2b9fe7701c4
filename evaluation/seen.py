"""Whether a detector was trained on a kind of forgery: the first thing to know about its figure.

By the record that kfd.train keeps beside the weights (kfd.training.record). Without one, and of forgeries
simulated here, which every recipe trains on, nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.metrics.classification import Figure, figure_of
from evaluation.metrics.levels import Level, comparisons
from evaluation.results import SIMULATED, Item
from kfd.training.record import World

SEEN, UNSEEN, PARTLY = "yes", "no", "some"
ALL = "all "  # a comparison of a whole source is called so


def seen_in_training(items: Sequence[Item], worlds: Mapping[World, int]) -> dict[str, dict[str, str]]:
    """By comparison: whether its `kind` of forgery, and its `source` of real photographs, was trained on.

    Each is "yes", "no", or "some" where a comparison holds several and only some were; a comparison without
    fakes has no `kind`.
    """
    kinds = {kind for label, _, kind in worlds if label == "fake"}
    sources = {source for label, source, _ in worlds if label == "real"}
    found = {}
    for comparison in comparisons(items):
        if comparison.name == SIMULATED:
            continue
        some = [items[place] for place in comparison.positions]
        own_kinds = {item.kind for item in some if item.label == "fake"}
        own_sources = {item.source for item in some if item.label == "real"}
        told = {"kind": _share(own_kinds, kinds), "source": _share(own_sources, sources)}
        found[comparison.name] = {name: word for name, word in told.items() if word}
    return found


def _share(own: set[str], known: set[str]) -> str:
    if not own:
        return ""
    return SEEN if own <= known else PARTLY if own & known else UNSEEN


def by_seen(frame: Level, seen: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, object]]:
    """Mean figures over the kinds that were trained on and over those that were not, each kind counting once.

    frame: figures of the comparisons at frame level. Returns by "yes" and "no": `kinds` and `fake`, how many
    kinds and fakes; and the means of `auc`, `fake_called_fake`, `real_called_fake`.
    """
    found = {}
    for word in (SEEN, UNSEEN):
        names = [n for n, told in seen.items() if not n.startswith(ALL) and told.get("kind") == word]
        if not names:
            continue
        levels = [frame[name] for name in names]
        found[word] = {
            "kinds": len(names),
            "fake": sum(level["fake"] for level in levels),
            "auc": _mean([_value(level["auc"]) for level in levels]),
            "fake_called_fake": _mean([_found(level) for level in levels]),
            "real_called_fake": _mean([_value(level["real_called_fake"]) for level in levels]),
        }
    return found


def _value(figure: Mapping[str, object]) -> float | None:
    return figure["value"]


def _found(level: Mapping[str, object]) -> float | None:
    """Share of the fakes called fake: what is neither called real nor inconclusive."""
    rest = [_value(level[name]) for name in ("fake_called_real", "inconclusive_fake")]
    return None if None in rest else 1 - sum(rest)


def _mean(values: Sequence[float | None]) -> Figure:
    known = [value for value in values if value is not None]
    return figure_of(float(np.mean(known)) if known else None, None, None, "a mean over kinds")
