"""The analyst: a photo in; findings, a conversation and a report out."""

__all__ = ["Analysis", "Assistant", "Report"]


def __getattr__(name: str) -> object:
    # Loaded when first asked for: `import app` must not wait for the models' libraries.
    if name == "Analysis":
        from app.analysis import Analysis

        return Analysis
    if name == "Assistant":
        from app.assistant import Assistant

        return Assistant
    if name == "Report":
        from app.report.sealed import Report

        return Report
    raise AttributeError(f"module 'app' has no attribute {name!r}")
