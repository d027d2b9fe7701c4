"""Bytes become pixels, in a process that may die of them."""
