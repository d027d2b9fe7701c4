"""Teach a language model to read the detector: prompt learner, projector and LoRA (paper §3.2-3.3).

    python -m llm.finetune --llm smollm2-135m-instruct --kfd checkpoints/embedded/kfd --data runs/set \\
        --out checkpoints/embedded/assistant --dtype bf16
    python -m llm.finetune --config configs/finetune/vicuna-7b.yaml --kfd checkpoints/kfd --data runs/set \\
        --out checkpoints/vicuna --general pandagpt4_visual_instruction_data.json --general-images images
    accelerate launch --config_file configs/accelerate/two_gpus.yaml -m llm.finetune ...
    python -m llm.finetune --llm smollm2-135m-instruct --kfd checkpoints/embedded/kfd --data runs/set \\
        --out runs/try --faces 32 --val-faces 16 --steps 6              # seconds, CPU

The detector and the base model stay frozen. Killed at any moment, the same command resumes and ends with
the same weights (same seed, CPU); it may resume on another number of processes. The checkpoint kept is the
one with the least validation loss.

What a prompt tells beside the soft prompts is --told; shares of the conversations are told nothing
(--untold-share) or are in words alone (--blank-share), so that neither can stand in for the other. Answers
give the detector's verdict, or with --taught truth that of the labels.

The paper's ablations: --no-prompt-learner (without E_forgery; with --told nothing, Table 4 without FPL),
--no-lora (Table 4 without LoRA), --faces N (Table 3), --llm NAME (Table 6).
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from common.cli import parse
from common.distributed import Processes, cleanup, init_distributed
from common.locks import one_writer
from common.storage import save_config
from kfd.detector import Detector
from kfd.encoders.backbones import DTYPES
from llm.adapter import add_adapter
from llm.base import count_parameters, load_base, token_rms
from llm.model import RUN_FILE, ForgeryLLM
from llm.prompt import PromptStyle
from llm.training.cases import ground_once
from llm.training.config import FinetuneConfig
from llm.training.examples import general_examples
from llm.training.general import embed_once, read_general, split_general
from llm.training.loop import Data, fit
from llm.training.pandagpt import start_from_pandagpt
from prompt_learner import ForgeryPromptLearner, PromptLearnerConfig, VisualProjector

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def build(config: FinetuneConfig, data: Data, processes: Processes, sharded: bool = False) -> ForgeryLLM:
    """The base model with fresh LoRA matrices, prompt learner and projector; only these train.

    With `start` LoRA and projector are PandaGPT's. With `init_from` all are those of an assistant, which must
    read prompts of the same style, or ValueError.
    sharded: split the base model over the processes, see ForgeryLLM.shard.
    """
    torch.manual_seed(config.seed)
    usual = "bf16" if torch.device(processes.device).type == "cuda" else "fp32"
    dtype = DTYPES[config.dtype or usual]
    if config.init_from:
        return _further(config, processes, dtype)
    first = "cpu" if sharded else processes.device  # layer by layer to the GPU, if it does not hold them all
    llm, tokenizer = load_base(config.llm, first, dtype, quantize=config.quantize)
    found = data.train.detections
    sizes = PromptLearnerConfig(
        llm_dim=llm.get_input_embeddings().embedding_dim,
        image_embed_dim=found.embedding.shape[1],
        taps=len(found.consistency_maps),
        num_prompts=config.num_prompts,
        token_rms=token_rms(llm),
        design=config.fpl,
    )
    llm.requires_grad_(False)
    if config.lora:
        llm = add_adapter(llm, config.rank, config.alpha, config.dropout, config.targets)
    if config.checkpointing:
        llm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    learner = ForgeryPromptLearner(sizes).to(processes.device) if config.prompt_learner else None
    projector = VisualProjector(sizes).to(processes.device)
    if config.start:
        count = start_from_pandagpt(config.start, projector, llm if config.lora else None)
        processes.print0(f"{count} tensors of {config.start} to begin with")
    model = ForgeryLLM(llm, tokenizer, style_of(config, tokenizer), learner, projector)
    if sharded:
        model.shard(processes.device)
    return model


def _further(config: FinetuneConfig, processes: Processes, dtype: torch.dtype) -> ForgeryLLM:
    model = ForgeryLLM.from_pretrained(
        config.init_from, config.llm, processes.device, dtype, config.quantize, trainable=True
    )
    wanted = style_of(config, model.prompter.tokenizer)
    if model.info.style != wanted:
        raise ValueError(f"init_from: {config.init_from} reads {model.info.style}, this run wants {wanted}")
    learner = model.prompt_learner
    if learner is not None and learner.config.design != config.fpl:
        raise ValueError(
            f"init_from: the prompt learner of {config.init_from} has fpl {learner.config.design!r}, this "
            f"run wants {config.fpl!r}"
        )
    return model


def style_of(config: FinetuneConfig, tokenizer: PreTrainedTokenizerBase) -> PromptStyle:
    """The wording of prompts that the run trains on."""
    template = config.template or ("chat" if tokenizer.chat_template else "vicuna")
    return PromptStyle(
        template,
        "soft_prompts" if config.prompt_learner else "picture",
        told=config.told,
        system=config.system if template == "chat" else "",
    )


def prepare(config: FinetuneConfig, run: Path, processes: Processes) -> tuple[Data, str]:
    """The judged faces and the general data, and the detector's digest; the detector is not needed after.

    What is found is kept in `run`: of several processes the main one looks first, the others read.
    """
    if not processes.main:
        processes.wait()
    detector = Detector.from_pretrained(config.kfd, processes.device, config.encoder or None)
    judged = Path(config.judged or run)
    train, val = (
        ground_once(judged / split, detector, config.data, split, count, config.seed, drawn=config.drawn)
        for split, count in (("train", config.faces), ("val", config.val_faces))
    )
    if config.taught == "truth":
        train, val = train.truths(), val.truths()
    data = Data(train, val)
    if config.general:
        records = read_general(config.general, config.general_images or None)
        wanted = general_examples(config.planned(len(train)))
        taught, held_out = split_general(records, config.val_general, wanted, config.seed)
        data = Data(
            train,
            val,
            embed_once(run / "general", detector, taught) if taught else None,
            embed_once(run / "general-val", detector, held_out),
        )
    if processes.main:
        processes.wait()
    return data, detector.digest


def run_folder(config: FinetuneConfig) -> Path:
    """Where a run keeps its state."""
    return Path(config.run or Path("runs") / f"finetune-{Path(config.out).name}")


def run(config: FinetuneConfig, processes: Processes) -> None:
    """Judge the faces, build the model, train it.

    Raises FileNotFoundError or ValueError that says which input is of no use.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        raise ValueError(
            "expected processes with plain data parallelism or FSDP, got DeepSpeed: little trains here, so "
            "ZeRO-2 has nothing to split; for the frozen base model take configs/accelerate/fsdp.yaml"
        )
    folder = run_folder(config)
    data, digest = prepare(config, folder, processes)
    if processes.device != "cpu":
        torch.cuda.empty_cache()  # the detector's place
    config = config.planned(len(data.train))
    sharded = processes.count > 1 and os.environ.get("ACCELERATE_USE_FSDP") == "true"
    model = build(config, data, processes, sharded)
    trainable, frozen = count_parameters(model)
    processes.print0(
        f"{trainable:,} trainable and {frozen:,} frozen parameters; {len(data.train)} judged faces"
        + (f", {len(data.general)} general records" if data.general else "")
        + (f"; base model split over {processes.count} processes" if sharded else "")
    )
    fit(config, model, data, digest, folder, processes)
    if processes.main:
        save_config(config, Path(config.out) / RUN_FILE)
        processes.print0(f"saved {config.out}")


def main(args: list[str] | None = None) -> None:
    """Read the command line and train, as one of however many processes were launched."""
    config = parse(FinetuneConfig, __doc__, args)
    processes = init_distributed(config.device)
    try:
        with one_writer(run_folder(config), is_folder=True) if processes.main else nullcontext():
            run(config, processes)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    cleanup(processes)


if __name__ == "__main__":
    main()
