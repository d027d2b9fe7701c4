"""The windows that are open: whose case is kept, and which result is late."""

from __future__ import annotations

from threading import Lock

from app.intake.shelf import MAX_CASE_BYTES, Shelf
from app.page.desk import PageState

MAX_WINDOWS = 32  # whose cases are kept in memory at once


class Windows:
    """The case of every open window, the oldest put away when there are too many or they grow too large.

    All methods may be called from any thread. A window is known by the name that Gradio gives its session.
    """

    def __init__(self, max_windows: int = MAX_WINDOWS, max_bytes: int = MAX_CASE_BYTES):
        self._cases: Shelf[PageState] = Shelf(max_windows, max_bytes, put_away=PageState.put_away)
        self._newest: dict[str, object] = {}  # the examination that each window waits for
        self._lock = Lock()

    def begin(self, window: str) -> object:
        """Begin an examination: the window's case is put away, and results still to come are late.

        Returns what `is_awaited` and `keep` ask for.
        """
        examination = object()
        with self._lock:
            self._newest[window] = examination
            self._cases.drop(window)
        return examination

    def resume(self, window: str) -> object:
        """Begin another examination of the same case, to which files were added; see `begin`."""
        examination = object()
        with self._lock:
            self._newest[window] = examination
        return examination

    def cancel(self, window: str, state: PageState | None) -> None:
        """Nobody waits for the examination of a window any more; its case stays, None where there is none."""
        with self._lock:
            self._newest.pop(window, None)
            if state is not None:
                self._cases.keep(window, state, owner=window)

    def is_awaited(self, window: str, examination: object) -> bool:
        """False once the window began another examination or was closed."""
        return self._newest.get(window) is examination

    def keep(self, window: str, examination: object, state: PageState) -> bool:
        """Keep a case of which a file is examined, or return False when that is late.

        One that no window has is put away at once.
        """
        with self._lock:
            if not self.is_awaited(window, examination) or state.is_put_away:
                if self._cases.get(window, owner=window) is not state:
                    state.put_away()
                return False
            self._cases.keep(window, state, owner=window)
        return True

    def use(self, window: str) -> None:
        """Note that a window is in use: others are put away before it."""
        self._cases.get(window, owner=window)

    def close(self, window: str) -> None:
        """Forget a window that was closed."""
        with self._lock:
            self._newest.pop(window, None)
            self._cases.drop(window)

    def __len__(self) -> int:
        return len(self._cases)
