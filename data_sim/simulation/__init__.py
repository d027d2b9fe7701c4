"""Forgeries: what is random about one, and the renderers of its pixels."""
