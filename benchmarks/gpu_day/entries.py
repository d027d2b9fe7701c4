"""The list of full-size paths that nobody has run: each with the command to begin with, in this order.

The one source of docs/full_size.md's list and of python -m benchmarks.first_gpu_day. In the words of a
command {data}, {out}, {imagebind}, {configs}, {device} and {size} stand for the settings of the day.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.gpu_day.checks import Check, costs, exported, figures, learned, read, resumed, scored

DETECTOR = (
    "--config {configs}/table1.kfd.train.yaml --data {data} --encoder-weights {imagebind} --device {device} "
    "--epochs 0 --steps 75 --val-every 75 --save-every 25"
)
ASSISTANT = (
    "--config {configs}/table2.llm.finetune.yaml --kfd {out}/kfd --encoder {imagebind} --data {data} "
    "--device {device} --faces 64 --val-faces 16 --epochs 0 --steps 24 --save-every 8 --log-every 1"
)


@dataclass(frozen=True)
class Entry:
    """One path through the project at full size.

    name: of the folder or file under the day's own that it writes. what: in words, what is new in it.
    command: module and words. check: what must be true of what came of it.
    stop: the beginning of a printed line at which the command is broken off, to be given again; "" for none.
    """

    name: str
    what: str
    command: str
    check: Check
    stop: str = ""


ENTRIES = (
    Entry(
        "cost.json",
        "speed and memory of every full-size model, with random weights",
        "benchmarks.full_size --size {size} --device {device} --out {out}/cost.json",
        costs,
    ),
    Entry(
        "kfd",
        "the detector of Table 1 on ImageBind-Huge, seamless cloning, bf16 towers",
        f"kfd.train {DETECTOR} --out {{out}}/kfd",
        learned,
    ),
    Entry(
        "kfd-resumed",
        "the same, broken off and resumed",
        f"kfd.train {DETECTOR} --out {{out}}/kfd-resumed",
        resumed("kfd"),
        stop="step 50 loss",
    ),
    Entry(
        "kfd-cached",
        "the same from cached features, 18 MB a pair on disk",
        f"kfd.train {DETECTOR} --cache-steps 25 --cache {{out}}/features --out {{out}}/kfd-cached",
        learned,
    ),
    Entry(
        "kfd-test",
        "video AUC of Table 1",
        "evaluation.detector --config {configs}/table1.evaluation.detector.yaml --data {data} "
        "--checkpoint {out}/kfd --encoder {imagebind} --device {device} --num-resamples 50 "
        "--report {out}/kfd-test",
        figures,
    ),
    Entry(
        "scores.jsonl",
        "a photograph scored on the GPU",
        "kfd.score app/example.jpg --checkpoint {out}/kfd --encoder {imagebind} --device {device} "
        "--workers 1 --out {out}/scores.jsonl",
        scored,
    ),
    Entry(
        "vicuna",
        "the assistant of Table 2: Vicuna-7B in NF4, LoRA, FPL",
        f"llm.finetune {ASSISTANT} --out {{out}}/vicuna --run {{out}}/vicuna-run",
        learned,
    ),
    Entry(
        "vicuna-resumed",
        "the same, broken off and resumed",
        f"llm.finetune {ASSISTANT} --out {{out}}/vicuna-resumed --run {{out}}/vicuna-resumed-run",
        resumed("vicuna"),
        stop="step 13/24",
    ),
    Entry(
        "vicuna-test",
        "its Yes or No, in batches and written out",
        "llm.benchmark --config {configs}/table2.llm.benchmark.yaml --data {data} --assistant {out}/vicuna "
        "--kfd {out}/kfd --encoder {imagebind} --device {device} --num-resamples 50 --most 64 "
        "--report {out}/vicuna-test",
        figures,
    ),
    Entry(
        "report.json",
        "a report whose answers the 7B model writes",
        "app.report app/example.jpg --out {out}/report.json --kfd {out}/kfd --encoder {imagebind} "
        "--llm {out}/vicuna --device {device} --ask Where?",
        read,
    ),
    Entry(
        "export",
        "the assistant merged for a server, and loaded again",
        "llm.export --assistant {out}/vicuna --out {out}/export",
        exported,
    ),
    Entry(
        "llama-1b",
        "another language model of Table 6, through its own chat template",
        "llm.finetune --config {configs}/table6.llm.finetune.yaml --kfd {out}/kfd --encoder {imagebind} "
        "--data {data} --device {device} --faces 64 --val-faces 16 --epochs 0 --steps 24 --log-every 1 "
        "--out {out}/llama-1b --run {out}/llama-1b-run",
        learned,
    ),
)
# What the day leaves out: it needs more than one GPU, other weights, or a set that is not ours to give.
BEYOND = (
    (
        "the other encoders",
        "kfd.train --data runs/set224 --out runs/clip --encoder clip-vit-l14 --device cuda --steps 75",
    ),
    ("two GPUs", "llm.finetune … under accelerate launch with configs/accelerate/two_gpus.yaml"),
    ("the paper's own checkpoint", "baselines.import_released checkpoint/ckpt.pth --out runs/released"),
    (
        "VLAForge",
        "baselines.train --config configs/baselines/vlaforge.yaml --data runs/set224 --out runs/vlaforge",
    ),
    (
        "Qwen2.5-VL",
        "baselines.train --config configs/baselines/qwen-vl.yaml --data runs/set224 --out runs/qwen-vl",
    ),
    (
        "PandaGPT's instruction data, 160,000 pictures",
        "llm.finetune --config configs/tables/table2.llm.finetune.yaml --kfd runs/kfd --data runs/set224 "
        "--out runs/vicuna --general pandagpt4_visual_instruction_data.json --general-images images",
    ),
    (
        "the same, beginning with PandaGPT's own projector and LoRA",
        "llm.finetune --config configs/tables/table2.llm.finetune.yaml --kfd runs/kfd --data runs/set224 "
        "--out runs/vicuna --start pandagpt_7b_max_len_1024/pytorch_model.pt",
    ),
    (
        "Qwen2-VL's row of Table 2",
        "baselines.zero_shot --config configs/tables/table2.baselines.zero_shot.yaml --data runs/set224 "
        "--out runs/qwen2-vl.jsonl",
    ),
    (
        "one whole row of Tables 1 to 6, on a public data set",
        "kfd.train --config configs/tables/table1.kfd.train.yaml --data runs/ffpp --out runs/table1",
    ),
)


def as_list(values: dict[str, str]) -> str:
    """The list in Markdown, a line for each path; values: what stands for the names in braces."""
    lines = ["| what nobody has run at full size | the command to begin with |", "|---|---|"]
    lines += [f"| {e.what} | `python -m {e.command.format(**values)}` |" for e in ENTRIES]
    lines += [f"| {what} | `python -m {command}` |" for what, command in BEYOND]
    return "\n".join(lines)
