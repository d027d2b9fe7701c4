"""Second opinions: what other systems say of the same faces, each at its own calibrated thresholds.

They stand beside the finding and are never part of it: nothing is averaged. A verdict may be withheld, where
on validation one was not worth giving beside what the second system says (kfd.scoring.withheld); none is
turned round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.verdicts import Reason, Verdict
from kfd.calibration.error_rates import digest_of_decision
from kfd.detection import FaceFinding
from kfd.detector import Detector
from kfd.examine import Examination, examine_file
from kfd.reader import system_of
from kfd.scoring.withheld import Withheld
from media.errors import MediaError
from media.images import OpenSource

FaceKey = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class SecondReader:
    """Another system. name: of its folder. system: what it is, as kfd.reader names it.

    withheld: which verdicts are not given beside its own; None: none of them.
    """

    name: str
    system: str
    detector: Detector
    withheld: Withheld | None = None

    @classmethod
    def load(cls, choice: str, device: str = "cpu") -> SecondReader:
        """Load a second reader. choice: a folder, or FOLDER=WEIGHTS, see `Detector.from_pretrained`.

        Raises FileNotFoundError or ValueError that says what is missing or does not fit.
        """
        folder, _, weights = choice.partition("=")
        detector = Detector.from_pretrained(folder, device, weights or None)
        withheld = Withheld.load(Path(folder), digests(detector))
        return cls(Path(folder).resolve().name, system_of(folder), detector, withheld)

    @property
    def words(self) -> str:
        """What it does, a clause with its full stop; "" for a KFD."""
        return getattr(self.detector.model, "words", "")


def load_readers(choices: Sequence[str], first: Detector, device: str = "cpu") -> tuple[SecondReader, ...]:
    """Load the second readers that stand beside a detector; see `SecondReader.load`.

    Raises ValueError, too, where one withholds verdicts and was fitted for another detector.
    """
    readers = tuple(SecondReader.load(choice, device) for choice in choices)
    for choice, reader in zip(choices, readers, strict=True):
        if reader.withheld is not None:
            reader.withheld.check_first(choice.partition("=")[0], digests(first))
    return readers


def digests(detector: Detector) -> tuple[str, str]:
    """Of a detector's weights and of its calibration."""
    return detector.digest, digest_of_decision(detector.decision)


@dataclass(frozen=True, eq=False)
class Opinion:
    """What a second reader says of one face. finding: None where it did not find that face's track."""

    reader: SecondReader
    finding: FaceFinding | None

    @property
    def verdict(self) -> Verdict:
        return Verdict.INCONCLUSIVE if self.finding is None else self.finding.verdict

    def as_json(self) -> dict[str, object]:
        """The opinion as output lines and reports hold it."""
        finding, evidence = self.finding, None if self.finding is None else self.finding.evidence
        scored = finding is not None and finding.score is not None
        return {
            "name": self.reader.name,
            "system": self.reader.system,
            "checkpoint": self.reader.detector.digest,
            "score": round(float(finding.score), 4) if scored else None,
            "log10_lr": None if evidence is None else round(evidence.log10_lr, 2),
            "verdict": self.verdict,
            "reasons": [] if finding is None else list(finding.reasons),
        }


def second_opinions(
    readers: Sequence[SecondReader], source: OpenSource, found: Examination
) -> tuple[tuple[Opinion, ...], ...]:
    """Ask every reader about a file that the detector has examined.

    source: as it was given to examine_file. Returns one tuple of opinions for each of `found.faces`.
    Raises media.errors.MediaError where the file is no longer the same.
    """
    by_reader = []
    for reader in readers:
        again = examine_file(reader.detector, source, found.name)
        if again.pixels_sha256 != found.pixels_sha256:
            raise MediaError("changed", f"{found.name} changed while it was read; examine it again.")
        by_reader.append(dict(zip(_keys(again), again.faces, strict=True)))
    return tuple(
        tuple(Opinion(reader, faces.get(key)) for reader, faces in zip(readers, by_reader, strict=True))
        for key in _keys(found)
    )


def heeded(found: Examination, opinions: Sequence[Sequence[Opinion]]) -> Examination:
    """What was found, without the verdicts that second opinions withhold.

    opinions: of `second_opinions`. Score, map and regions stay; verdict and likelihood ratio go.
    """
    faces = tuple(
        face.without_verdict(Reason.SYSTEMS_DISAGREE) if _withheld(face, others) else face
        for face, others in zip(found.faces, opinions, strict=True)
    )
    video = found.video
    if video is not None:
        tracks = tuple(replace(t, finding=f) for t, f in zip(video.tracks, faces, strict=True))
        video = replace(video, tracks=tracks)
    return replace(found, faces=faces, video=video)


def _withheld(finding: FaceFinding, opinions: Sequence[Opinion]) -> bool:
    return finding.verdict != Verdict.INCONCLUSIVE and any(
        o.reader.withheld is not None and o.reader.withheld.withholds(finding.verdict, o.verdict)
        for o in opinions
    )


def agreement(finding: FaceFinding, opinions: Sequence[Opinion]) -> str:
    """Say in a sentence whether second opinions agree with a finding; "" without any."""
    if not opinions:
        return ""
    silent = [o.reader.name for o in opinions if o.verdict == Verdict.INCONCLUSIVE]
    told = [o for o in opinions if o.verdict != Verdict.INCONCLUSIVE]
    if Reason.SYSTEMS_DISAGREE in finding.reasons:
        said = [f"{o.reader.name} says “{o.verdict.words}”" for o in told]
        start = f"{_joined(said)}. " if said else "No other system gives a verdict. "
        return f"{start}The finding gives none: on validation, one was not worth giving beside this."
    if finding.verdict == Verdict.INCONCLUSIVE:
        said = [f"{o.reader.name} says “{o.verdict.words}”" for o in told]
        start = f"The finding gives no verdict; {_joined(said)}." if said else "No system gives a verdict."
        return start + (" The finding stays without one." if said else "")
    agree = [o.reader.name for o in told if o.verdict == finding.verdict]
    differ = [o.reader.name for o in told if o.verdict != finding.verdict]
    parts = (
        [f"{_joined(agree)} {'agrees' if len(agree) == 1 else 'agree'} with the finding."] if agree else []
    )
    if differ:
        says = "says" if len(differ) == 1 else "say"
        opposite = next(o.verdict for o in told if o.verdict != finding.verdict)
        parts.append(
            f"{_joined(differ)} {says} the opposite: “{opposite.words}”. The finding does not change; "
            "where systems differ, other methods have to decide."
        )
    if silent:
        parts.append(f"{_joined(silent)} {'gives' if len(silent) == 1 else 'give'} no verdict.")
    return " ".join(parts)


def _keys(found: Examination) -> list[FaceKey]:
    """What tells the faces of a file apart whoever reads them: where they are, in a video in every frame."""
    if found.video is None:
        return [face.box for face in found.faces]
    return [tuple((f.number, f.finding.box) for f in track.frames) for track in found.video.tracks]


def _joined(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
