"""Compare the regions that an answer names with those that were forged."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from tqdm import tqdm

from common.verdicts import Verdict
from data_sim.dialogue import questions
from evaluation.metrics.classification import Figure, draw, figure_of
from llm.conversation import Conversation
from llm.model import ForgeryLLM
from llm.training.cases import GroundedCases
from media.regions import REGION_NAMES, REGIONS, WHOLE_FACE

_WORDS = {region.words: region.name for region in REGIONS}
_NAMED = re.compile("|".join(sorted(map(re.escape, _WORDS), key=len, reverse=True)), re.IGNORECASE)


def regions_in(text: str) -> tuple[str, ...]:
    """The regions a text mentions, by name, in order of appearance."""
    return tuple(dict.fromkeys(_WORDS[found.lower()] for found in _NAMED.findall(text)))


def region_f1(named: Sequence[Sequence[str]], forged: Sequence[Sequence[str]]) -> float:
    """Micro-averaged F1 of named against forged regions over all faces; 0 when nothing is right."""
    hits = sum(len(set(n) & set(f)) for n, f in zip(named, forged, strict=True))
    mentioned = sum(len(set(n)) for n in named) + sum(len(set(f)) for f in forged)
    return 2 * hits / mentioned if mentioned else 0.0


def f1_figure(named: Sequence[Sequence[str]], forged: Sequence[Sequence[str]]) -> Figure:
    """`region_f1` with its 95 % interval, by bootstrap over the faces."""
    pairs = [(set(n), set(f)) for n, f in zip(named, forged, strict=True)]
    hits = np.array([2.0 * len(n & f) for n, f in pairs])
    mentioned = np.array([float(len(n) + len(f)) for n, f in pairs])

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"f1": weights @ hits / np.maximum(weights @ mentioned, 1.0)}

    units = [str(place) for place in range(len(pairs))]
    spread, few = draw(statistics, np.ones(len(pairs), dtype=int), units)
    return figure_of(region_f1(named, forged), None, spread.get("f1"), few)


def best_constant(forged: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], float]:
    """The one answer, of one to three regions, that scores best when given to every face, and its F1."""
    choices = [c for size in (1, 2, 3) for c in combinations(REGION_NAMES, size)]
    scored = [(region_f1([choice] * len(forged), forged), choice) for choice in choices]
    value, choice = max(scored)
    return choice, value


def measure_regions(
    model: ForgeryLLM, faces: GroundedCases, max_new_tokens: int, rng: random.Random
) -> dict[str, object]:
    """F1 of the regions named for forgeries that the detector does not call real.

    sighted: the model as it is. blind: the same with the soft prompts of another forgery. checked: as the app
    says it, every sentence held against the heat map. heatmap: what the heat map points at. best_constant:
    the one answer that would do best if given to all. of_heatmap: F1 against the regions that the heat map
    points at, whatever the truth: does the model say what it was shown? silent: share without any region.
    Fewer than two such forgeries give a reason instead of figures.
    """
    rows = [r for r, case in enumerate(faces.cases) if faces.labels[r] == 1 and case.verdict != Verdict.REAL]
    if len(rows) < 2:
        return {"reason": f"{len(rows)} forgeries not called real, at least 2 are needed"}
    wordings = questions("where", heldout=True)
    named: dict[str, list[tuple[str, ...]]] = {"sighted": [], "blind": [], "checked": []}
    for place, row in enumerate(tqdm(rows, desc="regions", mininterval=5)):
        asked = rng.choice(wordings)
        other = rows[(place + rng.randrange(1, len(rows))) % len(rows)]  # any forgery but this one
        for eyes, seen in (("sighted", row), ("blind", other), ("checked", row)):
            conversation = Conversation(model, faces.cases[row], faces.detection([seen], model.device))
            answer = conversation.ask(asked, max_new_tokens, checked=eyes == "checked")
            named[eyes].append(regions_in("".join(answer)))
    named["heatmap"] = [faces.cases[row].regions for row in rows]
    forged = [faces.forged[row] for row in rows]
    figures: dict[str, object] = {"all": _compare(named, forged, range(len(rows)))}
    local = [place for place, names in enumerate(forged) if WHOLE_FACE not in names]
    if 0 < len(local) < len(rows):
        figures["local"] = _compare(named, forged, local)
    read = {name: f1_figure(named[name], named["heatmap"]) for name in ("sighted", "blind", "checked")}
    silent = {
        name: sum(not regions for regions in named[name]) / len(rows) for name in ("sighted", "heatmap")
    }
    return figures | {"of_heatmap": read, "silent": silent}


def _compare(
    named: dict[str, list[tuple[str, ...]]], forged: list[tuple[str, ...]], places: Sequence[int]
) -> dict[str, object]:
    """F1 of every reader, and of the best constant answer, on some of the forgeries."""
    truth = [forged[place] for place in places]
    constant, constant_f1 = best_constant(truth)
    readers = {reader: f1_figure([names[p] for p in places], truth) for reader, names in named.items()}
    return {"forgeries": len(truth), **readers, "best_constant": constant_f1, "constant": list(constant)}
