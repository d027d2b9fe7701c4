"""Every person is a track; nobody's track takes in another's face."""

from __future__ import annotations

import numpy as np

from media.faces import Face
from media.tracks import PATIENCE, colours, find_cuts, surroundings, track_faces
from tests.tiny.faces import drawn_landmarks


def face(x: float, y: float = 100, side: float = 80) -> Face:
    """A drawn face whose landmarks lie around (x, y)."""
    landmarks = drawn_landmarks(int(side)) + np.array([x - side / 2, y - side / 2], np.float32)
    (x0, y0), (x1, y1) = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
    return Face((x0, y0, x1, y1), landmarks)


def test_two_people_stay_apart_whatever_their_order():
    """Faces come largest first, so that the order changes when somebody comes nearer."""
    left = [face(100 + 5 * t, side=80 + t) for t in range(8)]
    right = [face(300 - 5 * t, side=84 - t) for t in range(8)]
    frames = [sorted(pair, key=lambda f: -f.side) for pair in zip(left, right, strict=True)]
    tracks = track_faces(frames)
    people = [
        {id(f): track for f, track in zip(*pair, strict=True)} for pair in zip(frames, tracks, strict=True)
    ]
    assert len({people[t][id(left[t])] for t in range(8)}) == 1
    assert len({people[t][id(right[t])] for t in range(8)}) == 1
    assert all(set(numbers) == {0, 1} for numbers in tracks)


def test_neighbours_never_share_a_track():
    """Two people side by side, one looks away for a frame: the other does not take over."""
    here, there = face(100), face(190)
    assert track_faces([[here, there], [there], [here, there]]) == [[0, 1], [1], [0, 1]]


def test_somebody_new_and_somebody_back():
    assert track_faces([[face(100)], [], [face(110)], [face(400)]]) == [[0], [], [0], [1]]
    gone = [[]] * (PATIENCE + 1)
    assert track_faces([[face(100)], *gone, [face(100)]])[-1] == [1], "too long ago to be sure"


def test_a_jump_or_another_size_is_another_person():
    assert track_faces([[face(100)], [face(190)]]) == [[0], [1]]
    assert track_faces([[face(100, side=80)], [face(100, side=160)]]) == [[0], [1]]


def test_the_nearest_wins():
    assert track_faces([[face(100)], [face(140), face(104)]]) == [[0], [1, 0]]


def test_nothing_to_track():
    assert track_faces([]) == [] and track_faces([[], []]) == [[], []]


def test_nobody_is_followed_over_a_cut():
    """The next shot's speaker sits where the last one's sat, and once took over the track."""
    seats = [[face(100)]] * 6
    assert track_faces(seats, cuts=[3]) == [[0], [0], [0], [1], [1], [1]]
    assert track_faces(seats) == [[0]] * 6


def test_a_cut_is_another_picture_not_movement_nor_light():
    rng = np.random.default_rng(0)
    room = np.full((120, 160, 3), (180, 120, 60), np.uint8)
    room[40:90, 50:90] = (210, 170, 150)
    moved = np.roll(room, 30, axis=1)
    darker = (room * 0.9).astype(np.uint8)
    noisy = np.clip(room + rng.normal(0, 3, room.shape), 0, 255).astype(np.uint8)
    street = np.full((120, 160, 3), (40, 90, 200), np.uint8)
    shots = [room, moved, darker, noisy, street, street, room]
    assert find_cuts([colours(shot) for shot in shots]) == [4, 6]
    assert find_cuts([]) == [] and find_cuts([colours(room)]) == []


def test_two_people_shown_in_turn_in_one_room_are_two():
    """Shot and countershot have one wall and one light: by the colours of the whole frame that is no cut, and
    whoever sat where the other had sat was averaged with him.
    """
    seat = face(200, 150)

    def shot(clothes: tuple[int, int, int], hair: tuple[int, int, int]) -> np.ndarray:
        frame = np.full((400, 640, 3), (90, 110, 130), np.uint8)
        frame[190:260, 140:260] = clothes
        frame[60:130, 150:250] = hair
        frame[120:185, 165:235] = (200, 160, 140)
        return frame

    one, other = shot((30, 30, 160), (20, 20, 20)), shot((180, 40, 40), (210, 190, 120))
    clip = [one, one, other, other, one]
    assert find_cuts([colours(frame) for frame in clip]) == []
    about = [[surroundings(frame, seat)] for frame in clip]
    assert track_faces([[seat]] * 5, (), about) == [[0], [0], [1], [1], [0]]
    assert track_faces([[seat]] * 5) == [[0]] * 5, "place and size alone do not tell"


def test_surroundings_of_a_face_at_the_edge_are_those_inside():
    frame = np.zeros((100, 100, 3), np.uint8)
    for x, y in ((0, 0), (100, 100), (-60, 50), (150, 150)):
        assert surroundings(frame, face(x, y)).sum() == 1.0
