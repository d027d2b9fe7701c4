"""The systems that the Knowledge-guided Forgery Detector is compared with, behind the same Detector."""
