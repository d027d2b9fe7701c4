"""The words of page and report."""
