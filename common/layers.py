"""The rooms of this repository, and which of them may import which."""

# Lowest first. A room imports those of lower layers and itself, never a higher one and never its neighbour.
# tests/test_imports.py holds every file to it, and to import no circle of files.
LAYERS = (
    ("common",),
    ("media",),
    ("data_sim",),
    ("kfd",),
    ("evaluation", "prompt_learner", "baselines"),
    ("llm",),
    ("app", "benchmarks"),
)
PACKAGES = tuple(name for layer in LAYERS for name in layer)
