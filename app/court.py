"""What a court wants on the first page of an expert's report: whose case, whose question, whose work."""

from __future__ import annotations

from dataclasses import dataclass, fields

MAX_LETTERS = 500  # of one entry


@dataclass(frozen=True)
class CourtForm:
    """Entries of the examiner's own, none of which changes a finding; "" leaves one out.

    case_number: of the court or the file. examiner: who answers for the report. commissioned_by: who asked
    for it. question: what was asked, in the words of the order. Raises ValueError for an entry of more than
    MAX_LETTERS letters.
    """

    case_number: str = ""
    examiner: str = ""
    commissioned_by: str = ""
    question: str = ""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = " ".join(getattr(self, entry.name).split())  # one line, as it is printed
            object.__setattr__(self, entry.name, value)
            if len(value) > MAX_LETTERS:
                words = LABELS[entry.name].lower()
                raise ValueError(f"{words}: {len(value)} letters; {MAX_LETTERS} is the most, shorten it")

    def as_json(self) -> dict[str, str]:
        """The entries that were made."""
        return {name: value for name in LABELS if (value := getattr(self, name))}


LABELS = {
    "case_number": "Case number",
    "examiner": "Examiner",
    "commissioned_by": "Commissioned by",
    "question": "Question asked",
}
