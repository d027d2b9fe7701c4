"""What is said of a whole photograph follows from all its faces, and says which were left out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from common.verdicts import Reason, Verdict
from kfd import score
from kfd.calibration.overall import count_faces, overall_verdict
from media.faces import crop_face, find_faces
from media.images import read_image

APP = Path(__file__).parents[3] / "app"
CHECKPOINT = APP.parent / "checkpoints" / "embedded" / "kfd"


def face(verdict: Verdict, *reasons: Reason) -> SimpleNamespace:
    return SimpleNamespace(verdict=verdict, reasons=reasons)


REAL, FAKE = face(Verdict.REAL), face(Verdict.FAKE)
BLURRED = face(Verdict.INCONCLUSIVE, Reason.BLURRED)
SMALL = face(Verdict.INCONCLUSIVE, Reason.FACE_TOO_SMALL, Reason.BLURRED)
UNSURE = face(Verdict.INCONCLUSIVE, Reason.FACE_UNCERTAIN)


@pytest.mark.parametrize(
    ("faces", "expected"),
    [
        ([REAL, BLURRED, FAKE], (Verdict.FAKE, ())),
        ([REAL, BLURRED], (Verdict.INCONCLUSIVE, (Reason.BLURRED,))),
        ([REAL, REAL], (Verdict.REAL, ())),
        ([REAL, SMALL, UNSURE], (Verdict.REAL, ())),
        ([SMALL], (Verdict.INCONCLUSIVE, SMALL.reasons)),
        ([], (Verdict.INCONCLUSIVE, (Reason.NO_FACE,))),
    ],
)
def test_one_forged_face_makes_a_photograph_forged_and_only_all_real_ones_real(faces, expected):
    assert overall_verdict(faces) == expected


def test_the_faces_left_out_are_counted_with_their_reason():
    count = count_faces([REAL, SMALL, SMALL, UNSURE])
    assert (count.found, count.judged) == (4, 1)
    assert count.left_out == {Reason.FACE_TOO_SMALL: 2, Reason.FACE_UNCERTAIN: 1}
    assert count.words.startswith("4 faces found, 1 judged, 2 not, because the face is too small")
    assert count_faces([]).words == "no face found" and count_faces([REAL]).words == "1 face found"


def test_a_small_forged_face_beside_a_large_genuine_one_decides(tmp_path, monkeypatch, capsys):
    """The genuine face was found, the forged one never looked for, and the photograph called real."""
    genuine, forged = (read_image(APP / name) for name in ("example.jpg", "example_forged.jpg"))
    (small,) = find_faces(forged)
    scene = np.full((1080, 1920, 3), 120, np.uint8)
    large = np.asarray(Image.fromarray(genuine).resize((1024, 1024), Image.Resampling.BICUBIC))
    scene[:1024, :1024] = large
    scene[500:684, 1500:1684] = crop_face(forged, small, 184, zoom=2 / 1.3).pixels
    Image.fromarray(scene).save(tmp_path / "two.png")
    monkeypatch.setattr(
        sys, "argv", ["kfd.score", str(tmp_path / "two.png"), "--checkpoint", str(CHECKPOINT)]
    )
    score.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["face"] for line in lines] == [0, 1]
    assert lines[0]["verdict"] != "fake" and lines[1]["verdict"] == "fake"
    for line in lines:
        assert line["whole"] == {"verdict": "fake", "reasons": []}
        assert line["faces"] == {"found": 2, "judged": 2, "left_out": {}, "finder": "CenterFace"}
