"""The sealed report: its canonical JSON, and the HTML and PDF made from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from re import fullmatch
from typing import Any

from app.analysis import Analysis
from app.cases.case import Case
from app.court import CourtForm
from app.report.data import FIRST_SCHEMA, SCHEMA, files_of, report_data
from app.signing import SigningKey, is_signed
from app.wording.translated import ENGLISH
from common.storage import write_atomically
from common.strict_json import fits, parse_json, to_json
from media.images import sha256_of

SUFFIXES = (".pdf", ".html", ".json")
MAX_VALUES = 2**20  # each takes hundreds of bytes of memory; a report on 24 photographs has 7,000
VALUE_MARKS = (b"{", b"[", b",")  # one of them stands before every value, or before its name
OUTSIDE = ("seal", "signature")  # of what both are computed of


@dataclass(frozen=True)
class Report:
    """A sealed report. `data` holds plain JSON values, `seal` among them; see app.report.data."""

    data: dict[str, Any]

    @classmethod
    def of(
        cls,
        examined: Case | Analysis,
        key: SigningKey | None = None,
        form: CourtForm | None = None,
        language: str = ENGLISH,
        shown: Mapping[int, Collection[int] | None] | None = None,
        wishes: Mapping[str, Any] | None = None,
    ) -> Report:
        """The report on the files of a case, or on one analysis, with what was asked until now.

        key: signs it. form: its entries. language: of the summary that it shows besides English.
        shown: of each file the faces that are not blurred. wishes: of a saved case. See report_data.
        """
        case = Case.of(examined) if isinstance(examined, Analysis) else examined
        data = report_data(case, None if key is None else key.public, form, language, shown, wishes)
        signature = {} if key is None else {"signature": key.sign(canonical(data))}
        return cls({**data, "seal": seal_of(data), **signature})

    @classmethod
    def from_json(cls, text: str | bytes) -> Report:
        """Read the canonical form, whose seal may not fit it.

        Raises ValueError for anything else: for what is no JSON, names a key twice, holds a number that is
        not finite, has more than MAX_VALUES values, or lacks what `--verify` tells of.
        """
        content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        if sum(map(content.count, VALUE_MARKS)) > MAX_VALUES:
            raise ValueError("expected a report, got a file with more values than any report has")
        try:
            data = parse_json(text, "the file")
        except ValueError as error:
            raise ValueError(f"expected the JSON form of a report, but {error}") from None
        if not isinstance(data, dict) or data.get("schema") not in (SCHEMA, FIRST_SCHEMA):
            raise ValueError(f"expected a report with schema {SCHEMA!r} and a seal, got other JSON")
        seal, files = data.get("seal"), [data] if data["schema"] == FIRST_SCHEMA else data.get("files")
        if not (isinstance(seal, str) and fullmatch("[0-9a-f]{64}", seal)):
            raise ValueError("expected a report with a seal of 64 hexadecimal digits, got none")
        if not (isinstance(files, list) and files and all(isinstance(told, dict) for told in files)):
            raise ValueError("expected a report on one file or more, got none")
        hints = {"name": str, "sha256": str | None}
        for told in files:
            file = told.get("file")
            if not isinstance(file, dict) or not all(
                n in file and fits(file[n], h) for n, h in hints.items()
            ):
                raise ValueError("expected a report on a file with name and sha256, got none")
            if not all(isinstance(told.get(name), str) for name in ("created", "verdict", "finding")):
                raise ValueError("expected a report with created, verdict and finding, got other JSON")
        if not all(isinstance(data.get(name), str) for name in ("created", "finding")):
            raise ValueError("expected a report with created and finding, got other JSON")
        return cls(data)

    @property
    def files(self) -> list[dict[str, Any]]:
        """What it says of each of its files; see app.report.data."""
        return files_of(self.data)

    @property
    def intact(self) -> bool:
        """True where the seal fits the content. Whoever changes a report can compute a new seal: this shows
        accidents, and together with a seal that was noted elsewhere it shows every change."""
        return seal_of(self.data) == self.data["seal"]

    @property
    def signer(self) -> str | None:
        """The public key that it says it is signed by; None of a report that names none."""
        return self.data.get("signed_by")

    @property
    def is_signed(self) -> bool:
        """True where the signature is that of the content by `signer`. Who that is the reader must know."""
        return is_signed(canonical(self.data), self.data.get("signature"), self.signer)

    def to_json(self) -> str:
        """The canonical form, laid out for reading: layout is not part of what is sealed."""
        return to_json(self.data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def to_html(self) -> str:
        """One self-contained page that prints well, with the JSON form in it."""
        from app.report.html import render_html

        return render_html(self.data, self.to_json())

    def to_pdf(self) -> bytes:
        """The same as a PDF document, with the JSON form as its attachment."""
        from app.report.pdf import render_pdf

        return render_pdf(self.data, self.to_json())

    def save(self, path: str | Path) -> Path:
        """Write the form that the suffix of `path` names (.pdf, .html or .json); whole or not at all."""
        path = Path(path)
        render: dict[str, Callable[[], str | bytes]]
        render = {".pdf": self.to_pdf, ".html": self.to_html, ".json": self.to_json}
        content = render[checked_suffix(path)]()
        data = content.encode("utf-8") if isinstance(content, str) else content
        write_atomically(path, lambda part: part.write_bytes(data))
        return path


def canonical(data: dict[str, Any]) -> bytes:
    """What is sealed and signed: the JSON of `data` without seal and signature, sorted keys, no spaces,
    UTF-8. The public key is in it, so that a signature cannot be claimed by another one."""
    content = {key: value for key, value in data.items() if key not in OUTSIDE}
    text = to_json(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def seal_of(data: dict[str, Any]) -> str:
    """SHA-256 over the canonical JSON of `data`."""
    return sha256_of(canonical(data))


def checked_suffix(path: Path) -> str:
    """The suffix of a report file in lower case. Raises ValueError for any other suffix."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: a report ends in .pdf, .html or .json, not in {suffix or 'nothing'!r}")
    return suffix
