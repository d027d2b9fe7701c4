"""Loading a causal language model of transformers, and telling one from another."""

from __future__ import annotations

import hashlib
import math
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from common.storage import check_finite, naming
from llm.packaged import PACKAGED, gguf_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class BaseShape:
    """The properties of a base model that its adapter relies on."""

    model_type: str
    hidden_size: int
    num_layers: int
    vocab_size: int


def load_base(
    name: str | Path, device: str = "cpu", dtype: torch.dtype | None = None, quantize: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal LM and its tokenizer, from a local folder, a hub id or a name of llm.packaged.PACKAGED.

    dtype: of the computation; by default bfloat16 on a GPU and float32 on a CPU, which has no fast bfloat16.
    quantize: weights in 4 bits (NF4, double quantisation); needs bitsandbytes.
    Raises FileNotFoundError when `name` looks like a path and there is no model, or its package is missing;
    ValueError naming a folder whose files are damaged, or weights that hold a number that is not finite.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = str(name)
    if name in PACKAGED:
        return _load_packaged(name, device, dtype, quantize)
    is_path = name.startswith((".", "/", "~")) or Path(name).exists()
    if is_path and not (Path(name) / "config.json").is_file():
        raise FileNotFoundError(f"expected a language model (config.json and weights) in {name}, found none")
    dtype = dtype or (torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16)
    options = {"dtype": dtype, "device_map": {"": device}} if quantize else {"dtype": dtype}
    if quantize:
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    with naming(name) if is_path else nullcontext():
        llm = AutoModelForCausalLM.from_pretrained(name, **options)
        tokenizer = AutoTokenizer.from_pretrained(name)
    llm = llm if quantize else llm.to(device)
    check_finite(dict(llm.named_parameters()), name)
    for module in llm.modules():
        # On a CPU with bfloat16 units, bitsandbytes would repack 4-bit weights at the first inference, with
        # rounded scales: after a validation, training would go on from other weights.
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False
    return llm.eval(), tokenizer


def _load_packaged(
    name: str, device: str, dtype: torch.dtype | None, quantize: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    if quantize:
        raise ValueError(f"{name} comes in 4 bits and is small: leave --quantize out")
    path = gguf_of(name)
    # Unpacked: products with packed weights are an order of magnitude slower to train through.
    unpacked = GgufConfig(gguf_file=path.name, dequantize=True)
    llm = AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, quantization_config=unpacked, dtype=dtype or torch.float32
    )
    return llm.to(device).eval(), AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)


def base_shape(llm: PreTrainedModel) -> BaseShape:
    """The sizes of a loaded base model."""
    config = llm.config.get_text_config()
    table = llm.get_input_embeddings()
    return BaseShape(config.model_type, table.embedding_dim, config.num_hidden_layers, table.num_embeddings)


def base_digest(llm: PreTrainedModel) -> str:
    """SHA-256 of the model's normalisation weights.

    They differ between any two trained models, stay unquantised under QLoRA and are read in no time,
    while hashing the 13 GB of a 7B model would hold up every start. bfloat16, so that a model loaded in
    another precision is still the same model.
    """
    digest = hashlib.sha256(repr(sorted(asdict(base_shape(llm)).items())).encode())
    for name, parameter in sorted(llm.named_parameters()):
        if parameter.ndim == 1 and "norm" in name and "lora_" not in name:
            values = parameter.detach().to("cpu", torch.bfloat16).view(torch.int16)
            digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def token_rms(llm: PreTrainedModel) -> float:
    """Root mean square of the token embeddings: the size at which soft prompts should start."""
    rows = llm.get_input_embeddings().weight.detach().split(8192)  # a float32 copy of all would be gigabytes
    squares = sum(float(part.float().pow(2).sum()) for part in rows)
    return math.sqrt(squares / llm.get_input_embeddings().weight.numel())


def shard_base(llm: nn.Module, device: str) -> None:
    """Split the frozen weights of every decoder layer over the processes (FSDP2), in place.

    What trains stays whole on every process, and its gradients are summed as without sharding; embeddings and
    output layer stay whole too. device: where this process computes; the weights are moved there.
    Raises ValueError for a model in 4 bits.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if any(getattr(module, "quant_state", None) is not None for module in llm.parameters()):
        raise ValueError(
            "expected a base model in 16 or 32 bits to shard, got one in 4 bits: leave --quantize out, or "
            "give every GPU its own copy (configs/accelerate/two_gpus.yaml)"
        )
    mesh = init_device_mesh(torch.device(device).type, (torch.distributed.get_world_size(),))
    base = llm.get_base_model() if hasattr(llm, "get_base_model") else llm
    for layer in base.get_decoder().layers:
        trains = {parameter for parameter in layer.parameters() if parameter.requires_grad}
        # Every layer is a root of its own, and roots would keep what they gathered.
        fully_shard(layer, mesh=mesh, ignored_params=trains, reshard_after_forward=True)
    for parameter in llm.parameters():
        if parameter.device.type != torch.device(device).type:
            parameter.data = parameter.data.to(device)


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """(trainable, frozen) parameters; 4-bit weights count as they are stored."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    trainable = sum(size for size, trains in sizes if trains)
    return trainable, sum(size for size, _ in sizes) - trainable
