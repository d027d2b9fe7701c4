"""A warm start for the prompt learner: regions and verdict first, in the language model's own words.

Through a frozen language model the prompt learner hears of its mistakes only by way of a few words in long
answers, which takes far longer than a small model's training lasts. So it first learns, without the language
model, to put the embedding of a region's words into its prompts wherever that region is to be named, and that
of "fake" or "real" as the face is. Any model knows its own words.
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor

from data_sim.dialogue import region_words
from llm.model import ForgeryLLM
from llm.training.cases import GroundedCases, mirror_case, mirror_maps
from media.regions import REGION_NAMES

SCALE, BIAS = 10.0, -4.0  # from the cosine of a prompt with a word to the logit that the region is named


def word_directions(model: ForgeryLLM) -> Tensor:
    """(R + 2, C) unit vectors, one for each of REGIONS, "fake" and "real": the mean embedding of its words,
    less what all share."""
    table = model.llm.get_input_embeddings().weight.detach()
    said = [*(region_words([name]).removeprefix("the ") for name in REGION_NAMES), "fake", "real"]
    words = [model.prompter.encode(f" {text}") for text in said]
    means = torch.stack([table[ids].float().mean(dim=0) for ids in words])  # the whole table may be gigabytes
    return F.normalize(means - means.mean(dim=0), dim=1)


def word_logits(prompts: Tensor, directions: Tensor) -> Tensor:
    """Compute how clearly any of the prompts says each word: (B, n_f, C) and (W, C) -> (B, W) logits."""
    likeness = F.normalize(prompts, dim=-1) @ directions.T  # (B, n_f, R)
    return SCALE * likeness.amax(dim=1) + BIAS


def align(
    model: ForgeryLLM, faces: GroundedCases, steps: int, lr: float, seed: int, batch_size: int = 32
) -> float:
    """Train the prompt learner to say regions and verdict of each case; the language model is not computed.

    Returns the mean loss of the last tenth of the steps.
    """
    device = model.device
    directions = word_directions(model)
    optimizer = torch.optim.AdamW(model.prompt_learner.parameters(), lr=lr, weight_decay=0.05)
    rng = random.Random(seed)
    losses: list[float] = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / steps)
        rows = rng.choices(range(len(faces)), k=batch_size)
        mirrored = [rng.random() < 0.5 for _ in rows]
        cases = [
            mirror_case(faces.cases[row]) if turned else faces.cases[row]
            for row, turned in zip(rows, mirrored, strict=True)
        ]
        yes = [faces.yes_target(row, case) for row, case in zip(rows, cases, strict=True)]
        named = [
            [*(float(name in case.regions) for name in REGION_NAMES), fake, 1 - fake]
            for case, fake in zip(cases, yes, strict=True)
        ]
        found = mirror_maps(faces.detection(rows, device), torch.tensor(mirrored, device=device))
        prompts = model.prompt_learner(found)
        loss = F.binary_cross_entropy_with_logits(
            word_logits(prompts, directions), torch.tensor(named, device=device)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    last = losses[-max(1, steps // 10) :]
    return sum(last) / max(1, len(last))
