"""Grad-CAM: what the forgery score of a face rests on (paper Fig. 5).

from kfd.detector import Detector, to_batch
maps = Detector.from_pretrained("checkpoints/embedded/kfd").grad_cam(to_batch([pixels]))
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from kfd.encoders.base import ImageFeatures
from kfd.model import KFD


class _LogitOfGrid(nn.Module):
    """The forgery logit as a function of the last tap's features alone; `grid` is where Grad-CAM looks."""

    def __init__(self, model: KFD, image: ImageFeatures, class_features: Tensor):
        super().__init__()
        self.grid = nn.Identity()
        self._parts = (model, image, class_features)  # a tuple: the model's parameters are not this module's

    def forward(self, features: Tensor) -> Tensor:
        """(B, D, H, W) -> (B,) logits."""
        model, image, class_features = self._parts
        patches = self.grid(features).flatten(2).transpose(1, 2)
        image = replace(image, patches=(*image.patches[:-1], patches))
        return model.judge(image, features.shape[-1], class_features).logit


def grad_cam(model: KFD, images: Tensor, class_features: Tensor | None = None) -> Tensor:
    """Grad-CAM (Selvaraju et al., 2017) of the forgery logit, computed by Captum.

    The layer is the last one the detector reads: the last tapped layer of the embedded encoder's tower;
    the patch tokens of the last tapped block, laid out on their grid, of the transformers. Each channel is
    weighted by the mean gradient of the logit with respect to it, the weighted channels are summed, what
    lowers the logit is cut off. Nothing stands between this layer and the heads, so no gradient runs
    through the image tower, frozen or not, and a map costs one more pass of the tower.

    model: in eval mode. images: (B, 3, S, S) float32 RGB in [0, 1], on the model's device.
    class_features: (2, C) as `model.alignment.class_features` gives them, computed anew when None.
    Returns (B, 1, S, S) float32 in [0, 1]: shares of each map's own highest value; all zero where no place
    raises the logit. Works under `torch.no_grad` and `torch.inference_mode`, and leaves gradients alone.
    Raises ValueError for a model in training mode.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    if model.training:
        raise ValueError("expected a model in eval mode, got one in training mode: call model.eval() first")
    with torch.inference_mode(False):
        with torch.no_grad():
            image = model.encoder.image_features(images)
            if class_features is None:
                class_features = model.alignment.class_features(model.encoder)
        features = image.patches[-1].detach().float().transpose(1, 2).unflatten(2, image.grids[-1])
        head = _LogitOfGrid(model, image, class_features.clone())  # a clone is never an inference tensor
        with torch.enable_grad():
            found = LayerGradCam(head, head.grid).attribute(features.requires_grad_(), relu_attributions=True)
        maps = LayerAttribution.interpolate(found.detach().float(), images.shape[-2:], "bilinear")
    highest = maps.amax(dim=(1, 2, 3), keepdim=True)
    return maps / highest.clamp(min=torch.finfo(maps.dtype).tiny)
