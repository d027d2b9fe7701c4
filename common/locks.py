"""One writer for each output: a second run is told, instead of writing into what the first one writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.storage import PART


@contextmanager
def one_writer(out: str | Path | None, is_folder: bool = False) -> Iterator[None]:
    """Hold `out`, a file or a folder, which is made where it is missing, against other writers.

    None: nothing is written, and nothing held. The lock ends with the process, however that ends. What
    writers before left half written is removed. Raises ValueError while another process holds it, and OSError
    where it cannot be written.
    """
    if out is None:
        yield
        return
    from filelock import FileLock, Timeout

    out = Path(out)
    (out if is_folder else out.parent).mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file(out, is_folder), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"another run is writing {out}; wait for its end, or name another place") from None
    try:
        left = out.glob(PART.format("*", "*")) if is_folder else out.parent.glob(PART.format(out.name, "*"))
        for path in left:
            with suppress(OSError):
                path.unlink()
        yield
    finally:
        with suppress(OSError):  # while it is held; filelock gives up a lock on a file that is gone
            Path(lock.lock_file).unlink()
        lock.release()


def lock_file(out: Path, is_folder: bool = False) -> Path:
    """The hidden file whose lock stands for `out`."""
    return out / ".lock" if is_folder else out.with_name(f".{out.name}.lock")
