"""Qwen2.5-VL in two ways: asked as it is, and fine-tuned with QLoRA (document 001)."""
