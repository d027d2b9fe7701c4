"""Qwen2.5-VL or Qwen2-VL that reads a face crop: frozen, in 4 bits, and as a classifier with LoRA in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from baselines.qwen.config import QwenConfig
from baselines.qwen.prompt import ANSWERS, QUESTION, chat_text
from baselines.system import System
from kfd.encoders.backbones import DTYPES, Dtype, usual_dtype, weights_digest
from kfd.encoders.base import normalize_pixels

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PUBLIC = "Qwen/Qwen2.5-VL-7B-Instruct"  # hub id
LICENCE = "Apache-2.0"
KINDS = {"qwen2_5_vl": "Qwen2.5-VL", "qwen2_vl": "Qwen2-VL"}  # what transformers calls them; cut alike
LORA_TARGETS = (
    r".*(language_model\.layers|visual\.blocks)\..*\."
    r"(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|qkv|proj)"
)
END = "<|im_end|>"


@dataclass(frozen=True)
class LoadedQwen:
    """The frozen model, its tokenizer, and the digest of its weights."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    digest: str


@dataclass(frozen=True)
class QwenOutput:
    """See kfd.reader.ReaderOutput for the first four.

    answers: (B, 2) mean log-likelihood of a token of either answer, in CLASSES order.
    """

    logit: Tensor
    mask_logits: None
    consistency_maps: tuple[()]
    embedding: None
    answers: Tensor


def load_qwen(
    config: QwenConfig,
    weights: str | Path | None = None,
    dtype: Dtype | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> LoadedQwen:
    """Read a Qwen2.5-VL or Qwen2-VL and freeze it. weights: folder or hub id, by default PUBLIC.

    dtype: what it computes in, by default bf16 on a GPU and fp32 on a CPU. say: is told what was read.
    Raises FileNotFoundError without the weights, ValueError for a model of another kind.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, BitsAndBytesConfig

    source = str(weights or PUBLIC)
    compute = DTYPES[dtype or usual_dtype(config.encoder, device)]
    options: dict[str, object] = {"dtype": compute}
    if config.quantize:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
        )
        options["device_map"] = {"": device}
    try:
        kind = AutoConfig.from_pretrained(source).model_type
        if kind not in KINDS:
            raise ValueError(f"{source}: expected a {' or '.join(KINDS.values())}, got {kind}")
        model = AutoModelForImageTextToText.from_pretrained(source, **options)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except OSError as error:
        raise FileNotFoundError(
            f"no {' or '.join(KINDS.values())} in {source} ({str(error).splitlines()[0]}); name its folder "
            f"or hub id as the encoder's weights, or fetch it: hf download {PUBLIC}"
        ) from None
    for module in model.modules():
        # Else bitsandbytes repacks 4-bit weights at the first inference, with rounded scales (see llm.base).
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False
    say(f"{KINDS[kind]}: {source}{', in 4 bits' if config.quantize else ''}. Licence: {LICENCE}")
    model = model if config.quantize else model.to(device)
    return LoadedQwen(model.requires_grad_(False).eval(), tokenizer, weights_digest(model))


def image_patches(images: Tensor, model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    """Pictures as Qwen's vision tower reads them.

    images: (B, 3, S, S) in [0, 1], S a multiple of the size of a merged patch. Returns (B * N, 3 * T * P * P)
    patches, those that will be merged next to one another, and the grids (B, 3) of frames, rows and columns.
    Raises ValueError for another side.
    """
    vision = model.config.vision_config
    patch, merge = vision.patch_size, vision.spatial_merge_size
    if images.shape[-1] % (patch * merge):
        raise ValueError(f"expected crops of a multiple of {patch * merge} pixels, got {images.shape[-1]}")
    side = images.shape[-1] // patch
    cells = normalize_pixels(images).reshape(-1, 3, side // merge, merge, patch, side // merge, merge, patch)
    cells = cells.permute(0, 2, 5, 3, 6, 1, 4, 7)  # (B, h, w, m, m, 3, P, P)
    frames = cells[:, :, :, :, :, :, None].expand(*cells.shape[:6], vision.temporal_patch_size, patch, patch)
    grid = torch.tensor([[1, side, side]], device=images.device).expand(len(images), 3)
    return frames.reshape(len(images) * side * side, -1), grid


def num_image_tokens(model: PreTrainedModel, size: int) -> int:
    """Places that a crop of `size` pixels takes up in the sequence."""
    vision = model.config.vision_config
    return (size // (vision.patch_size * vision.spatial_merge_size)) ** 2


class QwenClassifier(System):
    """LoRA in language model and vision blocks; compares the likelihoods of the two answers.

    The logit is log P(answer "fake") - log P(answer "real"), each of the whole answer with its end, so that
    it does not depend on how a tokenizer splits the two words.
    """

    words = "Qwen2.5-VL, a vision-language model fine-tuned to answer whether the face is real or fake."

    def __init__(self, config: QwenConfig, loaded: LoadedQwen):
        from peft import LoraConfig, inject_adapter_in_model

        super().__init__(config, config.image_size, loaded.model)
        lora = LoraConfig(
            r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=LORA_TARGETS
        )
        inject_adapter_in_model(lora, self.tower)
        for parameter in self.tower.parameters():
            if parameter.requires_grad and not parameter.is_meta:
                parameter.data = parameter.data.float()  # small steps would be lost in 16 bits
        prompt = chat_text(QUESTION, num_image_tokens(loaded.model, config.image_size))
        ids, answered, seen, self.num_answer = _sequences(loaded.tokenizer, prompt)
        self.register_buffer("input_ids", ids, persistent=False)  # (2, L), in CLASSES order
        self.register_buffer("answered", answered, persistent=False)  # (2, L) bool, True in the answer
        self.register_buffer("seen", seen, persistent=False)  # (2, L), 0 where padded

    def forward(self, images: Tensor, constants: Tensor | None = None) -> QwenOutput:
        size = len(images)
        patches, grid = image_patches(images, self.tower)
        ids = self.input_ids.repeat(size, 1)  # (2 B, L): both answers of a picture, then the next picture
        both = patches.unflatten(0, (size, -1)).repeat_interleave(2, 0).flatten(0, 1)
        logits = self.tower(
            input_ids=ids,
            attention_mask=self.seen.repeat(size, 1),
            pixel_values=both.to(self.tower.dtype),
            image_grid_thw=grid.repeat_interleave(2, 0),
            mm_token_type_ids=(ids == self.tower.config.image_token_id).int(),
            logits_to_keep=self.num_answer + 1,
            use_cache=False,
        ).logits.float()
        told = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, -self.num_answer :, None]).squeeze(-1)
        counted = self.answered[:, -self.num_answer :].repeat(size, 1)
        sums = (told * counted).sum(1).unflatten(0, (size, 2))  # (B, 2)
        answers = sums / self.answered.sum(1)
        return QwenOutput(sums[:, 1] - sums[:, 0], None, (), None, answers)

    def loss(self, output: QwenOutput, labels: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the tokens of the right answer, in mean over the batch."""
        value = -output.answers.gather(1, labels[:, None]).mean()
        return value, {"answer": float(value.detach())}


def _sequences(tokenizer: PreTrainedTokenizerBase, prompt: str) -> tuple[Tensor, Tensor, Tensor, int]:
    """Ids (2, L) of the prompt and either answer, padded to the right; (2, L) bool, where the answer is;
    (2, L) int64, 0 where it is padded; and how many of the last columns an answer may fill."""
    start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    rows = [tokenizer(answer + END, add_special_tokens=False)["input_ids"] for answer in ANSWERS]
    longest = max(map(len, rows))
    ids = torch.tensor([start + row + [row[-1]] * (longest - len(row)) for row in rows])
    place = torch.arange(len(start) + longest)
    seen = place < torch.tensor([len(start) + len(row) for row in rows])[:, None]
    return ids, seen & (place >= len(start)), seen.long(), longest
