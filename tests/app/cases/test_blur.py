"""Bystanders' faces in exports: gone in every picture, the chosen one untouched, and the report says so."""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from app.cases.blur import PADDING, blur, faces_left, without_bystanders
from app.cases.case import Case
from media.faces import Face, find_faces
from tests.tiny.video import write_video


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(uri.partition(",")[2]))))


def detail(image: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels."""
    return float(np.abs(np.diff(image.astype(float), axis=1)).mean())


def certain(image: np.ndarray) -> list[Face]:
    """The faces that the finder is sure of; above a collar it suspects one that is not there."""
    return [face for face in find_faces(image) if face.sure]


@pytest.fixture(scope="module")
def pair(assistant, photos):
    return assistant.analyse(photos[1])


def test_all_faces_but_the_chosen_one_are_gone(pair):
    assert len(certain(pair.image)) == 2
    hidden = without_bystanders(pair, {1})
    (left,) = certain(hidden.image)
    assert left.box[0] > pair.image.shape[1] / 2
    x0, y0, x1, y1 = (round(value) for value in pair.faces[1].box)
    assert np.array_equal(hidden.image[y0:y1, x0:x1], pair.image[y0:y1, x0:x1])
    assert hidden.faces is pair.faces and pair.image is not hidden.image, "figures stay, so does the original"
    assert certain(without_bystanders(pair, ()).image) == []


def test_the_box_is_padded():
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    result = blur(noise, [(80, 80, 120, 120)])
    changed = (result != noise).any(axis=2)
    margin = round(40 * PADDING)
    inside = changed[80 - margin : 120 + margin, 80 - margin : 120 + margin]
    assert inside.mean() > 0.99 and changed.sum() == inside.sum()
    assert detail(result[70:130, 70:130]) < detail(noise) / 20


def test_a_hidden_face_wins_over_a_shown_one_that_it_overlaps():
    noise = np.random.default_rng(1).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    result = blur(noise, [(20, 20, 80, 80)], [(70, 20, 130, 80)])
    assert np.array_equal(result[20:80, 80:130], noise[20:80, 80:130]), (
        "its margin stops before the shown face"
    )
    assert detail(result[20:80, 20:80]) < detail(noise) / 10
    assert np.array_equal(blur(noise, [(-90, -90, -50, -50)]), noise), "outside the picture"


def test_the_report_shows_no_bystander_and_says_so(assistant, pair):
    report = assistant.report(pair, shown={0: {0}})
    plain = assistant.report(pair)
    (told,), (before,) = report.files, plain.files
    assert told["blurred"]["faces"] == [2] and "Face 2 is blurred" in report.to_html()
    assert before["blurred"] == {"faces": [], "words": ""} and "blurred" not in plain.to_html()
    assert len(certain(pixels(told["photo"]))) == 1
    first, second = told["faces"]
    assert first["pictures"] == before["faces"][0]["pictures"]
    for name in ("crop", "overlay", "grad_cam_overlay"):
        assert certain(pixels(second["pictures"][name])) == []
    assert [face["score"] for face in told["faces"]] == [face["score"] for face in before["faces"]]
    assert assistant.report(pair, shown={}).files[0]["blurred"]["faces"] == [1, 2]


def test_people_in_a_clip_are_blurred_in_each_others_frames(assistant, pair, tmp_path):
    write_video(tmp_path / "clip.mp4", (np.roll(pair.image, number % 4, axis=0) for number in range(24)))
    analysis = assistant.analyse(tmp_path / "clip.mp4")
    assert len(analysis.faces) == 2
    (shown,) = (face.index for face in analysis.faces if face.box[0] < pair.image.shape[1] / 2)
    hidden = without_bystanders(analysis, {shown})
    for face in hidden.faces:
        (left,) = certain(hidden.image_of(face.index))
        assert left.box[2] < pair.image.shape[1] / 2
    (told,) = assistant.report(analysis, shown={0: {shown}}).files
    assert told["blurred"]["faces"] == [2 - shown]


@pytest.mark.parametrize(("shown", "words"), [({0: {2}}, "has no face 3; it has 2"), ({1: {0}}, "no file 2")])
def test_a_face_that_there_is_not_is_an_error(assistant, pair, shown, words):
    with pytest.raises(ValueError, match=words):
        assistant.report(pair, shown=shown)


def test_faces_that_were_passed_over_are_not_promised_to_be_blurred(assistant, pair):
    """A crowd lost the faces that were examined, and kept all others."""
    crowd = replace(pair, more=3)
    with pytest.raises(ValueError, match="3 faces more than are examined, and those cannot be blurred"):
        assistant.report(crowd, shown={0: {0, 1}})
    first, second = assistant.report(Case.of(crowd, pair), shown={0: None, 1: {0}}).files
    assert first["blurred"] == {"faces": [], "words": ""} and second["blurred"]["faces"] == [2]


def test_what_to_blur_becomes_what_to_show(pair):
    case = Case.of(pair, pair)
    assert faces_left(case, {1: {0}}) == {0: None, 1: frozenset({1})}
    assert faces_left(case, {}) is faces_left(case, {0: ()}) is None
