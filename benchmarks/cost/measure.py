"""Times and peak memory of the real modules, one task after another."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks.cost.build import (
    build_assistant,
    build_kfd,
    compute_dtype,
    detections,
    only_words,
    scored_case,
    training_batch,
)
from benchmarks.cost.computed import Machine, computed_rows, prompt_tokens
from benchmarks.cost.rows import Row
from benchmarks.cost.sizes import Size
from data_sim.dialogue import FIRST_QUESTION
from kfd.training.losses import LossWeights, kfd_loss
from llm.conversation import Conversation

WARMUP = 2  # runs before the timed ones: kernels are chosen and memory is taken in them


def matrix_tflops(size: Size, device: str) -> float:
    """Rate of a large product of random matrices, in 10^12 operations per second."""
    dtype = compute_dtype(device)
    left, right = (torch.randn(size.matrix, size.matrix, dtype=dtype, device=device) for _ in range(2))
    seconds = median(_times(lambda: left @ right, 3 * size.repeats, device))
    return 2 * size.matrix**3 / seconds / 1e12


def measured_rows(size: Size, tasks: tuple[str, ...], device: str, matrix: float) -> Iterator[Row]:
    """The table. matrix: 10^12 operations per second, see `matrix_tflops`."""
    measures = {
        "kfd-inference": _judging,
        "kfd-training": _training,
        "qlora": _finetuning,
        "chat": _chatting,
    }
    dtype = "fp32" if device == "cpu" else "bf16"
    for row in computed_rows(size, tasks, Machine(), dtype):
        _clear(device)
        values = measures[row.task](size, row, device)
        if device != "cpu":
            values["peak_bytes"] = torch.cuda.max_memory_allocated(device)
            values["reserved_bytes"] = torch.cuda.max_memory_reserved(device)
        if row.task != "chat":  # a chat is bound by reading the weights
            values["share"] = row.flops / values["seconds"] / 1e12 / matrix
        yield replace(row, least_seconds=None, bytes={}, **values)


def _judging(size: Size, row: Row, device: str) -> dict[str, Any]:
    """Faces to scores and maps, class descriptions encoded beforehand as in a loaded detector."""
    model = build_kfd(size, device)
    images = torch.rand(size.images, 3, *(size.encoder.image_size,) * 2, device=device)
    with torch.inference_mode():
        class_features = model.alignment.class_features(model.encoder)
        seconds = median(_times(lambda: model(images, class_features), size.repeats, device))
    return {"seconds": seconds, "rates": {"images/s": size.images / seconds}}


def _training(size: Size, row: Row, device: str) -> dict[str, Any]:
    """A step on pairs of a real face and a forgery of it, every loss; towers frozen, no feature cache."""
    model = build_kfd(size, device).train()
    count, side = size.pairs, size.encoder.image_size
    images = torch.rand(2 * count, 3, side, side, device=device)
    masks = torch.zeros(2 * count, 1, side, side, device=device)
    masks[count:, :, side // 4 : side // 2, side // 4 : side // 2] = 1
    labels = torch.arange(2, device=device).repeat_interleave(count)
    aligned = torch.ones(count, dtype=torch.bool, device=device)

    def loss() -> torch.Tensor:
        return kfd_loss(model, model(images), masks, labels, aligned, LossWeights())[0]

    seconds = _step_seconds(model, loss, size, device)
    return {"seconds": seconds, "rates": {"images/s": 2 * count / seconds}}


def _finetuning(size: Size, row: Row, device: str) -> dict[str, Any]:
    """A QLoRA step on dialogues about faces, through prompt learner and projector."""
    model = build_assistant(size, row.model, device, quantize=True, adapter=True).train()
    batch = training_batch(model.prompter, size).to(device)
    found = detections(size, size.conversations, device)

    def loss() -> torch.Tensor:
        return model(batch, found).total

    seconds = _step_seconds(model, loss, size, device)
    return {"seconds": seconds, "rates": {"tokens/s": batch.input_ids.numel() / seconds}}


def _step_seconds(model: nn.Module, loss: Callable[[], torch.Tensor], size: Size, device: str) -> float:
    """Median time of forward, backward, clipping and AdamW."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return median(_times(step, size.repeats, device))


def _chatting(size: Size, row: Row, device: str) -> dict[str, Any]:
    """The first question about a face: until the first piece of the answer, then the rest of it."""
    model = build_assistant(size, row.model, device, quantize="NF4" in row.setting, adapter=False).eval()
    only_words(model)
    found, prompt = detections(size, 1, "cpu"), prompt_tokens()  # a Detector answers on the CPU
    firsts, rates = [], []
    for _ in range(WARMUP + size.repeats):
        _wait(device)
        start = time.perf_counter()
        conversation = Conversation(model, scored_case(), found)
        pieces = conversation.ask(FIRST_QUESTION, max_new_tokens=size.answer)
        next(pieces)
        first = time.perf_counter()
        for _ in pieces:
            pass
        end = time.perf_counter()
        if len(conversation.input_ids) != prompt + size.answer - 1:  # the last token is not read
            raise RuntimeError(f"expected an answer of {size.answer} tokens, got {conversation.history}")
        firsts.append(first - start)
        rates.append((size.answer - 1) / (end - first))
    return {"seconds": median(firsts[WARMUP:]), "rates": {"tokens/s": median(rates[WARMUP:])}}


def _times(run: Callable[[], object], repeats: int, device: str) -> list[float]:
    """Seconds of each of `repeats` runs after WARMUP others."""
    seconds = []
    for _ in range(WARMUP + repeats):
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return seconds[WARMUP:]


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def _clear(device: str) -> None:
    """Forget the last task's memory, so that a peak is of one task, the making of its model included."""
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
