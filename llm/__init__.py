"""A language model that reads the detector's findings and talks about them."""

__all__ = ["Conversation", "ForgeryLLM"]


def __getattr__(name: str) -> object:
    # Loaded when first asked for: `import llm` must not wait for torch.
    if name == "Conversation":
        from llm.conversation import Conversation

        return Conversation
    if name == "ForgeryLLM":
        from llm.model import ForgeryLLM

        return ForgeryLLM
    raise AttributeError(f"module 'llm' has no attribute {name!r}")
