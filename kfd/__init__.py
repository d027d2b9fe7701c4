"""The Knowledge-guided Forgery Detector: consistency maps, a localization map and a score."""

__all__ = ["Detection", "Detector", "FaceFinding", "NoFaceError"]


def __getattr__(name: str) -> object:
    # Loaded when first asked for: `import kfd` must not wait for torch.
    if name in ("Detection", "FaceFinding"):
        from kfd import detection

        return getattr(detection, name)
    if name in ("Detector", "NoFaceError"):
        from kfd import detector

        return getattr(detector, name)
    raise AttributeError(f"module 'kfd' has no attribute {name!r}")
