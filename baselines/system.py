"""What all systems of this room share: a frozen tower or none, what trains, and the loss of an image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.towers import Tower
from kfd.reader import ReaderOutput

TOWER = "tower."  # prefix of the frozen weights in a system's state dict


class System(nn.Module):
    """A kfd.reader.Reader that can be trained.

    config: a flat dataclass with the fields `system` and, on a frozen tower, `encoder`, `encoder_digest`.
    words: what the system does, a clause that completes "the face is read by", with its full stop.
    tower: the frozen model underneath, or None. tokenizer: of its text tower, or None where no text is read.
    """

    words: str

    def __init__(
        self, config: object, image_size: int, tower: Tower | None = None, tokenizer: object | None = None
    ):
        super().__init__()
        self.config = config
        self.image_size = image_size
        self.tokenizer = tokenizer
        if tower is not None:
            self.tower = tower.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> System:
        """Training mode for what trains: a frozen tower keeps the statistics it has, but LoRA its dropout."""
        super().train(mode)
        if hasattr(self, "tower"):
            self.tower.eval()
            for name, module in self.tower.named_modules():
                if name.endswith("lora_dropout"):
                    module.train(mode)
        return self

    def constants(self) -> Tensor | None:
        return None

    def loss(self, output: ReaderOutput, labels: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its terms, for the log.

        output: of the batch. labels: (B,) 0 real, 1 fake. masks: (B, 1, S, S) in [0, 1], where forged.
        """
        value = F.binary_cross_entropy_with_logits(output.logit, labels.float())
        return value, {"cls": float(value.detach())}

    def trained_state(self) -> dict[str, Tensor]:
        """The tensors that training changes and a checkpoint holds: all but the frozen tower's."""
        trains = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {n: t for n, t in self.state_dict().items() if n in trains or not n.startswith(TOWER)}


def count_trained(model: nn.Module) -> int:
    """How many parameters of a model train."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def fuse(logits: Tensor, others: Tensor, share: float) -> Tensor:
    """The logit of share * sigmoid(logits) + (1 - share) * sigmoid(others), exact for large ones too.

    logits, others: (B,). share: in (0, 1).
    """
    weights = logits.new_tensor([share, 1 - share]).log()[:, None]
    both = torch.stack([logits, others])
    fake, real = (torch.logsumexp(weights + F.logsigmoid(sign * both), dim=0) for sign in (1, -1))
    return fake - real
