"""python -m kfd.score --ray: the lines of a plain run, each once, whatever dies on the way."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from PIL import Image

from kfd import score
from media.images import read_image
from tests.tiny.kfd import save_tiny_kfd
from tests.tiny.runs import PATIENCE, ROOT, lines_in, start_scoring, wait_for

FILES = 60


def test_without_ray_the_command_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["kfd.score", str(ROOT / "app/example.jpg"), "--checkpoint", str(save_tiny_kfd(tmp_path))]
    monkeypatch.setattr(sys, "argv", [*words, "--ray", "local"])
    with pytest.raises(SystemExit, match=r"error: --ray needs Ray: pip install 'unmask\[fleet\]'"):
        score.main()


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Small photographs, each with bytes of its own, between them a text and a damaged one."""
    folder = tmp_path_factory.mktemp("archive")
    face = Image.fromarray(read_image(ROOT / "app/example.jpg")[30:230, 125:325])
    for number in range(FILES - 2):
        face.resize((100 + number, 100 + number)).save(folder / f"{number:02}.jpg")
    (folder / "zz_text.txt").write_text("no picture")
    (folder / "zz_cut.jpg").write_bytes((folder / "00.jpg").read_bytes()[:300])
    return folder


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install '.[fleet]'")
def test_every_file_has_its_lines_once_whatever_is_killed(archive, tmp_path):
    """First a process of Ray's, in the midst of a shard; then the whole run, which begins anew."""
    checkpoint, out, plain = save_tiny_kfd(tmp_path / "kfd"), tmp_path / "fleet.jsonl", tmp_path / "p.jsonl"
    assert start_scoring(archive, checkpoint, plain).wait(PATIENCE) == 0

    run = start_scoring(archive, checkpoint, out, "--ray", "local")
    wait_for(lambda: bool(lines_in(out)), run)
    workers = [p for p in psutil.Process(run.pid).children(recursive=True) if "MapWorker" in p.name()]
    assert workers, "no process of Ray's has the name that is looked for"
    workers[0].kill()
    before = len(lines_in(out))
    wait_for(lambda: len(lines_in(out)) > before, run)
    run.send_signal(signal.SIGKILL)
    run.wait(PATIENCE)
    assert 0 < len(lines_in(out)) < len(lines_in(plain)), "the kill came too late to test anything"

    assert start_scoring(archive, checkpoint, out, "--ray", "local").wait(PATIENCE) == 0
    assert Counter(lines_in(out)) == Counter(lines_in(plain))
    assert len({json.loads(line)["path"] for line in lines_in(out)}) == FILES
