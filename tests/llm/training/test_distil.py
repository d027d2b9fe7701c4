"""General instruction data that the base model writes itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llm.base import load_base
from llm.prompt import PromptStyle
from llm.tokens import PromptTokenizer
from llm.training import distil
from llm.training.distil import general_prompts
from llm.training.general import read_general


def test_questions_are_many_different_and_of_no_face() -> None:
    prompts = general_prompts()
    heldout = general_prompts(heldout=True)
    assert (
        len(prompts) > 120 and len(heldout) > 25 and len({*prompts, *heldout}) == len(prompts) + len(heldout)
    )
    assert not any(word in text.lower() for text in prompts for word in ("deepfake", "forg", "manipulat"))


def test_a_killed_run_goes_on_and_fine_tuning_reads_what_it_wrote(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "general.jsonl"
    args = ["--llm", str(folder / "llm"), "--out", str(out), "--max-new-tokens", "6"]
    distil.main(args)
    whole = out.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    out.write_text("".join(lines[:40]) + lines[40][:9], encoding="utf-8")
    distil.main(args)
    assert out.read_text(encoding="utf-8") == whole
    records = read_general(out)
    assert tuple(record.turns[0][0] for record in records) == general_prompts()
    assert all(record.turns[0][1].strip() for record in records)
    distil.main(args)  # nothing is left to do
    assert out.read_text(encoding="utf-8") == whole


def test_a_file_of_something_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "other.jsonl"
    out.write_text('{"conversations": [{"from": "human", "value": "Why?"}]}\n' * 16, encoding="utf-8")
    with pytest.raises(SystemExit, match="remove the file"):
        distil.main(["--llm", str(folder / "llm"), "--out", str(out)])
    assert out.read_text(encoding="utf-8").count("Why?") == 16


def test_the_base_answers_the_prompt_that_training_puts(folder: Path) -> None:
    """Another prompt would teach the model to keep what nobody asks of it."""
    tokenizer = load_base(folder / "llm", "cpu", torch.float32)[1]
    prompter = PromptTokenizer(tokenizer, PromptStyle("vicuna"), num_prompts=1)
    asked = prompter.tokenise(distil._asked(prompter, "What is seven times eight?")).input_ids
    trained = prompter.general([("What is seven times eight?", "It is 56.")], pictured=False).input_ids
    assert trained[: len(asked)] == asked
