"""Fragments of the page that are about several files: their list, and two of them side by side."""

from __future__ import annotations

from app.page.desk import Entry, PageState
from app.page.panels import PHOTO_SIDE, fill
from app.pictures import data_uri, overview
from app.wording.translated import ENGLISH, sentences

THUMBNAIL_SIDE = 120  # pixels


def files_panel(state: PageState) -> str:
    """All files of a case with what was found in each, to choose from; "" where there is one alone."""
    if not state.is_group:
        return ""
    files = [
        {
            "name": entry.name,
            "number": state.number_of(entry),
            "kind": _kind(entry),
            "words": _words(entry, state.language),
            "own": _own(entry, state.language),
            "thumbnail": _thumbnail(entry),
            "waiting": entry.is_waiting,
        }
        for entry in state.entries
    ]
    return fill("files.html", state.language, files=files, shown=state.shown)


def unread_panel(reason: str, language: str = ENGLISH) -> str:
    """The card of a file that could not be examined, and why."""
    return fill("unread.html", language, reason=reason)


def comparable(state: PageState) -> list[tuple[str, str]]:
    """The choices of a file to compare with the one that is shown, and first that of none."""
    none = (sentences(state.language)["case"]["compare"] + " …", "")
    others = [
        (file_label(state, number), str(number))
        for number, entry in enumerate(state.entries)
        if entry.file is not None and number != state.shown
    ]
    return [none, *others] if state.analysis is not None else [none]


def file_label(state: PageState, number: int) -> str:
    """The number and the name of a file. number: its index in the list."""
    entry = state.entries[number]
    return f"{state.number_of(entry)} · {entry.name}"


def comparison_panel(state: PageState, other: int) -> str:
    """The file that is shown and another side by side, zoomed and moved together. other: its index."""
    pair = [
        {
            "label": file_label(state, number),
            "words": _words(state.entries[number], state.language),
            "kind": _kind(state.entries[number]),
            "picture": data_uri(overview(file.analysis, PHOTO_SIDE), "JPEG"),
        }
        for number in (state.shown, other)
        if number is not None and (file := state.entries[number].file) is not None
    ]
    return fill("comparison.html", state.language, pair=pair)


def _kind(entry: Entry) -> str:
    """The verdict on a file, or else what became of it: the class that gives it its colour."""
    if entry.file is None:
        return "waiting" if entry.is_waiting else "unread"
    return str(entry.file.analysis.verdict)


def _words(entry: Entry, language: str) -> str:
    kind, words = _kind(entry), sentences(language)
    return words["case"][kind] if kind in ("waiting", "unread") else words["short"][kind]


def _own(entry: Entry, language: str) -> str:
    """The examiner's own verdict, which stands beside the finding; "" where there is none."""
    if entry.file is None or entry.file.override is None:
        return ""
    words = sentences(language)
    return words["case"]["own_short"].format(verdict=words["short"][entry.file.override.verdict])


def _thumbnail(entry: Entry) -> str:
    if not entry.thumbnail and entry.file is not None:
        entry.thumbnail = data_uri(overview(entry.file.analysis, THUMBNAIL_SIDE), "JPEG")
    return entry.thumbnail
