"""Files on disk are whole or not there; a part of a module is loaded as strictly as the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from common.storage import load_part, load_strictly, write_atomically, write_text


def test_a_file_that_fails_to_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "folder" / "name.txt"
    write_text(path, "für alle")
    assert path.read_text(encoding="utf-8") == "für alle"

    def fail(part: Path) -> None:
        part.write_text("half of")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_atomically(path, fail)
    assert path.read_text(encoding="utf-8") == "für alle"
    write_text(path, "new")
    assert path.read_text() == "new"


class TestPart:
    """A saved fine-tuning state was once loaded with strict=False alone: a renamed layer stayed untrained."""

    @staticmethod
    def pair() -> nn.Module:
        torch.manual_seed(0)
        return nn.ModuleDict({"frozen": nn.Linear(2, 2), "head": nn.Linear(2, 1)})

    def test_the_part_is_replaced_and_the_rest_stays(self):
        module = self.pair()
        frozen = module["frozen"].weight.clone()
        state = {"head.weight": torch.ones(1, 2), "head.bias": torch.zeros(1)}
        part = {name: p for name, p in module.named_parameters() if name.startswith("head.")}
        load_part(module, part, state, "a file")
        assert torch.equal(module["head"].weight, torch.ones(1, 2))
        assert torch.equal(module["frozen"].weight, frozen)

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            ({"head.weight": torch.ones(1, 2)}, "a file does not fit the model: missing head.bias"),
            ({"head.weight": torch.ones(1, 2), "head.bias": torch.ones(1), "neck": torch.ones(1)},
             "unexpected key neck"),
            ({"head.weight": torch.ones(2, 2), "head.bias": torch.ones(1)},
             r"expected \(1, 2\), got \(2, 2\)"),
        ],
    )  # fmt: skip
    def test_a_surprise_is_refused_and_nothing_changes(self, state, message):
        module = self.pair()
        part = {name: p for name, p in module.named_parameters() if name.startswith("head.")}
        before = {name: t.clone() for name, t in module.state_dict().items()}
        with pytest.raises(ValueError, match=message):
            load_part(module, part, state, "a file")
        assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())

    def test_the_whole_is_loaded_strictly(self):
        module = self.pair()
        with pytest.raises(ValueError, match=r"missing frozen\.weight; missing frozen\.bias"):
            load_strictly(module, {"head.weight": torch.ones(1, 2), "head.bias": torch.ones(1)}, "a file")
