"""ROC, DET, reliability, Tippett, coverage and score plots of a file of results, as SVG.

One panel per source, so that a panel holds few curves; the legend stands under its panel, never over the
data. Colours are Okabe and Ito's, distinguishable with every common kind of colour vision; curves differ by
dashes too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from evaluation.metrics.levels import Comparison, comparisons, labels_of, score_videos, videos_of
from evaluation.results import SIMULATED, Item
from kfd.calibration.likelihood_ratio import ECE_BINS, coverage_accuracy
from kfd.config import Decision

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from evaluation.metrics.video import Method

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (6, 2)))
REAL, FAKE, GREY = "#0072b2", "#d55e00", "#8a97a5"
COLUMNS = 3  # panels beside each other
PANEL = 3.7  # inches
FEWEST = 5  # faces of a bin that is drawn
SUREST = 1e-9  # a score is drawn no nearer to 0 and 1: the items' nine digits tell no more
STYLE = {
    "svg.hashsalt": "unmask", "font.family": "DejaVu Sans", "font.size": 8.5, "axes.titlesize": 9.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#48586a", "axes.grid": True,
    "grid.color": "#e6ebf1", "grid.linewidth": 0.8, "axes.axisbelow": True, "legend.frameon": False,
    "legend.fontsize": 7.5, "lines.linewidth": 1.6,
}  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """A picture with the words for those who do not see it. svg: a whole SVG document."""

    title: str
    caption: str
    svg: bytes


@dataclass(frozen=True)
class Curve:
    """Real and fake values of one comparison. labels: (N,) 0 or 1. values: (N,). name: for the legend."""

    name: str
    labels: np.ndarray
    values: np.ndarray


def draw_plots(results: Mapping[str, object], items: Sequence[Item]) -> dict[str, Plot]:
    """The plots of a measurement by the name of their file; none where no kind has real and fake faces."""
    panels = _panels(items, np.array([item.logit for item in items]), comparisons(items))
    if not panels:
        return {}
    scores = np.array([item.score for item in items])
    wholes = [c for c in comparisons(items) if c.name.startswith("all ") or c.name == SIMULATED]
    by_score = _panels(items, scores, wholes)
    decision = Decision(**results["decision"])
    thresholds = decision.real_below, decision.fake_above
    plots = {
        "roc": _plot(
            "ROC, each face", "True against false positive rate; the diagonal is guessing.", panels, _roc
        ),
        "det": _plot(
            "DET, each face",
            "Missed fakes against false alarms on normal-deviate axes; lower and further left is better.",
            panels,
            _det,
        ),
        "reliability": _plot(
            "Reliability",
            "Share of fakes among faces of about one score, real and fake weighted to be equally frequent; "
            "on the diagonal the score means what it says.",
            by_score,
            _reliability,
        ),
        "tippett": _plot(
            "Tippett plot",
            "Share of the faces whose log10 likelihood ratio is at least x, before it is cut at the bounds. "
            "Real faces right of 0 and fakes left of it are misleading evidence.",
            by_score,
            _tippett,
        ),
        "coverage": _plot(
            "Coverage and accuracy",
            "Accuracy among the faces decided, where those farthest from an even score are decided first.",
            by_score,
            _coverage,
        ),
        "scores": _plot(
            "Distribution of scores",
            f"Dashed lines: real at {thresholds[0]:.3g} or less, fake at {thresholds[1]:.3g} or more.",
            by_score,
            lambda axes, curves: _distribution(axes, curves, thresholds),
        ),
    }
    if "video" in results["results"]:
        plots["roc-video"] = _plot(
            "ROC, each video",
            f"Aggregation {results['aggregation']}; true against false positive rate.",
            _video_panels(items, decision, results["aggregation"]),
            _roc,
        )
    return plots


def _panels(items: Sequence[Item], values: np.ndarray, found: Sequence[Comparison]) -> dict[str, list[Curve]]:
    """Curves by source; the source's reals with each of its kinds of fakes, and the simulation."""
    panels: dict[str, list[Curve]] = {}
    drawn: set[frozenset[int]] = set()
    whole = {c.name for c in found if c.name.startswith("all ")}
    for comparison in found:
        some = [items[i] for i in comparison.positions]
        labels = labels_of(some)
        same = frozenset(comparison.positions.tolist())
        if len(set(labels.tolist())) < 2 or same in drawn:  # a source's one kind is the whole of it again
            continue
        drawn.add(same)
        fakes = {item.source for item in some if item.label == "fake"}
        source = "simulated forgeries" if comparison.name == SIMULATED else " and ".join(sorted(fakes))
        name = comparison.name.removeprefix("all ") if len(whole) == len(found) else comparison.name
        panels.setdefault(source, []).append(Curve(name, labels, values[comparison.positions]))
    return panels


def _video_panels(items: Sequence[Item], decision: Decision, method: Method) -> dict[str, list[Curve]]:
    scores, found = score_videos(items, decision, method), videos_of(items)
    videos, values = list(found.values()), np.array([scores[key] for key in found])
    return _panels(videos, values, comparisons(videos))


def _plot(
    title: str,
    caption: str,
    panels: Mapping[str, list[Curve]],
    fill: Callable[[Axes, list[Curve]], None],
) -> Plot:
    """Draw one panel per source and write the SVG."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    deepest = max(len(curves) for curves in panels.values())
    with rc_context(STYLE):
        figure = Figure((PANEL * columns, (PANEL + 0.2 * deepest) * rows), layout="constrained")
        FigureCanvasAgg(figure)
        every = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for axes, (source, curves) in zip(every, panels.items(), strict=False):
            axes.set_title(source, loc="left")
            fill(axes, curves)
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), borderaxespad=0.0, handlelength=2.6)
        for axes in every[len(panels) :]:
            axes.set_axis_off()
        file = BytesIO()
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    return Plot(title, caption, file.getvalue())


def _counted(curve: Curve) -> str:
    return f"{curve.name} (n = {(curve.labels == 0).sum()} real, {(curve.labels == 1).sum()} fake)"


def _roc(axes: Axes, curves: list[Curve]) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    for k, curve in enumerate(curves):
        fpr, tpr, _ = roc_curve(curve.labels, curve.values)
        told = f"{_counted(curve)}, AUC {roc_auc_score(curve.labels, curve.values):.3f}"
        axes.plot(fpr, tpr, label=told, color=COLOURS[k % 7], linestyle=DASHES[k % 7])
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1), aspect=1)


def _det(axes: Axes, curves: list[Curve]) -> None:
    from scipy.stats import norm
    from sklearn.metrics import det_curve

    marks = np.array([0.01, 0.05, 0.2, 0.5, 0.8, 0.95])
    for k, curve in enumerate(curves):
        fpr, fnr, _ = det_curve(curve.labels, curve.values)
        least = [0.5 / (curve.labels == label).sum() for label in (0, 1)]  # half an item
        x, y = (norm.ppf(np.clip(r, m, 1 - m)) for r, m in zip((fpr, fnr), least, strict=True))
        axes.plot(x, y, label=_counted(curve), color=COLOURS[k % 7], linestyle=DASHES[k % 7])
    ticks, names = norm.ppf(marks), [f"{mark:.0%}" for mark in marks]
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    ends = norm.ppf([0.004, 0.985])
    axes.set(xlabel="false positive rate", ylabel="miss rate", xlim=ends, ylim=ends, aspect=1)


def _reliability(axes: Axes, curves: list[Curve]) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    edges = np.linspace(0, 1, ECE_BINS + 1)
    for k, curve in enumerate(curves):
        bins = np.clip(np.digitize(curve.values, edges) - 1, 0, ECE_BINS - 1)
        share = [np.bincount(bins[curve.labels == label], minlength=ECE_BINS) for label in (0, 1)]
        counts = share[0] + share[1]
        real, fake = (part / part.sum() for part in share)
        shown = counts >= FEWEST
        x = [curve.values[bins == b].mean() for b in np.flatnonzero(shown)]
        y = fake[shown] / (real + fake)[shown]
        axes.plot(x, y, marker="o", markersize=4, label=_counted(curve), color=COLOURS[k % 7])
    axes.set(xlabel="score", ylabel="share of fakes at even odds", xlim=(0, 1), ylim=(-0.02, 1.02), aspect=1)


def _tippett(axes: Axes, curves: list[Curve]) -> None:
    for k, curve in enumerate(curves):
        scores = np.clip(curve.values, SUREST, 1 - SUREST)
        log10_lrs = np.log10(scores) - np.log10(1 - scores)
        for label, name, colour in ((0, "real", REAL), (1, "fake", FAKE)):
            own = np.sort(log10_lrs[curve.labels == label])
            told = f"{curve.name}: {name} (n = {len(own)})"
            shares = 1 - np.arange(len(own)) / len(own)
            axes.step(own, shares, where="pre", label=told, color=colour, linestyle=DASHES[k % 7])
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="log10 likelihood ratio at least", ylabel="share of the faces", ylim=(0, 1))


def _coverage(axes: Axes, curves: list[Curve]) -> None:
    for k, curve in enumerate(curves):
        coverage, accuracy = coverage_accuracy(curve.values, curve.labels)
        axes.plot(coverage, accuracy, label=_counted(curve), color=COLOURS[k % 7], linestyle=DASHES[k % 7])
    axes.set(xlabel="share of the faces decided", ylabel="accuracy among them", xlim=(0, 1), ylim=(0.4, 1))


def _distribution(axes: Axes, curves: list[Curve], thresholds: tuple[float, float]) -> None:
    edges = np.linspace(0, 1, 26)
    for curve in curves:
        for label, name, colour in ((0, "real", REAL), (1, "fake", FAKE)):
            values = curve.values[curve.labels == label]
            weights = np.full(len(values), 1 / len(values))
            told = f"{name} (n = {len(values)})"
            axes.hist(values, edges, weights=weights, color=colour, alpha=0.35, label=told)
            axes.hist(values, edges, weights=weights, color=colour, histtype="step", linewidth=1.3)
    for threshold in thresholds:
        axes.axvline(threshold, color="#1d2733", linewidth=1, linestyle="--")
    axes.set(xlabel="score", ylabel="share of its class", xlim=(0, 1))
