"""FLOPs and bytes from the shapes alone, where there is no GPU to measure on.

The real modules run on the meta device, where nothing is computed, and PyTorch counts their operations: a
multiplication with its addition as two, attention in full although half of it is masked. Bytes of activations
are what the modules were seen to hold at their highest, as so many bytes per token and width; tests keep them
true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cost.build import (
    build_assistant,
    build_base,
    build_kfd,
    scored_case,
    stand_in_prompter,
    training_batch,
)
from benchmarks.cost.rows import Row
from benchmarks.cost.sizes import Size
from data_sim.dialogue import FIRST_QUESTION
from kfd.encoders.imagebind import ImageBindConfig
from kfd.model import KFD
from llm.base import count_parameters
from llm.prompt import opening, question
from llm.tokens import IGNORED, NO_VERDICT, Batch

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

HALF, FULL = 2, 4  # bytes of a bfloat16 and of a float32
NF4 = (
    0.5 + (1 + FULL / 256) / 64
)  # bytes of a weight: 4 bits, a byte for 64 of them, a float32 for 256 of those
TRAINED = 4 * FULL  # a trained parameter, its gradient and Adam's two moments


@dataclass(frozen=True)
class Machine:
    """What bounds are computed for.

    tflops: bfloat16 matrix rate in 10^12 operations per second. bandwidth: of its memory, 10^12 bytes per
    second. By default those of an H200's data sheet.
    """

    tflops: float = 989.0
    bandwidth: float = 4.8

    def least_seconds(self, flops: float, weights: float) -> float:
        """No run is faster: every operation at full rate, or all weights read once."""
        return max(flops / (1e12 * self.tflops), weights / (1e12 * self.bandwidth))


def counted(run: Callable[[], object]) -> int:
    """Floating-point operations of a run, wherever its tensors are."""
    # Fused attention has no operations of its own on the meta device.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops()


# --- detector


def tower_bytes(config: ImageBindConfig, images: int) -> float:
    """Activations of the image tower without gradients: inside the last MLP, taps kept."""
    tokens = 1 + (config.image_size // config.patch_size) ** 2
    return 15 * HALF * images * tokens * config.vision_dim


def heads_bytes(config: ImageBindConfig, images: int, text_tokens: int) -> float:
    """Activations of a training step on frozen towers: what the heads and the text tower keep and return."""
    patches = images * (config.image_size // config.patch_size) ** 2
    of_patch = 6 * config.vision_dim + 17.5 * config.embed_dim + 1000
    of_text = 20 * config.text_dim * config.text_blocks
    return len(config.taps) * patches * of_patch + text_tokens * of_text


# --- language model


def layer_parameters(config: PretrainedConfig) -> float:
    """Weights of one decoder layer's seven projections."""
    width, head = config.hidden_size, config.hidden_size // config.num_attention_heads
    attention = 2 * width * head * (config.num_attention_heads + config.num_key_value_heads)
    return attention + 3 * width * config.intermediate_size


def finetune_bytes(config: PretrainedConfig, batch: Batch) -> float:
    """Activations of such a step: one layer's input each, and one layer, or the logits, being computed."""
    tokens, width, inner = batch.input_ids.numel(), config.hidden_size, config.intermediate_size
    inputs = HALF * config.num_hidden_layers * tokens * width
    layer = tokens * max(73 * width, 53 * width + 12 * inner)
    targets = int((batch.labels[:, 1:] != IGNORED).sum())
    return inputs + max(layer, config.vocab_size * (HALF * _kept(batch) + 3 * FULL * targets))


def _kept(batch: Batch) -> int:
    """Places whose logits are computed: where any row of the batch has a target, in all rows."""
    wanted = (batch.labels[:, 1:] != IGNORED) | (batch.yes_targets[:, 1:] != NO_VERDICT)
    return int(wanted.any(dim=0).sum()) * len(wanted)


def cache_bytes(config: PretrainedConfig, tokens: int) -> float:
    """Keys and values of a conversation."""
    head = config.hidden_size // config.num_attention_heads
    return 2 * HALF * config.num_hidden_layers * config.num_key_value_heads * head * tokens


def weight_bytes(config: PretrainedConfig, parameters: int, quantize: bool) -> float:
    """A base model in bfloat16, or its layers in NF4 with double quantisation and the rest in bfloat16."""
    if not quantize:
        return HALF * parameters
    linear = config.num_hidden_layers * layer_parameters(config)
    return NF4 * linear + HALF * (parameters - linear)


# --- rows of the table


def computed_rows(size: Size, tasks: tuple[str, ...], machine: Machine, dtype: str = "bf16") -> Iterator[Row]:
    """The table from shapes: times are bounds for `machine`, bytes those of bf16. dtype: for the settings."""
    if "kfd-inference" in tasks or "kfd-training" in tasks:
        yield from _detector_rows(size, tasks, machine, dtype)
    for name in size.llms:
        if "qlora" in tasks:
            yield _finetune_row(size, name, machine)
        if "chat" in tasks:
            yield from (_chat_row(size, name, q, machine, "NF4" if q else dtype) for q in (False, True))


def _detector_rows(size: Size, tasks: tuple[str, ...], machine: Machine, dtype: str) -> Iterator[Row]:
    config, model = size.encoder, build_kfd(size, "meta")
    trained, frozen = count_parameters(model)
    texts, tokens = model.alignment.input_ids.shape
    tokens += model.config.num_context
    name = "ImageBind-Huge" if config == ImageBindConfig() else "tiny ImageBind"
    weights = HALF * frozen + FULL * trained
    if "kfd-inference" in tasks:
        images = torch.empty(size.images, 3, config.image_size, config.image_size, device="meta")
        classes = torch.empty(2, config.embed_dim, device="meta")
        with torch.no_grad():
            flops = counted(lambda: model(images, classes))
        seconds = machine.least_seconds(flops, weights)
        yield Row(
            "kfd-inference",
            name,
            f"{size.images} faces, {config.image_size} px, {dtype}",
            flops=flops,
            least_seconds=seconds,
            rates={"images/s": size.images / seconds},
            bytes={"weights": weights, "activations": tower_bytes(config, size.images)},
            parameters=(trained, frozen),
        )
    if "kfd-training" in tasks:
        images = 2 * size.pairs
        flops = counted(lambda: _detector_step(model, images))
        seconds = machine.least_seconds(flops, weights)
        activations = max(tower_bytes(config, images), heads_bytes(config, images, texts * tokens))
        yield Row(
            "kfd-training",
            name,
            f"{size.pairs} pairs, {config.image_size} px, towers frozen in {dtype}",
            flops=flops,
            least_seconds=seconds,
            rates={"images/s": images / seconds},
            bytes={
                "weights": HALF * frozen,
                "trained, gradients, Adam": TRAINED * trained,
                "activations": activations,
            },
            parameters=(trained, frozen),
        )


def _detector_step(model: KFD, images: int) -> None:
    """Forward and backward of a training step on the meta device."""
    side = model.encoder.image_size
    output = model(torch.empty(images, 3, side, side, device="meta"))
    (output.logit.sum() + output.mask_logits.sum()).backward()


def _finetune_step(llm: PreTrainedModel, rows: int, length: int, kept: int) -> None:
    """Forward and backward of a fine-tuning step on the meta device, activations recomputed.

    rows, length: of the batch. kept: places of each row whose logits are computed.
    """
    embeds = torch.empty(rows, length, llm.config.hidden_size, dtype=llm.dtype, device="meta")
    places = torch.arange(kept, device="meta")
    mask = torch.zeros(
        rows, 1, length, length, dtype=llm.dtype, device="meta"
    )  # without, values are looked at
    output = llm(
        inputs_embeds=embeds.requires_grad_(), attention_mask=mask, use_cache=False, logits_to_keep=places
    )
    output.logits.sum().backward()


def _finetune_row(size: Size, name: str, machine: Machine) -> Row:
    config = size.llm_config(name)
    model = build_assistant(size, name, "meta", quantize=False, adapter=True).train()
    trained, base = count_parameters(model)
    batch = training_batch(stand_in_prompter(), size)
    rows, length = batch.input_ids.shape
    flops = counted(lambda: _finetune_step(model.llm, rows, length, _kept(batch) // rows))
    weights = weight_bytes(config, base, quantize=True)
    seconds = machine.least_seconds(flops, weights)
    return Row(
        "qlora",
        name,
        f"{size.conversations} x {size.tokens} tokens, NF4, recomputed activations",
        flops=flops,
        least_seconds=seconds,
        rates={"tokens/s": batch.input_ids.numel() / seconds},
        bytes={
            "weights": weights,
            "trained, gradients, Adam": TRAINED * trained,
            "activations": finetune_bytes(config, batch),
        },
        parameters=(trained, base),
    )


def _chat_row(size: Size, name: str, quantize: bool, machine: Machine, dtype: str) -> Row:
    config = size.llm_config(name)
    llm = build_base(size, name, "meta")
    parameters = sum(count_parameters(llm))
    weights, prompt = weight_bytes(config, parameters, quantize), prompt_tokens()
    table = HALF * config.hidden_size * config.vocab_size  # of embeddings a few rows are read, not all
    first = machine.least_seconds(_flops_of_tokens(llm, prompt), weights - table)
    flops = _flops_of_tokens(llm, prompt + size.answer) - _flops_of_tokens(llm, prompt + size.answer - 1)
    cache = cache_bytes(config, prompt + size.answer)
    each = machine.least_seconds(flops, weights - table + cache)
    return Row(
        "chat",
        name,
        f"{prompt} + {size.answer} tokens, {dtype}",
        flops=flops,
        least_seconds=first,
        rates={"tokens/s": 1 / each},
        bytes={"weights": weights, "KV cache": cache},
        parameters=(0, parameters),
    )


def _flops_of_tokens(llm: PreTrainedModel, tokens: int) -> int:
    """Operations of reading so many tokens at once, with the logits of the last."""
    with torch.no_grad():
        ids = torch.zeros(1, tokens, dtype=torch.int64, device="meta")
        return counted(lambda: llm(ids, logits_to_keep=1))


def prompt_tokens() -> int:
    """Tokens before the first answer, in the stand-in vocabulary."""
    prompter = stand_in_prompter()
    head = opening(prompter.style, prompter.markers, scored_case())
    return len(prompter.tokenise([*head, *question(prompter.markers, FIRST_QUESTION, first=True)]))
