"""Files on disk are whole or not there; a part of a module is loaded as strictly as the whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from common.locks import one_writer
from common.storage import load_part, load_state, load_strictly, save_state, write_atomically, write_text
from common.terminal import printable


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
    assert [entry.name for entry in path.parent.iterdir()] == ["name.txt"], "half a file stayed"


FILLED = """
import resource, signal, sys
import torch
from safetensors.torch import save_file
from common.storage import save_state, write_atomically, write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
tensor, path = torch.zeros(100_000), sys.argv[1]
writers = {
    "state": lambda: save_state({"t": tensor}, path),
    "tensors": lambda: write_atomically(path, lambda part: save_file({"t": tensor}, part)),
    "text": lambda: write_text(path, "0" * 200_000),
}
try:
    writers[sys.argv[2]]()
except OSError as error:
    sys.exit(f"error: {error}")
"""


@pytest.mark.parametrize("what", ["state", "tensors", "text"])
def test_a_full_disk_is_a_message_and_the_old_file_stays(tmp_path, what):
    """Training told it with a traceback of torch, and left the half file behind. A limit on the size of files
    makes the same calls fail."""
    path = tmp_path / "file"
    path.write_text("old")
    words = [sys.executable, "-c", FILLED, str(path), what]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "is full" in done.stderr
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


HELD = """
import sys
from common.locks import one_writer
with one_writer(sys.argv[1], is_folder=sys.argv[2] == "folder"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("kind", "name"), [("folder", "v1.2"), ("file", "lines.jsonl"), ("file", "lines")])
def test_one_writer_at_a_time_and_a_kill_frees_it(tmp_path, kind, name):
    """Two runs in one folder wrote the same .part file. A folder named with a dot was taken for a file."""
    out = tmp_path / name
    is_folder = kind == "folder"
    words = [sys.executable, "-c", HELD, str(out), kind]
    root = Path(__file__).parents[1]
    other = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match="another run is writing"), one_writer(out, is_folder):
        pass
    left = (out if is_folder else tmp_path) / f".{'x' if is_folder else name}.abc.part"
    left.write_text("half")
    other.kill()
    other.communicate()
    with one_writer(out, is_folder):
        assert not left.exists(), "what a kill left half written is removed"


@pytest.mark.parametrize("damage", [b"", b"\x80\x04garbage", b"PK\x03\x04" + bytes(50)])
def test_a_damaged_state_is_named(tmp_path, damage):
    path = tmp_path / "state.pt"
    save_state({"settings": {"seed": 1}, "step": 3}, path)
    assert load_state(path)["step"] == 3
    path.write_bytes(damage or path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"state\.pt cannot be used"):
        load_state(path)
    save_state({"step": 3}, path)
    with pytest.raises(ValueError, match=r"state\.pt is no state of a training run"):
        load_state(path)


def test_a_terminal_gets_no_orders():
    assert printable("für \x1b[31m\u202e\udcff\n") == "für \\x1b[31m\\u202e\\udcff\\n"


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
