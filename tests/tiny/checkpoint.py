"""A checkpoint folder like checkpoints/embedded, of the real classes at a tiny size with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from baselines.checkpoint import new_system, save_system
from baselines.clip import ClipConfig
from kfd.config import Decision
from kfd.detector import Detector
from llm.model import ForgeryLLM
from llm.prompt import PromptStyle
from prompt_learner import ForgeryPromptLearner, PromptLearnerConfig, VisualProjector
from tests.tiny.kfd import save_tiny_kfd
from tests.tiny.llm import llama_tokenizer, tiny_llama

CARD = "# Tiny\n\nTiny models with random weights;\nthey find nothing.\n\n## Data\n\nNone.\n"


def save_tiny_checkpoint(folder: Path, decision: Decision | None = None) -> Path:
    """Write kfd, llm, assistant and MODEL_CARD.md into `folder` and return it."""
    save_tiny_kfd(folder / "kfd", decision)
    detector = Detector.from_pretrained(folder / "kfd")

    tokenizer = llama_tokenizer()
    llm = tiny_llama(len(tokenizer))
    llm.save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    sizes = PromptLearnerConfig(llm_dim=32, image_embed_dim=16, taps=3, num_prompts=3, width=16)
    parts = ForgeryPromptLearner(sizes), VisualProjector(sizes)
    assistant = ForgeryLLM(llm, tokenizer, PromptStyle("vicuna"), *parts)
    assistant.save_pretrained(folder / "assistant", folder / "llm", detector.digest)
    (folder / "MODEL_CARD.md").write_text(CARD, encoding="utf-8")
    return folder


def save_opposed_opinions(folder: Path, encoder: Path) -> list[str]:
    """Two systems as --opinion names them: one probe, by whose thresholds "lenient" calls every face real
    and "strict" every face fake. encoder: the folder of a tiny detector, on whose tower it stands."""
    torch.manual_seed(0)
    model = new_system(ClipConfig("clip-probe", "embedded"), encoder, say=lambda note: None)
    decisions = {
        "lenient": Decision(real_below=0.98, fake_above=0.99),
        "strict": Decision(real_below=0.01, fake_above=0.02),
    }
    for name, decision in decisions.items():
        save_system(model, folder / name, replace(decision, fitted_on="a test", min_sharpness=0.0))
    return [f"{folder / name}={encoder}" for name in decisions]
