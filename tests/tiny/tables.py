"""The files of configs/tables made small, with sets, encoder and language models of that size."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import yaml

from data_sim.dataset import COLUMNS
from tests.tiny.encoders import IMAGEBIND, SIZE, save_imagebind
from tests.tiny.faces import add_known_fakes, save_tiny_faces
from tests.tiny.llm import save_base, save_vicuna_base
from tests.tiny.qwen import save_qwen

TABLES = Path(__file__).parents[2] / "configs" / "tables"
# What a table's file asks for, made small; nothing else of it changes.
SMALL = {
    "kfd.train": {"encoder_settings": IMAGEBIND, "epochs": 1.0, "batch": 2, "val_images": 2},
    "evaluation.detector": {"num_resamples": 4},
    "llm.finetune": {"epochs": 0.5, "batch_size": 2, "accumulate": 1, "rank": 2, "num_prompts": 3,
                     "val_faces": 2, "val_general": 4},
    "llm.benchmark": {"num_resamples": 4},
    "baselines.zero_shot": {"max_tokens": 2},
}  # fmt: skip


def save_tables(folder: Path, **changes: object) -> Path:
    """Write ImageBind, language models and the tables' files into `folder`; returns it.

    changes: values for every file that has the setting.
    """
    weights = str(save_imagebind(folder / "imagebind").parent)
    models = {"vicuna": save_vicuna_base(folder / "vicuna"), "chat": save_base(folder / "llama", width=64)}
    for path in TABLES.glob("*.yaml"):
        module = path.name.split(".", 1)[1].removesuffix(".yaml")
        values = yaml.safe_load(path.read_text())
        changed = {name: value for name, value in changes.items() if name in values}
        values |= SMALL[module] | changed | {"device": "cpu"}
        if module == "baselines.zero_shot":
            values["weights"] = str(save_qwen(folder / "qwen2-vl", old=True))
        else:
            values["encoder_weights" if module == "kfd.train" else "encoder"] = weights
        if module == "kfd.train":
            values["encoder"] = "imagebind-huge"
            values |= {"epochs": 0.0, "steps": 2} if values.get("train_images") else {}
        if module == "llm.finetune":  # a tiny Llama has no chat template
            values |= {"llm": str(models[values["template"]]), "template": "vicuna", "system": ""}
        (folder / path.name).write_text(yaml.safe_dump(values))
    return folder


def save_set(folder: Path, seed: int) -> None:
    """Faces of noise, no two sets alike, two frames of a video each, with known fakes."""
    save_tiny_faces(folder, SIZE, 4, ("train", "val", "test"))
    crops = np.load(folder / "crops.npy")
    np.save(folder / "crops.npy", np.random.default_rng(seed).integers(0, 255, crops.shape).astype(np.uint8))
    add_known_fakes(folder, SIZE)
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [dict.fromkeys(COLUMNS, "") | row for row in csv.DictReader(file)]
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            video = f"{folder.name}-{int(row['group']) // 2}"
            names = {"path": f"{folder.name}/{row['path']}", "source": folder.name}
            writer.writerow(row | names | {"group": video, "video": video, "frame": row["group"]})
