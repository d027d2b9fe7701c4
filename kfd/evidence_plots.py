"""Tippett plot and coverage-accuracy curve as matplotlib figures; reliability is in kfd.plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kfd.evidence import coverage_accuracy
from kfd.plots import FAKE, GREY, PANEL, REAL, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def tippett(log10_lrs: np.ndarray, labels: np.ndarray, bounds: tuple[float, float] | None = None) -> Figure:
    """Share of the real and of the fake faces whose log10 LR is at least x.

    Where the curve of the reals is above zero right of 0, and that of the fakes below one left of it, the
    evidence misleads. log10_lrs: (N,). labels: (N,) 0 real, 1 fake. bounds: drawn as dashed lines.
    """
    figure, axes = _axes("log10 likelihood ratio at least", "share of the faces")
    for label, name, colour in ((0, "real", REAL), (1, "fake", FAKE)):
        own = np.sort(np.asarray(log10_lrs, dtype=np.float64)[np.asarray(labels) == label])
        shares = 1 - np.arange(len(own)) / max(1, len(own))
        axes.step(own, shares, where="pre", color=colour, label=f"{name} ({len(own)})")
    for at in (0.0, *(bounds or ())):
        axes.axvline(at, color=GREY, linewidth=0.8, linestyle="-" if at == 0 else "--")
    axes.set_ylim(0, 1)
    axes.legend(loc="lower left")
    return figure


def coverage_plot(scores: np.ndarray, labels: np.ndarray) -> Figure:
    """Accuracy among the decided faces against the share that is decided; see `coverage_accuracy`."""
    coverage, accuracy = coverage_accuracy(scores, labels)
    figure, axes = _axes("coverage: share of the faces decided", "accuracy among them")
    axes.plot(coverage, accuracy, color=REAL)
    axes.set_xlim(0, 1)
    axes.set_ylim(min(0.5, float(accuracy.min())), 1)
    return figure


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure((1.4 * PANEL, PANEL), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
    return figure, axes
