"""General instruction data in PandaGPT's format, drawn and written by the tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "grey": (128, 128, 128)}
THINGS = ("box", "door", "boat", "shirt", "wall", "lamp", "cup", "car", "hat", "book")


def general_record(number: int) -> dict[str, object]:
    """One of 40 different records; every other is about a picture."""
    colour, thing = list(COLOURS)[number % 4], THINGS[number // 4 % 10]
    first = [
        {"from": "human", "value": f"What colour has the {thing} that is painted {colour}?"},
        {"from": "gpt", "value": f"The {thing} has the colour {colour}, as its paint."},
    ]
    if number % 2:
        return {"conversations": first}
    second = [
        {"from": "human", "value": "What is in the picture?"},
        {"from": "gpt", "value": "It is a plain square."},
    ]
    return {"image": f"{colour}.png", "conversations": first + second}


def save_general(folder: Path, records: int = 40) -> Path:
    """Write general.json and the folder `pictures` into `folder`; returns the file."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for colour, rgb in COLOURS.items():
        pixels = np.full((40, 56, 3), rgb, np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{colour}.png")
    path = folder / "general.json"
    path.write_text(json.dumps([general_record(number) for number in range(records)]), encoding="utf-8")
    return path
