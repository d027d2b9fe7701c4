"""Conversations about an examined file: facts, the questions people ask, answers composed from the facts."""
