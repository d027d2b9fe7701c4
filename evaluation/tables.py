"""Results as tables, in Markdown for the terminal and for a repository, and in one HTML file with plots."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.storage import write_atomically, write_text
from evaluation.metrics.levels import COVERAGES, coverage_name
from evaluation.results import Item
from evaluation.seen import by_seen
from kfd.calibration.map_cut import HALF
from kfd.config import Decision

Cell = str | int | Mapping[str, object] | None
NOTHING = "–"

RANKING = {
    "auc": "AUC", "ap": "AP", "eer": "EER", "eer_threshold": "EER at score", "tpr_at_fpr_1": "TPR at 1 % FPR",
    "tpr_at_fpr_5": "TPR at 5 % FPR",
}  # fmt: skip
VERDICTS = {
    "acc": "ACC", "f1": "F1", "real_called_fake": "real called fake",
    "inconclusive_real": "real inconclusive", "fake_called_real": "fake called real",
    "inconclusive_fake": "fake inconclusive",
}  # fmt: skip
CALIBRATION = {"cllr": "Cllr", "brier": "Brier", "ece": "ECE"} | {
    coverage_name(share): f"ACC, surest {round(100 * share)} %" for share in COVERAGES
}
SEEN_COLUMNS = ("kind trained on", "source trained on")
PLACES = {"pixel_auc": "pixel AUC", "iou": "IoU", "pointing": "pointing game"}
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1d2733; background: #fff;
       max-width: 1180px; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; margin-bottom: .25rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .3rem; }
p.note { color: #48586a; margin: .2rem 0 .6rem; max-width: 60rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .7rem; text-align: right; border-bottom: 1px solid #dde4ec; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #9aa9b9; font-weight: 600; vertical-align: bottom; white-space: normal; }
td small { display: block; color: #5b6b7c; font-size: .78rem; }
td.none { color: #5b6b7c; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; }
dt { color: #48586a; } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; } figcaption { color: #48586a; }
aside { border-left: 4px solid #0072b2; background: #f2f7fb; padding: .5rem .9rem; margin: 1rem 0; }
"""


@dataclass(frozen=True)
class Table:
    """A heading, a sentence on how to read it, and rows whose first cell is their name.

    A cell is text, a count, a figure (evaluation.metrics.classification.Figure), or None for nothing to say.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def tables(results: Mapping[str, object]) -> list[Table]:
    """The tables of a file of results, in reading order."""
    found = _level(results, "frame", "each face")
    if "video" in results["results"]:
        found += _level(results, "video", f"each video, aggregation `{results['aggregation']}`")
        found.append(_aggregations(results["aggregations"]))
    found += [_calibration(results["calibration"])] if results.get("calibration") else []
    found += [_confounders(results["confounders"])] if results.get("confounders") else []
    for label, values in (results.get("fairness") or {}).items():
        found.append(_fairness(label, values, str(results["data"]["split"])))
    if results["failures"]:
        found.append(_failures(results["failures"]))
    return found


def _failures(lost: Sequence[Mapping[str, object]]) -> Table:
    names = ("reason", "split", "source", "label")
    rows = tuple((*(str(f.get(name, "")) for name in names), f["count"]) for f in lost)
    note = "Files that gave no score. They are in no figure: a failure is never a score."
    return Table("Without a score", note, (*names, "files"), rows)


def _level(results: Mapping[str, object], name: str, what: str) -> list[Table]:
    level, decision = results["results"][name], Decision(**results["decision"])
    counts, seen = ("kind", "real", "fake", "units"), results.get("seen")
    best = {kind: _strongest(facts) for kind, facts in (results.get("confounders") or {}).items()}
    rows = tuple(
        (kind, *(f[n] for n in (*counts[1:], *RANKING)), best.get(kind), *_seen_cells(seen, kind))
        for kind, f in level.items()
        if f["fake"]
    )
    note = (
        "Area and error rates with 95 % bootstrap intervals over units: persons where known, else groups. "
        "Last column: the AUC that the strongest fact about the file or crop reaches without a detector."
    )
    columns = (*counts, *RANKING.values(), "strongest confounder")
    if seen is not None:
        columns = (*columns, *SEEN_COLUMNS)
        note += " Trained on: whether this kind of forgery, and these sources of real faces, were."
    found = [Table(f"Ranking, {what}", note, columns, rows)]
    if seen is not None and name == "frame":
        found.append(_by_seen(by_seen(level, seen)))
    note = (
        f"Fake at a score of {decision.fake_above:.3g} or more, real at {decision.real_below:.3g} or less, "
        f"inconclusive between{_beside_thresholds(results, name)}; "
        f"fitted on: {decision.fitted_on}. ACC and F1 decide all, at the first threshold."
    )
    rows = tuple((kind, f["real"], f["fake"], *(f[n] for n in VERDICTS)) for kind, f in level.items())
    found.append(Table(f"Verdicts, {what}", note, ("kind", "real", "fake", *VERDICTS.values()), rows))
    found += _reasons(level)
    rows = tuple((kind, *(f[n] for n in PLACES)) for kind, f in level.items() if "iou" in f)
    if rows:
        cut = f"{HALF:g}" if decision.map_share is None else f"{decision.map_share:g} of its own peak"
        note = (
            f"Heat map, cut at {cut} for IoU, against the true mask, on the fakes that have one: the data "
            "set's own, else the difference to an aligned real face, else the union of the regions that it "
            "names."
        )
        found.append(Table("Localization", note, ("kind", *PLACES.values()), rows))
    return found


def _beside_thresholds(results: Mapping[str, object], name: str) -> str:
    """What else decides the verdicts of a level, to follow the thresholds."""
    if name == "frame":
        return ", or where the picture or its mirror image forbid a verdict"
    frames, method = results["decision"]["clip_frames"], results["aggregation"]
    if method == "vote":
        told = "so read single frames, and more than half of them decide for the video"
    elif method == "mean" and frames is not None:
        told = f"a mean of {frames} frames or more first goes through the line fitted on clips"
    else:
        told = "these are the thresholds of single faces, none was fitted for videos"
    return f"; {told}, and what forbids a verdict on a face is not counted"


def _seen_cells(seen: Mapping[str, Mapping[str, str]] | None, kind: str) -> tuple[Cell, ...]:
    """Of the columns SEEN_COLUMNS; none where nothing is known of the training."""
    if seen is None:
        return ()
    return tuple(seen.get(kind, {}).get(name) or None for name in ("kind", "source"))


def _by_seen(found: Mapping[str, Mapping[str, Cell]]) -> Table:
    names = {"auc": "AUC", "fake_called_fake": "fake called fake", "real_called_fake": "real called fake"}
    words = {"yes": "trained on", "no": "not trained on"}
    rows = tuple((words[word], f["kinds"], f["fake"], *(f[n] for n in names)) for word, f in found.items())
    note = (
        "Means over kinds of forgery, each counting once. What a detector does on kinds it never saw is what "
        "it will do on the next one."
    )
    return Table("Kinds seen in training and not", note, ("kinds", "number", "fake", *names.values()), rows)


def _reasons(level: Mapping[str, Mapping[str, object]]) -> list[Table]:
    """Count which reason withheld how many verdicts; no table where none did."""
    rows = [(f"{kind}, {label}", f["reasons"][label], f[label]) for kind, f in level.items() if "reasons" in f
            for label in ("real", "fake") if f[label]]  # fmt: skip
    names = sorted({name for _, counts, _ in rows for name in counts})
    if not names:
        return []
    note = "Faces without a verdict, by reason; a face may have several."
    cells = tuple((kind, total, *(counts.get(name, 0) for name in names)) for kind, counts, total in rows)
    return [Table("Why inconclusive", note, ("kind", "faces", *(n.replace("_", " ") for n in names)), cells)]


def _strongest(facts: Mapping[str, Mapping[str, object]]) -> str | None:
    """Name and AUC of the fact that separates best; an AUC below a half is no fact to win by."""
    known = {name: figure["value"] for name, figure in facts.items() if figure["value"] is not None}
    if not known:
        return None
    name = max(known, key=lambda fact: known[fact])
    return f"{known[name]:.3f} {name}"


def _calibration(level: Mapping[str, Mapping[str, Cell]]) -> Table:
    rows = tuple((kind, *(f.get(name) for name in CALIBRATION)) for kind, f in level.items())
    note = (
        "Does the score mean what it says, real and fake counting equally? Cllr: cost of the likelihood "
        "ratio; 0 is perfect, 1 says nothing, above 1 misleads. Brier: 0.25 says nothing. ECE: mean gap. "
        "ACC: share decided rightly, at an even score, when only the surest scores are decided."
    )
    return Table("Calibration, each face", note, ("kind", *CALIBRATION.values()), rows)


def _confounders(found: Mapping[str, Mapping[str, Mapping[str, object]]]) -> Table:
    names = list(dict.fromkeys(name for facts in found.values() for name in facts if name != "all together"))
    columns = ("kind", *names, "all together")
    rows = tuple((kind, *(facts.get(name) for name in columns[1:])) for kind, facts in found.items())
    note = (
        "AUC without looking at the forgery: a logistic regression on the fact alone, fitted on other "
        "groups. Where it is far from 0.5, a detector may win by the fact instead of the trace."
    )
    return Table("Confounders", note, columns, rows)


def _aggregations(found: Mapping[str, Mapping[str, Cell]]) -> Table:
    kinds = list(dict.fromkeys(kind for by_kind in found.values() for kind in by_kind))
    rows = tuple((kind, *(by_kind.get(kind) for by_kind in found.values())) for kind in kinds)
    note = "AUC at video level. To choose among these is a choice like any other: make it on validation."
    return Table("Ways of aggregation", note, ("kind", *found), rows)


def _fairness(label: str, values: Mapping[str, Mapping[str, Cell]], split: str) -> Table:
    rows = tuple(
        (value, f["photos"], f["real_called_fake"], f["inconclusive_real"]) for value, f in values.items()
    )
    note = (
        f"Real photographs only, split {split}; Wilson intervals; labels as the data set gives them. Where "
        "the thresholds were fitted on this split, compare the rows with each other, not with a target rate."
    )
    return Table(f"Real photographs called fake, by {label}", note,
                 (label, "photos", "called fake", "inconclusive"), rows)  # fmt: skip


def to_markdown(found: Sequence[Table]) -> str:
    """Tables under headings; a missing figure is a dash, with its reason below the table."""
    parts = []
    for table in found:
        reasons: dict[str, int] = {}
        lines = [f"## {table.title}", "", table.note, "", "| " + " | ".join(table.columns) + " |",
                 "|---" + "|--:" * (len(table.columns) - 1) + "|"]  # fmt: skip
        for row in table.rows:
            cells = []
            for cell in row:
                text, reason = _text(cell)
                mark = f" [{reasons.setdefault(reason, len(reasons) + 1)}]" if reason else ""
                cells.append(text + mark)
            lines.append("| " + " | ".join(cells) + " |")
        if reasons:
            lines += ["", *(f"[{number}] {reason}  " for reason, number in reasons.items())]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _text(cell: Cell) -> tuple[str, str]:
    """A cell's text, and why something is missing in it."""
    if cell is None:
        return NOTHING, ""
    if not isinstance(cell, Mapping):
        return str(cell), ""
    value, low, high = (cell.get(name) for name in ("value", "low", "high"))
    reason = str(cell.get("reason", ""))
    if value is None:
        return NOTHING, reason
    return f"{value:.3f}" + ("" if low is None else f" ({low:.3f}–{high:.3f})"), reason


def write_report(folder: Path, results: Mapping[str, object], items: Sequence[Item]) -> None:
    """Write report.md, report.html (self-contained) and the plots as SVG files into `folder`."""
    from evaluation.plots import draw_plots

    plots = draw_plots(results, items)
    found = tables(results)
    for name, plot in plots.items():
        write_atomically(folder / f"{name}.svg", lambda part, svg=plot.svg: part.write_bytes(svg))
    markdown = "\n\n".join(
        ["# " + _title(results), *(f"* {name}: {value}" for name, value in _facts(results).items())]
        + [str(results.get("note", "")), to_markdown(found)]
        + [f"## {p.title}\n\n![{p.caption}]({name}.svg)\n\n{p.caption}" for name, p in plots.items()]
    ).replace("\n\n* ", "\n* ")
    write_text(folder / "report.md", markdown + "\n")
    page = _page(results, found, plots)
    write_text(folder / "report.html", page)


def _title(results: Mapping[str, object]) -> str:
    data = results["data"]
    return f"{results['checkpoint']['folder']} on {data['folder']}, split {data['split']}"


def _facts(results: Mapping[str, object]) -> dict[str, str]:
    environment = results["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    return {
        "command": f"`{results['command']}`",
        "measured": str(results["created"]),
        "detector": str(results["checkpoint"]["sha256"]),
        "data": f"{results['data']['sha256']}, crops of {results['data']['size']} pixels",
        "seeds": ", ".join(f"{name} {seed}" for name, seed in results["seeds"].items()),
        "code": f"commit {environment['commit']}; Python {environment['python']}, {packages}",
        "machine": f"{environment['platform']}, {environment['device']}, {environment['threads']} threads",
    }


def _page(results: Mapping[str, object], found: Sequence[Table], plots: Mapping[str, object]) -> str:
    title = html.escape(_title(results))
    facts = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value.strip('`'))}</dd>"
        for name, value in _facts(results).items()
    )
    note = f"<aside>{html.escape(str(results['note']))}</aside>" if results.get("note") else ""
    pictures = "".join(
        f"<h2>{html.escape(plot.title)}</h2><figure><img alt='{html.escape(plot.caption, quote=True)}' "
        f"src='data:image/svg+xml;base64,{base64.b64encode(plot.svg).decode()}'>"
        f"<figcaption>{html.escape(plot.caption)}</figcaption></figure>"
        for plot in plots.values()
    )
    body = "".join(map(_html_table, found))
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{STYLE}</style></head><body><h1>{title}</h1>{note}<dl>{facts}</dl>"
        f"{body}{pictures}</body></html>\n"
    )


def _html_table(table: Table) -> str:
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in table.columns)
    rows = "".join("<tr>" + "".join(map(_html_cell, row)) + "</tr>" for row in table.rows)
    reasons = dict.fromkeys(reason for row in table.rows for cell in row if (reason := _text(cell)[1]))
    # In words too: a title shows under a mouse only, not on paper nor on a touch screen.
    missing = f"<p class='note'>What is missing: {html.escape('; '.join(reasons))}.</p>" if reasons else ""
    return (
        f"<h2>{html.escape(table.title)}</h2><p class='note'>{html.escape(table.note)}</p>"
        f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"{missing}"
    )


def _html_cell(cell: Cell) -> str:
    text, reason = _text(cell)
    value, _, spread = text.partition(" (")
    title = f" title='{html.escape(reason, quote=True)}'" if reason else ""
    kind = " class='none'" if text == NOTHING else ""
    if not isinstance(cell, Mapping) or not spread:
        return f"<td{kind}{title}>{html.escape(text)}</td>"
    return f"<td{title}>{html.escape(value)}<small>{html.escape(spread.rstrip(')'))}</small></td>"
