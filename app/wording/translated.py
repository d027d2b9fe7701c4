"""What Unmask says in other languages than English: finding, strength and limits, labels of page and report.

They stand in languages/*.yaml, one file a language, with the keys and slots of en.yaml. All else is English.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from app.wording.lead import strength_of
from kfd.detection import FaceFinding

FOLDER = Path(__file__).with_name("languages")
ENGLISH = "en"
LABEL_GROUPS = ("report", "court", "rows")  # of the keys: headings and names of rows in a report


@dataclass(frozen=True)
class Stated:
    """What the fixed sentences say of one face.

    score: as the English text beside it prints it, "" where there is none. reasons: codes of common.verdicts.
    support: "fake", "real" or "neither"; "undecided" where there is no verdict, and "none" where there is no
    likelihood ratio. verbal: the word for it, of common.enfsi; "" where no strength is stated.
    """

    number: int
    verdict: str
    score: str
    regions: tuple[str, ...]
    reasons: tuple[str, ...]
    support: str
    verbal: str

    @classmethod
    def of(cls, finding: FaceFinding) -> Stated:
        """What is stated of a finding."""
        found, reasons = finding.evidence, tuple(map(str, finding.reasons))
        support = _support(found is not None, found and found.support, reasons)
        number, regions = finding.index + 1, tuple(finding.regions)
        score = "" if finding.score is None else f"{finding.score:.2f}"
        return cls(number, str(finding.verdict), score, regions, reasons, support, strength_of(finding))

    @classmethod
    def in_report(cls, face: dict[str, Any]) -> Stated:
        """The same out of a face of a report's JSON values."""
        found, reasons = face["evidence"], tuple(reason["code"] for reason in face["reasons"])
        support = _support(found["log10_lr"] is not None, found.get("support"), reasons)
        verbal, regions = found.get("verbal", ""), tuple(face["regions"])
        score = "" if face["score"] is None else f"{face['score']:.4f}"
        return cls(face["number"], face["verdict"], score, regions, reasons, support, verbal)


@lru_cache(maxsize=1)
def languages() -> dict[str, str]:
    """Code -> own name of every language, English first."""
    codes = sorted((path.stem for path in FOLDER.glob("*.yaml")), key=lambda code: (code != ENGLISH, code))
    return {code: sentences(code)["name"] for code in codes}


@lru_cache(maxsize=32)
def sentences(language: str) -> dict[str, Any]:
    """The sentences of a language, by key. Raises ValueError for a language that there is not."""
    known = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    if language not in known:
        raise ValueError(f"language: expected one of {', '.join(known)}, got {language!r}")
    return yaml.safe_load((FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))


def is_right_to_left(language: str) -> bool:
    """How a language is written."""
    return bool(sentences(language)["right_to_left"])


def finding_sentences(language: str, face: Stated) -> str:
    """Verdict with its score or reasons, the regions named, and the strength of the evidence.

    Figures are those of the English text, to the letter.
    """
    words = sentences(language)
    reasons = _listed(language, (words["reasons"][code] for code in face.reasons))
    said = [words["finding"][face.verdict].format(score=face.score, reasons=reasons)]
    if face.regions:
        named = _listed(language, (words["regions"][name] for name in face.regions))
        said.append(words["regions_named"].format(regions=named))
    said.append(words["strength"][face.support].format(verbal=words["verbal"].get(face.verbal, "")))
    return ("" if language == "zh" else " ").join(said)


def summary(language: str, verdict: str, faces: Iterable[Stated]) -> dict[str, Any]:
    """Finding, strength and limits in a language, for programs. verdict: of the whole file."""
    words, stated = sentences(language), list(faces)
    verdicts, said = words["verdict"], [finding_sentences(language, face) for face in stated]
    return {
        "language": language,
        "verdict": verdicts[verdict],
        "faces": [
            {"number": face.number, "verdict": verdicts[face.verdict], "words": words_of}
            for face, words_of in zip(stated, said, strict=True)
        ],
        "words": "" if stated else words["no_face"],
        "not_a_probability": words["not_a_probability"],
        "limits": list(words["limits"]),
    }


def label_in(language: str, label: str) -> str:
    """A label of the report in another language; as it is where it is none of en.yaml's, a file's name say.

    label: in English; its number, where it has one, stays.
    """
    of_file = re.fullmatch(r"(File \d+), (.+)", label)
    if of_file:
        rest = of_file[2][:1].upper() + of_file[2][1:]
        return f"{label_in(language, of_file[1])}: {label_in(language, rest)}"
    number = re.search(r"\d+", label)
    known = label if number is None else label.replace(number[0], "{number}", 1)
    said = _labels(language).get(known)
    return label if said is None else said.format(number=number and number[0])


@lru_cache(maxsize=16)
def _labels(language: str) -> dict[str, str]:
    """English label -> the same in another language."""
    english, other = sentences(ENGLISH), sentences(language)
    pairs = {english[name]: other[name] for name in ("face", "limits_heading")}
    for group in LABEL_GROUPS:
        pairs |= {english[group][name]: other[group][name] for name in english[group]}
    return pairs


def chosen_by(accept_language: str) -> str:
    """The language that a browser's Accept-Language header prefers among ours; English where none is."""
    wishes = [part.partition(";q=") for part in accept_language.replace(" ", "").lower().split(",")]
    ranked = sorted(wishes, key=lambda wish: -_quality(wish[2]))
    codes = [name.split("-")[0] for name, _, quality in ranked if _quality(quality) > 0]
    return next((code for code in codes if code in languages()), ENGLISH)


def _support(has_ratio: bool, side: str | None, reasons: tuple[str, ...]) -> str:
    """`Stated.support`. side: the proposition that the ratio speaks for, None where for neither."""
    if not has_ratio:
        return "none"
    return "undecided" if reasons else side or "neither"


def _quality(text: str) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0.0


def _listed(language: str, items: Iterable[str]) -> str:
    return {"zh": "、", "ar": "، "}.get(language, ", ").join(items)
