"""General instruction data out of the base model itself, against forgetting, where no other is at hand.

    python -m llm.training.distil --llm smollm2-135m-instruct --out runs/general.jsonl
    python -m llm.finetune ... --general runs/general.jsonl --general-share 0.1 --val-general 20
    python -m llm.training.distil --llm smollm2-135m-instruct --heldout --out runs/general-heldout.jsonl
    python -m llm.evaluate ... --general runs/general-heldout.jsonl    # perplexity with and without LoRA

The base model answers the questions of prompts.yaml in the very prompt that training will put
(llm.prompt.render_general). Fine-tuning that alternates with these answers is held to what the model said
before (self-distillation). The file is in PandaGPT's format, one record a line; a killed run goes on.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
import yaml
from tqdm import tqdm

from common.cli import parse
from common.locks import one_writer
from common.storage import write_text
from data_sim.dialogues.wordings import expand
from kfd.encoders.backbones import DTYPES
from llm.base import load_base
from llm.prompt import SYSTEM, PromptStyle, Segment, render_general
from llm.tokens import PromptTokenizer

_UNFINISHED = re.compile(r"[^.!?]*$")


@dataclass(frozen=True)
class DistilConfig:
    """Settings of one run."""

    llm: str  # folder or hub id of the base model, or a name of llm.packaged
    out: str  # file of the records, .jsonl
    heldout: bool = False  # answer the questions that training never gets, for measuring
    system: str = SYSTEM  # system prompt of a chat template, as fine-tuning will put it
    max_new_tokens: int = 96  # of an answer; one that is longer ends with its last whole sentence
    temperature: float = 0.7
    batch_size: int = 16  # answers written together
    dtype: str = "fp32"  # of the weights: fp32, bf16 or fp16
    seed: int = 0
    device: str = "cpu"


def general_prompts(heldout: bool = False) -> tuple[str, ...]:
    """The questions of prompts.yaml, none twice. heldout: those of every fifth pattern, the others' never."""
    raw = yaml.safe_load((files("llm.training") / "prompts.yaml").read_text(encoding="utf-8"))
    patterns = [one for kind in raw.values() for one in kind]
    chosen = [one for place, one in enumerate(patterns) if (place % 5 == 4) == heldout]
    return tuple(dict.fromkeys(text for one in chosen for text in expand(one)))


def run(config: DistilConfig) -> None:
    """Answer what the file does not hold yet, batch by batch.

    Raises ValueError for a file that another run wrote, OSError for a folder that cannot be written.
    """
    prompts, out = general_prompts(config.heldout), Path(config.out)
    kept = _whole_batches(out, config.batch_size, len(prompts))
    asked = tuple(json.loads(line)["conversations"][0]["value"] for line in kept)
    if asked != prompts[: len(asked)]:
        raise ValueError(f"{out}: expected the beginning of this run's records: remove the file")
    write_text(out, "".join(kept))
    llm, tokenizer = load_base(config.llm, config.device, DTYPES[config.dtype])
    template = "chat" if tokenizer.chat_template else "vicuna"
    style = PromptStyle(template, system=config.system if template == "chat" else "")
    prompter = PromptTokenizer(tokenizer, style, num_prompts=1)
    starts = range(len(kept), len(prompts), config.batch_size)
    with out.open("a", encoding="utf-8") as file:
        for start in tqdm(starts, desc="answering", mininterval=5):
            batch = prompts[start : start + config.batch_size]
            torch.manual_seed(config.seed * 1_000_003 + start)
            for asked, said in zip(batch, answers(llm, prompter, batch, config), strict=True):
                turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]
                file.write(json.dumps({"conversations": turns}, ensure_ascii=False) + "\n")
            file.flush()


@torch.inference_mode()
def answers(
    llm: torch.nn.Module, prompter: PromptTokenizer, prompts: tuple[str, ...], config: DistilConfig
) -> Iterator[str]:
    """What the model says to each of B questions, sampled together; never empty."""
    rows = [prompter.tokenise(_asked(prompter, text)).input_ids for text in prompts]
    length = max(map(len, rows))
    ids = torch.tensor([[0] * (length - len(row)) + row for row in rows], device=config.device)
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=config.device)
    written = llm.generate(
        input_ids=ids, attention_mask=mask, do_sample=True, temperature=config.temperature, top_p=0.9,
        max_new_tokens=config.max_new_tokens, eos_token_id=sorted(prompter.stop_ids), pad_token_id=0,
    )[:, length:]  # fmt: skip
    for row in written.tolist():
        ended = next((place for place, token in enumerate(row) if token in prompter.stop_ids), None)
        said = prompter.decode(row[:ended]).partition(prompter.markers.end.strip())[0].strip()
        whole = said if ended is not None else _UNFINISHED.sub("", said).strip()
        yield whole or said or "I do not know."


def _whole_batches(out: Path, batch_size: int, every: int) -> list[str]:
    """The lines that a run before wrote; the last batch may have been cut off, and is written anew."""
    lines = out.read_text(encoding="utf-8").splitlines(keepends=True) if out.is_file() else []
    whole = [line for line in lines if line.endswith("\n")]
    return whole if len(whole) == every else whole[: len(whole) // batch_size * batch_size]


def _asked(prompter: PromptTokenizer, text: str) -> list[Segment]:
    """The question as training puts it, up to where the answer begins."""
    return render_general(prompter.markers, [(text, "")], pictured=False, marks=prompter.marks)[:2]


def main(args: list[str] | None = None) -> None:
    config = parse(DistilConfig, __doc__, args)
    try:
        with one_writer(config.out):
            run(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
