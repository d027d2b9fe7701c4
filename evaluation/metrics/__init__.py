"""Figures: of scores, maps, videos and groups, each with its interval."""
