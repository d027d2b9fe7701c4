"""The analyst: a photo in; findings, a conversation and a report out."""

from app.analysis import Analysis
from app.assistant import Assistant
from app.report import Report

__all__ = ["Analysis", "Assistant", "Report"]
