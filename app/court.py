"""What a court wants of an expert's report: whose case, whose question, whose opinion, whose signature."""

from __future__ import annotations

from dataclasses import dataclass, fields

MAX_LETTERS = 500  # of one entry
MAX_OPINION = 4000  # letters


@dataclass(frozen=True)
class CourtForm:
    """Entries of the examiner's own, none of which changes a finding; "" leaves one out.

    case_number: of the court or the file. examiner: who answers for the report. commissioned_by: who asked
    for it. question: what was asked, in the words of the order. examiner_opinion: their own conclusion.
    annex: whether the conversation with the language model is annexed.
    Raises ValueError for an entry of more than MAX_LETTERS letters, or an opinion of more than MAX_OPINION.
    """

    case_number: str = ""
    examiner: str = ""
    commissioned_by: str = ""
    question: str = ""
    examiner_opinion: str = ""
    annex: bool = True

    def __post_init__(self) -> None:
        for name in ENTRIES:
            value = " ".join(getattr(self, name).split())  # one paragraph, as it is printed
            object.__setattr__(self, name, value)
            most = MAX_OPINION if name == "examiner_opinion" else MAX_LETTERS
            if len(value) > most:
                words = LABELS.get(name, OPINION).lower()
                raise ValueError(f"{words}: {len(value)} letters; {most} is the most, shorten it")

    def as_json(self) -> dict[str, str]:
        """The entries that were made."""
        return {name: value for name in ENTRIES if (value := getattr(self, name))}


LABELS = {
    "case_number": "Case number",
    "examiner": "Examiner",
    "commissioned_by": "Commissioned by",
    "question": "Question asked",
}
OPINION = "Opinion of the examiner"
ENTRIES = tuple(entry.name for entry in fields(CourtForm) if entry.name != "annex")
