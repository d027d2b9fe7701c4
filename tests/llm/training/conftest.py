"""What the tests of one file share."""

from pathlib import Path

import pytest

from tests.tiny.checkpoint import save_tiny_checkpoint
from tests.tiny.faces import save_tiny_faces
from tests.tiny.general import save_general


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector, a base model, a face set and general data."""
    folder = tmp_path_factory.mktemp("finetune")
    save_tiny_checkpoint(folder)
    save_tiny_faces(folder / "set")
    save_general(folder)
    return folder
