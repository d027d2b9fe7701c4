"""Folder layouts of the public data sets."""
