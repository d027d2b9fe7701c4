"""Only regular files are opened, each entry of a folder is told, and what is hashed is what is read."""

from __future__ import annotations

import hashlib
import os
import socket

import pytest

from media.errors import ImageError, MediaError, contained
from media.files import list_files, open_file, readable


def code_of(path) -> str:
    with pytest.raises(ImageError) as caught, open_file(path):
        pass
    return caught.value.code


def test_a_file_is_hashed_as_it_is_read(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"some bytes" * 1000)
    with open_file(tmp_path / "a.bin") as file:
        assert file.sha256 == hashlib.sha256(file.read()).hexdigest() and file.size == 10_000
        file.check_unchanged()
        (tmp_path / "a.bin").write_bytes(b"others")
        with pytest.raises(ImageError, match="changed while it was read"):
            file.check_unchanged()


def test_a_name_that_is_replaced_does_not_change_what_is_open(tmp_path):
    (tmp_path / "a").write_bytes(b"first")
    with open_file(tmp_path / "a") as file:
        os.replace(tmp_path / "a", tmp_path / "b")
        (tmp_path / "a").write_bytes(b"second")
        assert file.read() == b"first" and file.sha256 == hashlib.sha256(b"first").hexdigest()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path):
    """A pipe named on the command line was waited for; /dev/zero was read until memory ended."""
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)
        server.bind("socket.jpg")
        for path in (tmp_path / "pipe.jpg", tmp_path / "socket.jpg", "/dev/zero"):
            assert code_of(path) == "not_a_file"
    assert code_of(tmp_path / "none") == "missing" and code_of(tmp_path) == "not_an_image"
    assert code_of("a\0b") == "missing"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_every_entry_of_a_folder_is_told(tmp_path):
    """Whole kinds of files were passed over without a word, and so were links and locked folders."""
    for name in ("b.jpg", "no_suffix", "notes.txt", "._b.jpg", ".DS_Store", "deep/er/a.heic", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "linked").symlink_to(tmp_path / "deep", target_is_directory=True)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "z.jpg").symlink_to(tmp_path / "b.jpg")
    listing = list_files([tmp_path])
    files = [str(path.relative_to(tmp_path)) for path in listing.files]
    assert files == ["b.jpg", "deep/er/a.heic", "no_suffix", "notes.txt", "z.jpg"]
    skipped = {path.name: reason for path, reason in listing.skipped}
    assert skipped.keys() == {"pipe.mp4", "linked", "gone.jpg"}
    assert "is a pipe" in skipped["pipe.mp4"] and "name the folder itself" in skipped["linked"]
    assert "leads nowhere" in skipped["gone.jpg"]
    assert listing.hidden == {tmp_path: 3}


def test_a_named_file_is_taken_even_when_hidden_and_each_once(tmp_path):
    (tmp_path / ".a.jpg").touch()
    (tmp_path / "b.jpg").touch()
    listing = list_files(
        [tmp_path, tmp_path / ".a.jpg", tmp_path / "b.jpg"], but=tmp_path / "sub" / ".." / "b.jpg"
    )
    assert listing.files == [tmp_path / ".a.jpg"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list_files([tmp_path / "nowhere"])


def test_an_unforeseen_error_ends_with_the_file(caplog):
    """A RuntimeError of one AVIF ended a batch, and every re-run at the same file."""
    with (
        pytest.raises(MediaError, match=r"ZeroDivisionError\), reference ([0-9a-f]{8})") as caught,
        contained("a.jpg"),
    ):
        1 / 0  # noqa: B018
    reference = str(caught.value).split("reference ")[1][:8]
    assert (
        caught.value.code == "internal_error"
        and reference in caplog.text
        and "division by zero" in caplog.text
    )
    with pytest.raises(ImageError, match="known"), contained("b.jpg"):
        raise ImageError("missing", "known")


def test_a_name_that_is_no_unicode_can_be_written():
    assert readable("caf\udce9.jpg") == r"caf\xe9.jpg" and readable("日本.jpg") == "日本.jpg"
