"""The detector of the paper's own public code, read from its checkpoint."""
