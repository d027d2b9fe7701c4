"""A language model that reads the detector's findings and talks about them."""

from llm.conversation import Conversation
from llm.model import ForgeryLLM

__all__ = ["Conversation", "ForgeryLLM"]
