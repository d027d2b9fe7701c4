"""CLIP through transformers as the detector's encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfd.encoders import ImageFeatures, normalize_pixels
from kfd.towers import check_length

if TYPE_CHECKING:
    from transformers import CLIPModel


class ClipEncoder(nn.Module):
    """CLIP behind the detector's interface; see kfd.encoders.Encoder for the methods.

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
        self.context_length = text.max_position_embeddings

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
        return F.normalize(self.model.text_projection(ends), dim=-1)

    def image_features(self, images: Tensor) -> ImageFeatures:
        output = self.model.vision_model(
            normalize_pixels(images), interpolate_pos_encoding=True, output_hidden_states=True
        )
        grid = (images.shape[2] // self.patch_size, images.shape[3] // self.patch_size)
        return ImageFeatures(
            # hidden_states[0] is what enters block 1; token 0 is the class token
            patches=tuple(output.hidden_states[tap][:, 1:] for tap in self.taps),
            grids=(grid,) * len(self.taps),
            embedding=F.normalize(self.model.visual_projection(output.pooler_output), dim=-1),
        )
