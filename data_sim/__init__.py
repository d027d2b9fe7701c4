"""Faces, regions, simulated forgeries, dialogues and data sets; knows no model."""
