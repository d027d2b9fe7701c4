"""CLIP through transformers as the detector's encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfd.encoders.base import ImageFeatures, normalize_pixels
from kfd.encoders.towers import check_length

if TYPE_CHECKING:
    from transformers import CLIPModel


class ClipEncoder(nn.Module):
    """CLIP behind the detector's interface; see kfd.encoders.base.Encoder for the methods.

    model: any `transformers.CLIPModel`, for example openai/clip-vit-large-patch14 (MIT).
    taps: numbers of the vision blocks to read, counted from 1; (8, 16, 24) suits ViT-L.
    """

    def __init__(self, model: CLIPModel, taps: tuple[int, ...]):
        super().__init__()
        vision, text = model.config.vision_config, model.config.text_config
        if not taps or any(not 1 <= tap <= vision.num_hidden_layers for tap in taps):
            raise ValueError(f"taps must be blocks 1..{vision.num_hidden_layers}, got {taps}")
        self.model = model
        self.taps = taps
        self.patch_size = vision.patch_size
        self.image_size = vision.image_size
        self.embed_dim = model.config.projection_dim
        self.patch_dims = (vision.hidden_size,) * len(taps)
        self.text_dim = text.hidden_size
        self.vocab_size = text.vocab_size
        self.context_length = text.max_position_embeddings

    @property
    def text_parts(self) -> tuple[nn.Module, ...]:
        """The modules of the text tower."""
        return self.model.text_model, self.model.text_projection

    def embed_tokens(self, input_ids: Tensor) -> Tensor:
        return self.model.text_model.embeddings.token_embedding(input_ids)

    def text_features(self, token_embeddings: Tensor, eot: Tensor) -> Tensor:
        # CLIPTextModel takes ids only, so its parts are called in its order.
        length = check_length(token_embeddings, self.context_length)
        text_model = self.model.text_model
        tokens = text_model.embeddings(inputs_embeds=token_embeddings)
        mask = torch.full((length, length), float("-inf"), dtype=tokens.dtype, device=tokens.device).triu(1)
        tokens = text_model.encoder(inputs_embeds=tokens, attention_mask=mask[None, None]).last_hidden_state
        ends = text_model.final_layer_norm(tokens[torch.arange(len(tokens), device=tokens.device), eot])
        return F.normalize(self.model.text_projection(ends).float(), dim=-1)

    def image_features(self, images: Tensor) -> ImageFeatures:
        pixels = normalize_pixels(images).to(self.model.visual_projection.weight.dtype)
        output = self.model.vision_model(pixels, interpolate_pos_encoding=True, output_hidden_states=True)
        grid = (images.shape[2] // self.patch_size, images.shape[3] // self.patch_size)
        return ImageFeatures(
            # hidden_states[0] is what enters block 1; token 0 is the class token
            patches=tuple(output.hidden_states[tap][:, 1:] for tap in self.taps),
            grids=(grid,) * len(self.taps),
            embedding=F.normalize(self.model.visual_projection(output.pooler_output).float(), dim=-1),
        )


def load_clip(source: str | Path) -> CLIPModel:
    """Read a CLIP model of transformers from a folder or a hub id, every tensor of it, in its own dtype.

    Raises OSError when there is none, ValueError when it is another model, damaged, or a tensor is missing,
    unknown or misshapen.
    """
    from safetensors import SafetensorError
    from transformers import CLIPConfig, CLIPModel
    from transformers.utils import logging

    kind = CLIPConfig.get_config_dict(source)[0].get("model_type")
    if kind != "clip":
        raise ValueError(f"{source}: expected a model of type 'clip', got {kind!r}; give a CLIP model")
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # its report on missing tensors is told by the error below
    logging.disable_progress_bar()
    try:
        model, report = CLIPModel.from_pretrained(
            source, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except SafetensorError as error:
        raise ValueError(f"{source} cannot be read ({error}); fetch it again") from None
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    problems = [f"missing {name}" for name in sorted(report["missing_keys"])]
    problems += [f"unexpected key {n}" for n in sorted(report["unexpected_keys"]) if "position_ids" not in n]
    problems += [
        f"{name}: expected {tuple(own)}, got {tuple(got)}"
        for name, got, own in sorted(report["mismatched_keys"])
    ]
    if problems:
        raise ValueError(
            f"{source} is not a whole CLIP model: {len(problems)} tensors missing, unknown or of another "
            f"shape, first {problems[:4]}; fetch it again"
        )
    return model
