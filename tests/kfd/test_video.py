"""A video: frames of all of it, one finding for each person, and nothing averaged that must not be."""

from __future__ import annotations

import dataclasses
import json
import re
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pypdf import PdfReader

from app.assistant import Assistant
from app.page import panels
from app.page.handlers import EXAMPLE, PageHandlers
from app.report.data import FIRST_SCHEMA
from app.report.sealed import Report, seal_of
from app.wording import findings as wording
from kfd.config import Decision
from kfd.detection import Detection, FaceFinding, Quality
from kfd.detector import Detector
from kfd.quality.caveats import video_caveats
from kfd.scoring.lines import lines_of
from kfd.video import FRAMES, FaceTrack, FrameFinding, VideoAnalysis, examine_video, judge_track
from media.images import read_image
from media.kinds import is_video, is_video_file
from media.regions import REGION_NAMES
from media.video import VideoError
from tests.tiny.checkpoint import save_tiny_checkpoint
from tests.tiny.kfd import tiny_kfd
from tests.tiny.video import write_video

FACE = read_image(EXAMPLE)[30:230, 125:325]
WALL = np.full_like(FACE, 128)


@pytest.fixture(scope="module")
def detector() -> Detector:
    decision = Decision(
        1.0, 0.0, fake_above=0.8, real_below=0.2, fitted_on="a test", min_sharpness=0.0,
        min_log10_lr=-2.0, max_log10_lr=2.0,
    )  # fmt: skip
    return Detector(tiny_kfd(), decision, "d" * 64)


@pytest.fixture(scope="module")
def assistant(tmp_path_factory) -> Assistant:
    decision = Decision(real_below=0.0, fake_above=0.001, min_sharpness=0.0, fitted_on="a test")
    return Assistant.from_pretrained(save_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), decision))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Two people side by side for two seconds; a third face for a single frame."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"

    def frame(number: int) -> np.ndarray:
        moved = np.roll(FACE, number % 5, axis=1)
        third = FACE if number == 25 else WALL
        return np.concatenate([moved, FACE[:, ::-1] if number < 40 else WALL, third], axis=1)

    write_video(path, map(frame, range(FRAMES * 3)))
    return path


@pytest.fixture(scope="module")
def video(detector, clip) -> VideoAnalysis:
    return examine_video(detector, clip)


def moment(logit: float | None, *reasons: str, seconds: float = 0.0) -> FrameFinding:
    """A frame that was read as a logit, or not at all; its map points at the nose."""
    detection = None
    if logit is not None:
        score = torch.tensor([logit]).sigmoid()
        detection = Detection(
            torch.tensor([logit]), score, torch.full((1, 1, 8, 8), 0.5), (), torch.zeros(1, 4)
        )
    heat = {} if detection is None else dict.fromkeys(REGION_NAMES, 0.1) | {"nose": 0.9}
    score = None if detection is None else float(detection.score)
    quality, crop = Quality(100.0, 50.0), SimpleNamespace(pixels=np.zeros((8, 8, 3), np.uint8))
    box = (0, 0, 100, 100)
    finding = FaceFinding(0, box, "inconclusive", score, reasons, (), heat, quality, crop, detection)
    return FrameFinding(0, seconds, finding)


class TestExamining:
    def test_people_and_times(self, video):
        first, second = video.tracks
        assert [len(track.frames) for track in video.tracks] == [16, 13]
        assert first.finding.box[0] < 200 < second.finding.box[0], "the one seen more often comes first"
        assert [track.finding.index for track in video.tracks] == [0, 1]
        assert video.num_frames == 48 and video.seconds == pytest.approx(1.92)
        assert video.sampled == pytest.approx(tuple((3 * k + 1) / 25 for k in range(16)))
        assert not video.damaged and video.still.shape == (200, 600, 3)

    def test_a_face_seen_once_is_left_out_and_counted(self, video, detector, clip):
        """Face finders see a face in a pattern now and then; over many frames that happens often."""
        assert video.num_dropped_tracks == 1
        assert any("One face was left out" in words for words in video_caveats(video, 64))
        all_fake = Detector(detector.model, dataclasses.replace(detector.decision, fake_above=0.3), "")
        assert examine_video(all_fake, clip).num_dropped_tracks == 0, (
            "one that reads as manipulated is never left out"
        )

    def test_a_person_is_what_its_own_frames_say(self, video):
        for track in video.tracks:
            logits = [float(m.finding.detection.logit) for m in track.frames]
            finding = track.finding
            assert float(finding.detection.logit) == pytest.approx(np.mean(logits))
            assert finding.score == pytest.approx(1 / (1 + np.exp(-np.mean(logits))))
            shown = track.frames[track.shown].finding
            assert finding.box == shown.box and finding.crop is shown.crop
            assert abs(logits[track.shown] - np.mean(logits)) == min(abs(np.array(logits) - np.mean(logits)))

    def test_a_video_without_a_face_has_no_people(self, detector, tmp_path):
        write_video(tmp_path / "wall.mp4", [WALL] * 5)
        found = examine_video(detector, tmp_path / "wall.mp4", 3)
        assert found.tracks == () and len(found.sampled) == 3

    def test_a_video_of_one_frame(self, detector, tmp_path):
        write_video(tmp_path / "one.mp4", [FACE])
        found = examine_video(detector, tmp_path / "one.mp4")
        assert [len(track.frames) for track in found.tracks] == [1] and found.num_dropped_tracks == 0
        assert found.seconds == 0 and "single frame" in wording.frames_sentence(found)

    def test_the_picture_of_a_person_is_the_frame_that_was_read(self, video, detector):
        for track in video.tracks:
            shown = track.frames[track.shown].finding
            again = [f for f in detector.examine(track.image) if f.box == shown.box]
            assert len(again) == 1 and (again[0].crop.pixels == shown.crop.pixels).all()

    def test_interlacing_is_a_reason_of_the_finding(self, detector, tmp_path):
        """It was a warning alone, and the verdict stood."""
        for name, interlaced in (("woven.mp4", True), ("whole.mp4", False)):
            write_video(tmp_path / name, [np.roll(FACE, n, axis=1) for n in range(8)], interlaced=interlaced)
            line, *_ = lines_of(tmp_path / name, detector)
            assert ("interlaced" in line["reasons"]) == interlaced
            assert ("interlaced" in line["whole"]["reasons"]) == interlaced
            assert line["score"] is not None
            assert not interlaced or (line["verdict"] == "inconclusive" and line["log10_lr"] is None)

    def test_threads_find_what_one_finds(self, detector, clip, video):
        again = examine_video(detector, clip, threads=3)
        assert again.sampled == video.sampled and again.pixels_sha256 == video.pixels_sha256
        assert [t.finding.box for t in again.tracks] == [t.finding.box for t in video.tracks]
        assert [t.finding.score for t in again.tracks] == [t.finding.score for t in video.tracks]

    def test_a_damaged_video_without_a_face_says_both(self, detector, tmp_path):
        """`whole` said that no face was found and nothing of the damage."""
        noise = np.random.default_rng(0).integers(0, 255, (30, 96, 96, 3), np.uint8)
        write_video(tmp_path / "wall.mp4", noise)
        data = bytearray((tmp_path / "wall.mp4").read_bytes())
        start = data.index(b"mdat") + 4
        data[start + (len(data) - start) // 3 : -2000] = bytes(
            len(data) - 2000 - start - (len(data) - start) // 3
        )
        (tmp_path / "hurt.mp4").write_bytes(bytes(data))
        (line,) = lines_of(tmp_path / "hurt.mp4", detector)
        assert line["reasons"] == line["whole"]["reasons"] == ["no_face", "damaged"]

    def test_damage_in_the_middle_is_said(self, detector, clip, tmp_path):
        data = bytearray(clip.read_bytes())
        place = len(data) // 3
        data[place : place + len(data) // 3] = bytes(len(data) // 3)
        (tmp_path / "hurt.mp4").write_bytes(bytes(data))
        found = examine_video(detector, tmp_path / "hurt.mp4")
        assert found.damaged and any("damaged" in words for words in video_caveats(found, 64))
        for track in found.tracks:
            shown = track.frames[track.shown].finding
            assert any(f.box == shown.box for f in detector.examine(track.image)), "its own picture"

    def test_a_film_that_begins_in_black_has_colour(self, assistant, tmp_path):
        write_video(tmp_path / "fade.mp4", [np.zeros_like(FACE)] * 3 + [FACE] * 20)
        assert not any("no colour" in words for words in assistant.analyse(tmp_path / "fade.mp4").warnings)

    def test_what_cannot_be_decoded(self, detector, clip, tmp_path):
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(clip.read_bytes()[:200])
        with pytest.raises(VideoError) as caught:
            examine_video(detector, cut)
        assert caught.value.code == "unreadable"

    def test_a_video_is_known_by_its_content(self, clip, tmp_path):
        renamed = tmp_path / "photo.jpg"
        renamed.write_bytes(clip.read_bytes())
        assert is_video_file(renamed) and not is_video_file(EXAMPLE)
        assert not is_video_file(tmp_path) and not is_video_file(tmp_path / "none.mp4")
        assert not is_video(b"") and not is_video(b"\0\0\0\x18ftypheic")
        write_video(tmp_path / "a.avi", [WALL] * 3, codec="mpeg4")
        assert is_video_file(tmp_path / "a.avi")


class TestJudging:
    def test_frames_with_a_flaw_do_not_count(self, detector):
        finding, shown = judge_track(detector, [moment(3.0), moment(-9.0, "blurred"), moment(2.0)])
        assert float(finding.detection.logit) == pytest.approx(2.5) and finding.verdict == "fake"
        assert shown in (0, 2) and finding.regions == ("nose",) and finding.evidence.support == "fake"

    def test_mostly_flawed_frames_forbid_a_verdict(self, detector):
        frames = [moment(3.0), moment(3.0, "blurred"), moment(3.0, "heavy_compression", "blurred")]
        finding, _ = judge_track(detector, frames)
        assert (finding.verdict, finding.reasons) == ("inconclusive", ("blurred", "heavy_compression"))
        assert finding.evidence is None and finding.score == pytest.approx(0.9526, abs=1e-3)

    def test_frames_that_contradict_each_other(self, detector):
        """Half a clip forged: no mean may hide it, and the frame to look at is shown."""
        finding, shown = judge_track(detector, [moment(-3.0)] * 4 + [moment(3.0), moment(4.0), moment(3.0)])
        assert "frames_disagree" in finding.reasons and finding.verdict == "inconclusive"
        assert shown == 5 and finding.evidence is None

    def test_a_person_too_small_throughout_has_no_score(self, detector):
        finding, _ = judge_track(detector, [moment(None, "face_too_small")] * 3)
        assert finding.score is None and finding.reasons == ("face_too_small",)

    def test_agreement_of_frames_is_not_counted_as_evidence(self, detector):
        one, _ = judge_track(detector, [moment(2.0)])
        many, _ = judge_track(detector, [moment(2.0)] * 16)
        assert one.evidence == many.evidence

    def test_what_is_said_of_a_track(self, detector):
        def told(*frames: FrameFinding) -> str:
            finding, shown = judge_track(detector, frames)
            return wording.track_sentence(FaceTrack(finding, frames, shown, WALL), 16)

        real = moment(-3.0)
        real = dataclasses.replace(real, finding=dataclasses.replace(real.finding, verdict="real"))
        assert "read as: no signs in 2." in told(real, real) and "nearest that of all" in told(real, real)
        assert "in which the face is largest" in told(moment(None, "face_too_small"))

    def test_a_suspicious_frame_of_a_genuine_video_is_named(self, detector):
        frames = [moment(-5.0)] * 9 + [moment(3.0)]
        fake = dataclasses.replace(frames[-1].finding, verdict="fake")
        frames[-1] = dataclasses.replace(frames[-1], finding=fake)
        finding, shown = judge_track(detector, frames)
        video = SimpleNamespace(
            damaged=False,
            damage="",
            cut_off=False,
            interlaced=0,
            nominal=False,
            num_dropped_tracks=0,
            more=0,
            smallest=48,
        )
        video.tracks = (FaceTrack(finding, tuple(frames), shown, WALL),)
        assert finding.verdict == "real"
        assert next(video_caveats(video, 64)).startswith("Face 1: 1 of its 10 frames")

    def test_an_uncalibrated_detector_says_so_once(self, detector):
        raw = Detector(detector.model, Decision(), "")
        finding, _ = judge_track(raw, [moment(2.0, "not_calibrated")] * 3)
        assert finding.reasons == ("not_calibrated",)


@pytest.fixture(scope="module")
def analysis(assistant, clip):
    analysis = assistant.analyse(clip)
    list(assistant.ask(analysis, "Is this a deepfake image?", 1))
    return analysis


class TestShown:
    def test_a_conversation_is_about_a_person(self, analysis):
        assert analysis.medium == "video" and analysis.source.file_format == "video, h264"
        assert [exchange.face for exchange in analysis.session.exchanges] == [1]
        assert analysis.image_of(1) is analysis.video.tracks[1].image

    def test_the_report_lists_every_frame(self, assistant, analysis, tmp_path):
        report = assistant.report(analysis)
        data = json.loads(report.to_json())
        (told,) = data["files"]
        assert report.intact and told["file"]["video"]["frames"] == 48
        assert len(told["file"]["video"]["examined"]) == FRAMES
        assert [len(face["track"]["frames"]) for face in told["faces"]] == [16, 13, 1]
        assert [sum(f["shown"] for f in face["track"]["frames"]) for face in told["faces"]] == [1, 1, 1]
        method = wording.video_method(assistant.models.decision)
        assert method in data["method"] and wording.VIDEO_LIMIT in data["limits"]
        pages = PdfReader(BytesIO(report.to_pdf())).pages
        text = re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pages))
        for words in (
            "Examination of a video",
            "Seen in 13 of 16 frames",
            "48 frames, of which 16",
            "Frame at",
            "0:01.5",
        ):
            assert words in text and words in report.to_html()

    def test_the_score_follows_from_the_frames_by_the_printed_method(self, clip, tmp_path):
        """Bug: the report called the score that of the mean logit, and named no line; who recomputed it from
        the table of the frames got another score, and another verdict."""
        decision = Decision(
            slope=0.7, intercept=-0.3, clip_frames=6, clip_slope=1.2, clip_intercept=-2.0, fitted_on="a test",
            min_sharpness=0.0,
        )  # fmt: skip
        assistant = Assistant.from_pretrained(save_tiny_checkpoint(tmp_path, decision))
        report = assistant.report(assistant.analyse(clip))
        assert "ln(s / (1 - s)) = 0.7 x - 0.3." in report.to_html()
        assert "Of 6 such frames or more it is the score of the logit 1.2 m - 2, of" in report.to_html()
        told = report.data["calibration"]
        face = report.files[0]["faces"][0]
        scores = np.array([frame["score"] for frame in face["track"]["frames"]])
        mean = np.mean((np.log(scores / (1 - scores)) - told["intercept"]) / told["slope"])
        carried = told["clip_slope"] * mean + told["clip_intercept"]
        score = 1 / (1 + np.exp(-(told["slope"] * carried + told["intercept"])))
        assert score == pytest.approx(face["score"], abs=0.001)
        assert abs(scores.mean() - face["score"]) > 0.1, "the line changes much here"
        isotonic = wording.video_method(
            Decision(method="isotonic", knot_logits=(-1.0, 1.0), knot_log_odds=(-1.0, 2.0))
        )
        assert "knots" in isotonic and "It is the score of m" in isotonic

    def test_the_page_has_a_bar_and_a_picture_for_each_frame(self, analysis):
        panel = panels.face_panel(analysis, 1)
        assert panel.count('<button type="button" class="moment') == panel.count("<figure data-frame") == 13
        assert panel.count("not seen") == 3 and panel.count(" shown") == 1
        assert "48 frames" in panels.photo_panel(analysis)

    def test_a_video_without_a_face(self, assistant, tmp_path):
        write_video(tmp_path / "wall.mp4", [WALL] * 20)
        analysis = assistant.analyse(tmp_path / "wall.mp4")
        assert "16 frames examined" in panels.no_face_panel(analysis)
        report = assistant.report(analysis)
        assert "The first of the frames examined." in report.to_html() and report.to_pdf()
        assert report.files[0]["verdict"] == "inconclusive" and report.files[0]["faces"] == []

    def test_a_report_made_before_there_were_videos(self, assistant):
        report = assistant.report(assistant.analyse(EXAMPLE))
        data = json.loads(report.to_json())
        (told,) = data.pop("files")
        data = {
            **data,
            **told,
            "schema": FIRST_SCHEMA,
            "pictures": {**data["pictures"], "photo": told["photo"]},
        }
        del data["file"]["video"], data["faces"][0]["track"], data["photo"], data["examiner"]
        old = Report.from_json(json.dumps({**data, "seal": seal_of(data)}))
        assert old.intact and old.files == [old.data]
        assert "Examination of a photograph" in old.to_html() and old.to_pdf()

    def test_a_photograph_has_no_timeline(self, assistant):
        photo = assistant.analyse(EXAMPLE)
        report = assistant.report(photo)
        (told,) = report.files
        assert "timeline" not in panels.face_panel(photo, 0) and told["file"]["video"] is None
        assert len(report.data["method"]) == 3 and told["faces"][0]["track"] is None

    def test_a_damaged_video_is_a_sentence_and_forgotten(self, assistant, clip, tmp_path):
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(clip.read_bytes()[:200])
        *_, (state, notice, *_) = PageHandlers(assistant, tmp_path).examine(str(cut))
        assert state is None and "cannot be read as a video" in notice and not cut.exists()

    def test_bytes_of_a_video_are_examined_like_the_file(self, assistant, clip, analysis):
        """They were refused once: FFmpeg was given names, and bytes have none."""
        again = assistant.analyse(clip.read_bytes(), "clip.mp4")
        assert again.source == analysis.source and len(again.faces) == len(analysis.faces)


def test_kfd_score_writes_a_line_for_each_person(detector, clip, tmp_path):
    first, second = lines_of(clip, detector)
    assert (first["face"], second["face"]) == (0, 1) and len(second["frames"]) == 13
    assert second["frames"][0] == [0.04, pytest.approx(second["score"], abs=0.5)]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:200])
    (line,) = lines_of(cut, detector)
    assert line["score"] is None and line["reasons"] == ["unreadable"]


def test_clock():
    assert [wording.clock(s) for s in (0.04, 59.96, 63.21, 3600)] == ["0:00.0", "1:00.0", "1:03.2", "60:00.0"]
