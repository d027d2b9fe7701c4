"""Answers held to the evidence."""
