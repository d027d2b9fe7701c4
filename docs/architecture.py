"""Draw the architecture as an SVG that is readable on light and on dark pages.

python -m docs.architecture          # writes docs/architecture.svg; `make pictures` does, too
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from app.palette import DARK, LIGHT

OUT = Path(__file__).with_name("architecture.svg")
WIDTH, HEIGHT = 1180, 424  # of the drawing, in its own units
LINE = 16  # between the baselines of two lines of text


@dataclass(frozen=True)
class Box:
    """A part, at its place. title: its folder or name. lines: what it does. frame: it holds other boxes."""

    x: int
    y: int
    width: int
    height: int
    title: str
    lines: tuple[str, ...] = ()
    frame: bool = False


@dataclass(frozen=True)
class Arrow:
    """A way from corner to corner. training: it is used in training and measuring alone."""

    points: tuple[tuple[int, int], ...]
    training: bool = False


BOXES = (
    Box(16, 96, 138, 108, "media/", ("photo or video", "→ faces, tracks,", "one square crop")),
    Box(186, 24, 500, 252, "kfd/   the forgery detector, paper §3.1", frame=True),
    Box(206, 66, 138, 62, "image encoder", ("patch features",)),
    Box(206, 172, 138, 78, "text encoder", ("learned words for", "real and for fake")),
    Box(378, 112, 124, 78, "compare", ("consistency", "maps")),
    Box(536, 66, 130, 62, "locator", ("heat map",)),
    Box(536, 172, 130, 78, "classifier", ("calibrated score,", "likelihood ratio")),
    Box(718, 66, 142, 100, "prompt_learner/", ("paper §3.2:", "maps and score", "→ soft prompts")),
    Box(892, 66, 124, 100, "llm/", ("language model", "with LoRA", "→ answers")),
    Box(
        1048, 66, 116, 184, "app/", ("finding, map", "conversation", "sealed report", "(JSON, HTML,", "PDF)")
    ),
    Box(186, 330, 232, 70, "data_sim/", ("real faces → forgeries, masks,", "questions and answers")),
    Box(454, 330, 232, 70, "evaluation/", ("figures with intervals,", "leaks, confounders, robustness")),
    Box(722, 330, 138, 70, "baselines/", ("compared", "systems")),
)
ARROWS = (
    Arrow(((154, 150), (180, 150), (180, 97), (206, 97))),
    Arrow(((344, 97), (361, 97), (361, 140), (378, 140))),
    Arrow(((344, 211), (361, 211), (361, 162), (378, 162))),
    Arrow(((502, 140), (519, 140), (519, 97), (536, 97))),
    Arrow(((502, 162), (519, 162), (519, 211), (536, 211))),
    Arrow(((666, 97), (718, 97))),
    Arrow(((666, 196), (702, 196), (702, 140), (718, 140))),
    Arrow(((860, 116), (892, 116))),
    Arrow(((1016, 116), (1048, 116))),
    Arrow(((666, 224), (1048, 224))),
    Arrow(((722, 365), (686, 365)), training=True),
    Arrow(((302, 330), (302, 276)), training=True),
    Arrow(((570, 276), (570, 330)), training=True),
    Arrow(((302, 400), (302, 412), (996, 412), (996, 166)), training=True),
)
NOTES = (
    (718, 216, "the verdict comes from the score alone"),
    (312, 310, "training only"),
    (886, 404, "training only"),
)


def draw() -> str:
    """The drawing, as one SVG file without a request to anywhere."""
    parts = [_box(box) for box in BOXES] + [_arrow(arrow) for arrow in ARROWS]
    parts += [f'<text class="note" x="{x}" y="{y}">{escape(text)}</text>' for x, y, text in NOTES]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-label="From a photo or video through detector and prompt learner to the language model">\n'
        f"<style>\n{_style(LIGHT)}\n@media (prefers-color-scheme: dark) {{\n{_style(DARK)}\n}}\n"
        "text { font: 13px system-ui, 'Helvetica Neue', Arial, sans-serif; }\n.title { font-weight: 600; }\n"
        ".note { font-size: 12px; font-style: italic; }\nrect { stroke-width: 1.2; }\n"
        "path { fill: none; stroke-width: 1.5; } .training { stroke-dasharray: 5 4; }\n</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><polygon points="0,0 8,4 0,8"/></marker></defs>\n'
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="8"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _style(colours: Mapping[str, str]) -> str:
    """The rules that differ between light and dark."""
    return (
        f"text {{ fill: {colours['ink']}; }} .note {{ fill: {colours['soft']}; }} "
        f".page {{ fill: {colours['sheet']}; }} "
        f".box {{ fill: {colours['fill']}; stroke: {colours['line']}; }} "
        f".frame {{ fill: none; stroke: {colours['real']}; }} path {{ stroke: {colours['real']}; }} "
        f"polygon {{ fill: {colours['real']}; }} .training {{ stroke: {colours['soft']}; }}"
    )


def _box(box: Box) -> str:
    kind = "frame" if box.frame else "box"
    words = [
        f'<rect class="{kind}" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="5"/>'
    ]
    for number, text in enumerate((box.title, *box.lines)):
        look = ' class="title"' if number == 0 else ""
        at = f'x="{box.x + 12}" y="{box.y + 23 + LINE * number + (2 if number else 0)}"'
        words.append(f'<text{look} {at} xml:space="preserve">{escape(text)}</text>')
    return "".join(words)


def _arrow(arrow: Arrow) -> str:
    corners = " L".join(f"{x},{y}" for x, y in arrow.points)
    look = ' class="training"' if arrow.training else ""
    return f'<path{look} d="M{corners}" marker-end="url(#tip)"/>'


def main() -> None:
    """Write the drawing beside this file."""
    OUT.write_text(draw(), encoding="utf-8")
    print(f"written to {OUT}")


if __name__ == "__main__":
    main()
