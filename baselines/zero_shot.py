"""Ask an untrained Qwen2.5-VL about the faces of a set, and count what it says (document 001).

    python -m baselines.zero_shot --data SETS/ffpp --split test --out RUNS/zero-shot.jsonl --device cuda
    python -m baselines.zero_shot --data runs/set --out runs/zero.jsonl --weights DIR --no-quantize --faces 8

One line a face: what it was, the reply, and the reply's verdict, confidence and artefacts. A reply that has
not exactly the form asked for is counted as unparsed; it is never a verdict and never a score. A re-run
continues. The last line on screen is the summary, beside OUT as OUT.summary.json: rates by class, which show
a model that calls everything fake, of faces and, by majority of a video's parsed replies, of videos.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from baselines.qwen.config import QwenConfig
from baselines.qwen.model import PUBLIC, LoadedQwen, image_patches, load_qwen, num_image_tokens
from baselines.qwen.prompt import CHECKLIST, EXPERT, chat_text, parse_reply
from common.cli import parse
from common.locks import one_writer
from common.storage import told_when_full, write_text
from common.strict_json import parse_json, to_json
from data_sim.dataset import FaceSet, evenly, video_of
from kfd.encoders.backbones import Dtype

UNPARSED = "unparsed"


@dataclass(frozen=True)
class ZeroShotConfig:
    data: Path  # a face set made by data_sim.build
    out: Path  # JSON-lines file to write or to continue
    split: str = "test"
    weights: str = PUBLIC  # folder or hub id of a Qwen2.5-VL
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
    lines = _resume(config.out, loaded.digest)
    done = {line["path"] for line in lines}
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with told_when_full(config.out), config.out.open("a", encoding="utf-8") as file:
        for position in _chosen(faces, config.faces):
            row = faces.rows[position]
            if row["path"] in done:
                continue
            reply = ask(loaded, faces.read([position])[0], config.max_tokens)
            parsed = parse_reply(reply)
            line = {
                "path": row["path"],
                "label": row["label"],
                "kind": row["kind"],
                "video": "/".join(video_of(row)),
                "model": loaded.digest,
                "verdict": UNPARSED if parsed is None else parsed.verdict,
                **({} if parsed is None else asdict(parsed)),
                "reply": reply,
            }
            lines.append(line)
            file.write(to_json(line) + "\n")
            file.flush()
    summary = {"frames": count_frames(lines), "videos": count_videos(lines)}
    write_text(config.out.with_name(config.out.name + ".summary.json"), to_json(summary, indent=1) + "\n")
    print(to_json(summary))
    return summary


@torch.no_grad()
def ask(loaded: LoadedQwen, image: Tensor, max_tokens: int) -> str:
    """The model's own words, greedily, about one crop (1, 3, S, S) in [0, 1]."""
    model, tokenizer = loaded.model, loaded.tokenizer
    text = chat_text(CHECKLIST, num_image_tokens(model, image.shape[-1]), EXPERT)
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
        "auc": None,  # the model gives no score
    }


def _chosen(faces: FaceSet, count: int) -> list[int]:
    reals = faces.where(label="real")
    pools = [reals, *(faces.where(label="fake", kind=kind) for kind in sorted({
        row["kind"] for row in faces.rows if row["label"] == "fake"
    }))]  # fmt: skip
    return [i for pool in pools for i in (evenly(pool, count) if count else pool)]


def _resume(out: Path, digest: str) -> list[dict[str, object]]:
    """The lines that `out` holds; a line cut short by a kill is taken out of it."""
    if not out.is_file():
        return []
    text = out.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    try:
        lines = [parse_json(line, out) for line in whole.splitlines()]
        models = {line["model"] for line in lines}
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{out} is no file of baselines.zero_shot; choose another --out") from None
    if models - {digest}:
        raise ValueError(f"{out} was made with another model; choose another --out")
    write_text(out, whole)
    return lines


if __name__ == "__main__":
    main()
