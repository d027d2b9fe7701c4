"""Parts of the language model's training."""
