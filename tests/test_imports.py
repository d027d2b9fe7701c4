"""The import rule of common.layers, held against the imports of every file."""

import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

from common.layers import LAYERS, PACKAGES

ROOT = Path(__file__).parents[1]


def test_no_file_imports_a_higher_room_and_no_files_import_in_a_circle():
    """Four circles stood for months, two of them inside functions and two under TYPE_CHECKING.

    grimp reads the source, so both kinds count here.
    """
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    assert {
        f"{room}.{file.stem}" for room in PACKAGES for file in (ROOT / room).glob("[a-z]*.py")
    } <= graph.modules
    layers = [grimp.Layer(*layer, independent=True) for layer in reversed(LAYERS)]
    upward = graph.find_illegal_dependencies_for_layers(layers=layers)
    assert not {(arrow.importer, arrow.imported) for arrow in upward}
    imported = {file: graph.find_modules_directly_imported_by(file) for file in graph.modules}
    TopologicalSorter(imported).prepare()  # raises CycleError, which names the files


def test_every_room_is_installed():
    """The list in pyproject.toml is the layers'."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["setuptools"]["packages"]["find"]["include"] == [f"{name}*" for name in PACKAGES]


def test_every_folder_of_modules_is_a_room():
    """A package that the layers do not name would be held to no rule, and its files to no digest."""
    folders = {init.parent.name for init in ROOT.glob("*/__init__.py")} - {"tests"}
    assert folders == set(PACKAGES)
