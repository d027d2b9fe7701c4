"""From the detector's findings to embeddings that a language model can read."""

from prompt_learner.config import PromptLearnerConfig
from prompt_learner.learner import ForgeryPromptLearner, VisualProjector

__all__ = ["ForgeryPromptLearner", "PromptLearnerConfig", "VisualProjector"]
