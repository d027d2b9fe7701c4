"""The project's own modules at a given shape, with random weights made on the spot.

Time and memory do not depend on what the weights are, so nothing is downloaded. A 4-bit language model is
quantised tensor by tensor: at no time does more than one of them exist unquantised.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from benchmarks.cost.sizes import Size
from benchmarks.cost.vocabulary import dialogue_texts, train_tokenizer
from data_sim.dialogue import Case, make_dialogue, random_case
from kfd.config import KFDConfig
from kfd.detection import Detection
from kfd.encoders.imagebind import ImageBind, ImageBindEncoder
from kfd.encoders.text import DESCRIPTIONS
from kfd.encoders.text import train_tokenizer as train_text_tokenizer
from kfd.model import KFD
from llm.adapter import add_adapter
from llm.model import ForgeryLLM
from llm.prompt import PromptStyle
from llm.tokens import Batch, PromptTokenizer, Tokens, collate
from llm.training.config import FinetuneConfig
from prompt_learner import ForgeryPromptLearner, PromptLearnerConfig, VisualProjector

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VOCABULARY = 800  # tokens of the stand-in for a language model's own tokenizer
SEED = 0
STYLE = PromptStyle("vicuna")


def compute_dtype(device: str) -> torch.dtype:
    """What frozen towers and language models compute in: bfloat16 on a GPU, float32 on a CPU."""
    return torch.float32 if device == "cpu" else torch.bfloat16


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Parameters are made in `dtype` at once; a cast afterwards would need both copies for a moment."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def build_kfd(size: Size, device: str) -> KFD:
    """A detector on frozen ImageBind towers, heads in float32."""
    torch.manual_seed(SEED)
    tokenizer = train_text_tokenizer([text for texts in DESCRIPTIONS.values() for text in texts])
    with torch.device(device), _default_dtype(compute_dtype(device)):
        encoder = ImageBindEncoder(ImageBind(size.encoder))
    config = KFDConfig(encoder="imagebind-huge", align_dim=size.encoder.embed_dim)
    return KFD(config, encoder, tokenizer).to(device).eval()


def build_base(size: Size, name: str, device: str, quantize: bool = False) -> PreTrainedModel:
    """A language model of a named shape, as llm.base.load_base would load it; device "meta" has no values."""
    from transformers import AutoModelForCausalLM

    config, dtype = size.llm_config(name), compute_dtype(device)
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if device == "meta":
        return llm.eval()
    if quantize:
        from transformers import BitsAndBytesConfig
        from transformers.integrations.bitsandbytes import replace_with_bnb_linear

        settings = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        llm = replace_with_bnb_linear(llm, ["lm_head"], settings)
        llm.is_loaded_in_4bit = True  # what transformers sets, and PEFT looks for
    torch.manual_seed(SEED)
    for module in llm.modules():
        for key, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, key, _random(parameter, dtype, device))
    decoder = llm.get_decoder()
    with torch.device(device):  # its buffers are computed, not stored
        decoder.rotary_emb = type(decoder.rotary_emb)(config)
    return llm.eval()


def _random(parameter: nn.Parameter, dtype: torch.dtype, device: str) -> nn.Parameter:
    """Values in place of a parameter on the meta device; a 4-bit one is quantised at once."""
    if parameter.ndim == 1:
        return nn.Parameter(torch.ones(parameter.shape, dtype=dtype, device=device), requires_grad=False)
    values = torch.empty(parameter.shape, dtype=dtype, device=device).normal_(std=0.02)
    if hasattr(parameter, "quant_type"):
        return type(parameter)(values, requires_grad=False, **parameter.__dict__).to(device)
    return nn.Parameter(values, requires_grad=False)


@lru_cache(maxsize=1)
def stand_in_tokenizer() -> PreTrainedTokenizerBase:
    """A small vocabulary for a large model: a prompt has more tokens in it than in the model's own."""
    return train_tokenizer(dialogue_texts(400, SEED), VOCABULARY)


def stand_in_prompter() -> PromptTokenizer:
    """The paper's template over that vocabulary."""
    return PromptTokenizer(stand_in_tokenizer(), STYLE, PromptLearnerConfig.num_prompts)


def build_assistant(size: Size, name: str, device: str, quantize: bool, adapter: bool) -> ForgeryLLM:
    """Language model, prompt learner and projector; adapter: with LoRA, recomputing activations to train."""
    llm = build_base(size, name, device, quantize)
    if adapter:
        llm = add_adapter(llm, FinetuneConfig.rank, FinetuneConfig.alpha, FinetuneConfig.dropout)
        llm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    sizes = PromptLearnerConfig(llm.config.hidden_size, size.encoder.embed_dim, len(size.encoder.taps))
    learner, projector = ForgeryPromptLearner(sizes).to(device), VisualProjector(sizes).to(device)
    return ForgeryLLM(llm, stand_in_tokenizer(), STYLE, learner, projector)


def only_words(model: ForgeryLLM) -> None:
    """Let the model write ordinary words only, so that no answer ends before its length is reached."""
    tokenizer, head = model.prompter.tokenizer, model.llm.get_output_embeddings().weight
    words = [token for token in range(len(tokenizer)) if tokenizer.decode([token]).strip().isalpha()]
    with torch.no_grad():
        rows = head[words].clone()
        head.zero_()
        head[words] = rows


def training_batch(prompter: PromptTokenizer, size: Size) -> Batch:
    """Dialogues about faces, each of exactly the wanted number of tokens."""
    rng = random.Random(SEED)
    items = [_long_conversation(prompter, size.tokens, rng) for _ in range(size.conversations)]
    return collate(items, size.tokens)


def _long_conversation(prompter: PromptTokenizer, tokens: int, rng: random.Random) -> Tokens:
    case, turns = random_case(rng), []
    while len(conversation := prompter.conversation(case, turns)) < tokens:
        turns += make_dialogue(case, rng, turns=3)
    return conversation


def detections(size: Size, faces: int, device: str) -> Detection:
    """What a detector of this shape says of some faces."""
    draw = torch.Generator(device).manual_seed(SEED)
    config = size.encoder
    side, grid = config.image_size, config.image_size // config.patch_size
    score = torch.rand(faces, generator=draw, device=device)
    return Detection(
        logit=torch.logit(score),
        score=score,
        heatmap=torch.rand(faces, 1, side, side, generator=draw, device=device),
        consistency_maps=tuple(
            torch.randn(faces, 2, grid, grid, generator=draw, device=device) for _ in config.taps
        ),
        embedding=nn.functional.normalize(
            torch.randn(faces, config.embed_dim, generator=draw, device=device), dim=1
        ),
    )


def scored_case() -> Case:
    """A face with a verdict."""
    return Case("fake", 0.93, ("left_eye", "mouth"))
