"""The paper's ablations at a size that two CPU cores train: Tables 3 and 4, text guidance, C_ref.

    python -m benchmarks.ablations --data runs/set128 --start weights/mobilenet_v1 --out runs/ablations
    python -m benchmarks.ablations --part llm --data runs/worlds --test runs/worlds-test \\
        --out runs/ablations --steps 120 --batch 8 --faces 400 --sources dfdc ciplab ffpp-c40 --most 64 \\
        --simulated 100
    python -m benchmarks.ablations --data runs/set128 --out runs/try --steps 6 --simulated 8   # minutes

Every row is one run of the project's own commands, from the same start and with the same number of steps, and
is measured once on the test split. The detector's rows learn from real photographs alone. A row that is done
is not run again, and a killed one goes on where it stood. The table is printed and written as OUT/PART.md.

Table 4 (`--part llm`) is the paper's recipe as configs/tables has it: one question, answers that give the
truth, Eq. 5 and no other loss. But its prompts tell nothing in words, not the score either, so that of what
the detector found only E_forgery can speak; `--part words` has the rows with the score in words. Not the
paper's are the language model, our prompt learner's networks, which the embedded assistant has, and rates and
schedule: so few steps at a constant 1e-4 would teach nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.cli import parse
from common.storage import write_text
from common.strict_json import to_json
from evaluation.results import SIMULATED

# Name of the row, its folder, and what it changes. "500 photographs" is the row that the others change.
DETECTOR_ROWS = (
    ("500 photographs", "500", ()),
    ("200 photographs", "200", ("--train-images", "200")),
    ("100 photographs", "100", ("--train-images", "100")),
    ("50 photographs", "50", ("--train-images", "50")),
    ("500, fixed random vectors for the texts", "no-text", ("--no-text-guidance",)),
    ("500, without C_ref", "no-reference", ("--no-reference",)),
)
LLM_ROWS = (
    ("neither", "neither", ("--no-prompt-learner", "--no-lora")),
    ("LoRA alone", "no-fpl", ("--no-prompt-learner",)),
    ("FPL alone", "no-lora", ("--no-lora",)),
    ("FPL and LoRA", "both", ()),
)
WORDS_ROWS = (
    ("LoRA and the score in words", "words", ("--no-prompt-learner", "--told", "score")),
    ("FPL, LoRA and the score in words", "all", ("--told", "score")),
)
ROWS = {"detector": DETECTOR_ROWS, "llm": LLM_ROWS, "words": WORDS_ROWS}
# What of the paper's recipe is another at this size.
SMALL = ("--told", "nothing", "--fpl", "places", "--epochs", "0", "--accumulate", "1",
         "--schedule", "cosine", "--warmup", "10", "--lr", "1e-3", "--soft-lr", "2e-3", "--clip", "1",
         "--no-quantize", "--no-checkpointing", "--device", "cpu")  # fmt: skip

COMMANDS_FILE = "commands.json"  # of a row that is done


@dataclass(frozen=True)
class AblationConfig:
    data: Path  # a face set with the splits train, val and, unless `test` has it, test
    out: Path  # folder of the runs and of the table
    part: Literal["detector", "llm", "words"] = "detector"  # Table 3 with text guidance and C_ref, or Table 4
    test: Path | None = None  # the face set with the test split, where that is not `data`
    start: Path | None = None  # folder with ImageNet weights of its image tower; None: random
    steps: int = 600  # of every row's training
    batch: int = 16  # pairs (detector) or conversations (language model) of a step
    simulated: int = 600  # most real test faces that forgeries are simulated from
    sources: tuple[str, ...] = ()  # only test faces of these sources; by default all
    most: int = 0  # of the test faces of each label and source; 0: all
    kfd: Path = Path("checkpoints/embedded/kfd")  # Table 4: the detector; `data` must have its crop size
    llm: str = "smollm2-135m-instruct"  # Table 4: the base model
    recipe: Path = Path("configs/tables/table6.llm.finetune.yaml")  # Table 4: the paper's training
    faces: int = 1000  # Table 4: real training faces, each judged as it is and forged
    threads: int = 1  # CPU threads of a detector's training


def main() -> None:
    config = parse(AblationConfig, __doc__)
    results = []
    for name, folder, changes in ROWS[config.part]:
        out = config.out / config.part / folder
        todo = list(commands(config, out, changes))
        if not is_done(out, todo):
            for module, arguments in todo:
                run(module, arguments)
            write_text(out / COMMANDS_FILE, to_json(todo))
        results.append((name, json.loads((out / "test.json").read_text(encoding="utf-8"))))
    text = table(results)
    path = config.out / f"{config.part}.md"
    write_text(path, text)
    print(text)


def is_done(out: Path, todo: list[tuple[str, list[str]]]) -> bool:
    """Whether a row was run before, with the very commands that it would be run with now.

    Exits where it was run with others: a table must not hold rows of different settings.
    """
    path = out / COMMANDS_FILE
    if not path.is_file():
        return False
    if json.loads(path.read_text(encoding="utf-8")) != [list(command) for command in todo]:
        sys.exit(f"error: {out} was made with other settings; choose another --out, or remove it")
    return True


def commands(config: AblationConfig, out: Path, changes: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """(module, arguments) of a row's training and of its measurement."""
    measured = ["--data", config.test or config.data, "--split", "test", "--simulated", config.simulated,
                "--most", config.most, "--out", out / "test.json"]  # fmt: skip
    measured += ["--sources", *config.sources] if config.sources else []
    measured += ["--trained-on", config.data] if config.test else []
    if config.part == "detector":
        start = ["--start", config.start] if config.start is not None else []
        photographs = [] if "--train-images" in changes else ["--train-images", 500]
        shape = ["--data", config.data, "--out", out, "--recipe", "real", "--steps", config.steps,
                 "--batch", config.batch, "--val-every", max(1, config.steps // 3),
                 "--threads", config.threads]  # fmt: skip
        yield "kfd.train", [*map(str, shape + start + photographs), *changes]
        yield "evaluation.detector", list(map(str, ["--checkpoint", out, *measured]))
        return
    # The rows read the same faces, which are judged once.
    shape = ["--config", config.recipe, "--llm", config.llm, "--kfd", config.kfd, "--data", config.data,
             "--out", out, "--run", out / "run", "--judged", config.out / "judged", "--faces", config.faces,
             "--steps", config.steps, "--batch-size", config.batch, *SMALL,
             "--val-every", max(1, config.steps // 2)]  # fmt: skip
    yield "llm.finetune", [*map(str, shape), *changes]
    yield "llm.benchmark", list(map(str, ["--assistant", out, "--kfd", config.kfd, *measured]))


def run(module: str, arguments: list[str]) -> None:
    """Run one of the project's commands; its error ends this one."""
    print(f"python -m {module} {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, "-m", module, *arguments], check=False)
    if done.returncode:
        sys.exit(f"error: python -m {module} ended with {done.returncode}; the message is above")


def table(results: list[tuple[str, dict]]) -> str:
    """Markdown: AUC with its 95 % interval; a row for each run, a column for each source."""
    first = results[0][1]["results"]["frame"]
    sources = sorted(name for name in first if name.startswith("all "))
    columns = [SIMULATED, *sources]
    heads = ["row", *(name.removeprefix("all ") for name in columns)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, found in results:
        frame = found["results"]["frame"]
        lines.append(f"| {name} | " + " | ".join(_auc(frame[column]["auc"]) for column in columns) + " |")
    return "\n".join(lines) + "\n"


def _auc(figure: dict) -> str:
    if figure["value"] is None:
        return figure["reason"]
    interval = f" ({figure['low']:.3f}–{figure['high']:.3f})" if figure["low"] is not None else ""
    return f"{figure['value']:.3f}{interval}"


if __name__ == "__main__":
    main()
