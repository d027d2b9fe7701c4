"""Ask an untrained Qwen2.5-VL or Qwen2-VL about the faces of a set, and count what it says.

    python -m baselines.zero_shot --data SETS/ffpp --split test --out RUNS/zero-shot.jsonl --device cuda
    python -m baselines.zero_shot --config configs/tables/table2.baselines.zero_shot.yaml --data SETS/ffpp \\
        --out RUNS/qwen2-vl.jsonl
    python -m baselines.zero_shot --data runs/set --out runs/zero.jsonl --weights DIR --no-quantize --faces 8

`--question artefacts` is document 001's: an expert's role, ten artefacts, a reply in four XML elements.
`--question plain` is the main paper's, "Is this a deepfake image?", of which the first word is read; it alone
has an AUC, that of Table 2: Yes counts 1, No -1, anything else 0, a video the mean of its faces.

One line a face: what it was, the reply, and the reply's verdict and what else it says. A reply that has not
the form asked for is counted as unparsed; it is never a verdict and never a score. A re-run continues. The
last line on screen is the summary, beside OUT as OUT.summary.json: rates by class, which show
a model that calls everything fake, of faces and, by majority of a video's parsed replies, of videos.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from baselines.qwen.config import QwenConfig
from baselines.qwen.model import PUBLIC, LoadedQwen, image_patches, load_qwen, num_image_tokens
from baselines.qwen.prompt import CHECKLIST, EXPERT, chat_text, parse_reply, parse_word
from common.cli import parse
from common.locks import one_writer
from common.storage import told_when_full, write_text
from common.strict_json import parse_json, to_json
from data_sim.dataset import FaceSet, evenly, video_of
from data_sim.dialogue import FIRST_QUESTION
from kfd.encoders.backbones import Dtype

UNPARSED = "unparsed"


@dataclass(frozen=True)
class ZeroShotConfig:
    data: Path  # a face set made by data_sim.build
    out: Path  # JSON-lines file to write or to continue
    split: str = "test"
    question: Literal["artefacts", "plain"] = "artefacts"  # document 001's, or the main paper's
    weights: str = PUBLIC  # folder or hub id of a Qwen2.5-VL or Qwen2-VL
    quantize: bool = True  # its weights in 4 bits
    dtype: Dtype | None = None  # what it computes in; None: bf16 on a GPU, fp32 on a CPU
    faces: int = 0  # at most so many real faces, and as many fakes of each kind; 0: all
    max_tokens: int = 256  # of a reply
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.faces < 0 or self.max_tokens < 1:
            raise ValueError(f"faces must be 0 or more, max_tokens 1, got {self.faces} and {self.max_tokens}")


def main(args: list[str] | None = None) -> None:
    config = parse(ZeroShotConfig, __doc__, args)
    try:
        with one_writer(config.out):
            run(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def run(config: ZeroShotConfig) -> dict[str, object]:
    """Ask about every face that `out` does not hold yet; returns the summary of all."""
    faces = FaceSet.open(config.data, config.split)
    settings = QwenConfig(image_size=faces.size, quantize=config.quantize)
    loaded = load_qwen(settings, config.weights, config.dtype, config.device)
    lines = _resume(config.out, loaded.digest, config.question)
    done = {line["path"] for line in lines}
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with told_when_full(config.out), config.out.open("a", encoding="utf-8") as file:
        for position in _chosen(faces, config.faces):
            row = faces.rows[position]
            if row["path"] in done:
                continue
            reply = ask(loaded, faces.read([position])[0], config.max_tokens, config.question)
            line = {
                "path": row["path"],
                "label": row["label"],
                "kind": row["kind"],
                "video": "/".join(video_of(row)),
                "model": loaded.digest,
                "question": config.question,
                **read_reply(reply, config.question),
                "reply": reply,
            }
            lines.append(line)
            file.write(to_json(line) + "\n")
            file.flush()
    summary = {"frames": count_frames(lines), "videos": count_videos(lines)}
    if config.question == "plain":
        summary["frames"]["auc"], summary["videos"]["auc"] = aucs(lines)
    write_text(config.out.with_name(config.out.name + ".summary.json"), to_json(summary, indent=1) + "\n")
    print(to_json(summary))
    return summary


@torch.no_grad()
def ask(loaded: LoadedQwen, image: Tensor, max_tokens: int, question: str = "artefacts") -> str:
    """The model's own words, greedily, about one crop (1, 3, S, S) in [0, 1]."""
    model, tokenizer = loaded.model, loaded.tokenizer
    told = (CHECKLIST, EXPERT) if question == "artefacts" else (FIRST_QUESTION,)
    text = chat_text(told[0], num_image_tokens(model, image.shape[-1]), *told[1:])
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"].to(model.device)
    patches, grid = image_patches(image.to(model.device), model)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    written = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=patches.to(model.dtype),
        image_grid_thw=grid,
        mm_token_type_ids=(ids == model.config.image_token_id).int(),
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
    )
    return tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True).strip()


def read_reply(reply: str, question: str) -> dict[str, object]:
    """The verdict of a reply, and of document 001's question what else it says."""
    if question == "plain":
        return {"verdict": parse_word(reply) or UNPARSED}
    parsed = parse_reply(reply)
    return {"verdict": UNPARSED} if parsed is None else asdict(parsed)


def aucs(lines: list[dict[str, object]]) -> tuple[float | None, float | None]:
    """AUC of written answers, of faces and of videos by the mean of theirs; None where a class is missing."""
    sign = {"fake": 1.0, "real": -1.0, UNPARSED: 0.0}
    by_video: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in lines:
        by_video[str(line["label"]), str(line["video"])].append(sign[str(line["verdict"])])
    faces = [(label == "fake", value) for (label, _), values in by_video.items() for value in values]
    videos = [(label == "fake", sum(values) / len(values)) for (label, _), values in by_video.items()]
    both = [
        round(float(roc_auc_score(*zip(*level, strict=True))), 4)
        if len({fake for fake, _ in level}) == 2
        else None
        for level in (faces, videos)
    ]
    return both[0], both[1]


def count_frames(lines: list[dict[str, object]]) -> dict[str, object]:
    """Figures over faces."""
    return _figures([(str(line["label"]), str(line["verdict"])) for line in lines])


def count_videos(lines: list[dict[str, object]]) -> dict[str, object]:
    """Figures over videos: the majority of a video's parsed replies, unparsed on a tie or without any."""
    by_video: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in lines:
        by_video[str(line["label"]), str(line["video"])].append(str(line["verdict"]))
    found = []
    for (label, _), verdicts in by_video.items():
        real, fake = verdicts.count("real"), verdicts.count("fake")
        found.append((label, UNPARSED if real == fake else "fake" if fake > real else "real"))
    return _figures(found)


def _figures(found: list[tuple[str, str]]) -> dict[str, object]:
    """Counts, and accuracy, F1 and rates of those with a verdict; a rate without any case is None."""
    counts = Counter(found)
    hits, misses = counts["fake", "fake"], counts["fake", "real"]
    alarms, passed = counts["real", "fake"], counts["real", "real"]
    with_verdict = hits + misses + alarms + passed

    def share(part: float, whole: float) -> float | None:
        return round(part / whole, 4) if whole else None

    return {
        "count": len(found),
        UNPARSED: sum(verdict == UNPARSED for _, verdict in found),
        "accuracy": share(hits + passed, with_verdict),
        "f1": share(2 * hits, 2 * hits + misses + alarms),
        "fakes_found": share(hits, hits + misses),
        "false_alarms": share(alarms, alarms + passed),
        "called_fake": share(hits + alarms, with_verdict),
        "auc": None,  # the model gives no score; see `aucs`
    }


def _chosen(faces: FaceSet, count: int) -> list[int]:
    reals = faces.where(label="real")
    pools = [reals, *(faces.where(label="fake", kind=kind) for kind in sorted({
        row["kind"] for row in faces.rows if row["label"] == "fake"
    }))]  # fmt: skip
    return [i for pool in pools for i in (evenly(pool, count) if count else pool)]


def _resume(out: Path, digest: str, question: str) -> list[dict[str, object]]:
    """The lines that `out` holds; a line cut short by a kill is taken out of it."""
    if not out.is_file():
        return []
    text = out.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    try:
        lines = [parse_json(line, out) for line in whole.splitlines()]
        models = {line["model"] for line in lines}
        asked = {line["question"] for line in lines}
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{out} is no file of baselines.zero_shot; choose another --out") from None
    if models - {digest} or asked - {question}:
        raise ValueError(f"{out} was made with another model or question; choose another --out")
    write_text(out, whole)
    return lines


if __name__ == "__main__":
    main()
