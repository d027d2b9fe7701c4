"""python -m evaluation.detector from a face set to files: figures, scores, refusals, reports, comparisons."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch

from common.storage import digest_of, save_config
from evaluation import detector as evaluate
from evaluation import measure
from evaluation.results import read_results
from kfd.checkpoint import save_kfd
from kfd.config import Decision
from tests.tiny.benchmark import DECISION, FACES, edit_rows, face_set, run
from tests.tiny.faces import BORDER
from tests.tiny.kfd import SIZE, tiny_kfd


def test_one_file_tells_all(data, checkpoint, tmp_path, monkeypatch, capsys):
    """FIELD trap 3: the thresholds and where they were fitted stand beside AUC, AP, EER and TPR."""
    out = tmp_path / "figures.json"
    run(
        monkeypatch,
        "--data",
        data,
        "--split",
        "test",
        "--checkpoint",
        checkpoint,
        "--out",
        out,
        "--num-resamples",
        40,
    )
    results, items = read_results(out)
    assert results["decision"] == json.loads(json.dumps(dataclasses.asdict(DECISION)))
    assert results["checkpoint"]["sha256"] == digest_of(checkpoint / "model.safetensors")
    assert results["data"]["split"] == "test" and len(results["data"]["sha256"]) == 64
    assert {"command", "config", "seeds", "environment", "failures"} <= results.keys()
    frame = results["results"]["frame"]
    assert frame.keys() == results["confounders"].keys() == {"square", "all drawn", "simulated"}
    for kind, figures in frame.items():
        assert (figures["real"], figures["fake"], figures["units"]) == (FACES, FACES, FACES), kind
        for name in ("auc", "ap", "eer", "acc", "f1", "pixel_auc", "iou", "pointing", "real_called_fake"):
            figure = figures[name]
            assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1, (kind, name)
        assert figures["tpr_at_fpr_1"]["value"] is None and figures["tpr_at_fpr_1"]["reason"]
    assert len(items) == 4 * FACES and len({item.logit for item in items}) > FACES
    decided = [1 / (1 + np.exp(-item.logit)) for item in items]
    assert decided == pytest.approx([item.score for item in items], abs=1e-6)
    printed = capsys.readouterr().out
    assert "| kind | real | fake | units | AUC |" in printed and "strongest confounder |" in printed
    assert "## Confounders" in printed and "fitted on: planted" in printed


def test_the_same_command_gives_the_same_figures(data, checkpoint, tmp_path, monkeypatch):
    found = []
    for name in ("a.json", "b.json"):
        run(
            monkeypatch,
            "--data",
            data,
            "--checkpoint",
            checkpoint,
            "--out",
            tmp_path / name,
            "--num-resamples",
            20,
        )
        results, items = read_results(tmp_path / name)
        own = ("created", "command", "config")
        found.append(({k: v for k, v in results.items() if k not in own}, items))
    assert found[0] == found[1]


def test_a_test_split_changes_no_checkpoint(data, checkpoint, tmp_path, monkeypatch):
    """FIELD trap 2: nothing can be chosen by a test split, and the file says so."""
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    run(monkeypatch, "--data", data, "--split", "test", "--checkpoint", checkpoint, "--num-resamples", 5,
        "--out", tmp_path / "a.json", "--simulated", 0)  # fmt: skip
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before
    results, _ = read_results(tmp_path / "a.json")
    assert "chooses nothing" in results["note"] and "simulated" not in results["results"]["frame"]


def test_the_report_stands_alone(data, checkpoint, tmp_path, monkeypatch):
    folder = tmp_path / "report"
    run(monkeypatch, "--data", data, "--split", "test", "--checkpoint", checkpoint, "--report", folder,
        "--num-resamples", 20)  # fmt: skip
    plots = {f"{name}.svg" for name in ("roc", "det", "reliability", "tippett", "coverage", "scores")}
    assert {path.name for path in folder.iterdir()} == {"results.json", "report.md", "report.html"} | plots
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert page.count("data:image/svg+xml;base64,") == 6
    assert not re.search(r"(src|href)=['\"](?!data:)", page), "nothing is fetched from elsewhere"
    assert "chooses nothing" in page and "chooses nothing" in text
    assert "What is missing: 1% of 6 real items is less than one item; 5% of 6" in page
    for heading in (
        "Ranking, each face",
        "Verdicts, each face",
        "Localization",
        "Confounders",
        "Reliability",
    ):
        assert f"<h2>{heading}</h2>" in page and f"## {heading}" in text
    assert read_results(folder / "results.json")[0]["data"]["folder"] == data.name


def test_videos_are_measured_as_wholes(checkpoint, tmp_path, monkeypatch, capsys):
    """FIELD trap 1: two kinds of fakes of the videos 0 to 2 are six fake videos beside three real ones."""
    data = face_set(tmp_path / "set", ("val",))

    def name_video(number: int, row: dict[str, str]) -> dict[str, str]:
        changes = {"video": str(number % 3), "frame": str(number), "group": str(number % 3)}
        other = row["label"] == "fake" and number % 6 >= 3
        return changes | ({"kind": "patch"} if other else {})

    edit_rows(data, name_video)
    out = tmp_path / "a.json"
    run(monkeypatch, "--data", data, "--checkpoint", checkpoint, "--out", out, "--num-resamples", 5,
        "--simulated", 0, "--aggregate", "vote")  # fmt: skip
    results, _ = read_results(out)
    video = results["results"]["video"]
    assert {kind: (f["real"], f["fake"]) for kind, f in video.items()} == {
        "patch": (3, 3), "square": (3, 3), "all drawn": (3, 6),
    }  # fmt: skip
    assert set(results["aggregations"]) == {"mean", "median", "vote", "fusion", "top"}
    assert video["square"]["auc"]["low"] is None, "three units are too few for an interval, and it says so"
    faces, videos = capsys.readouterr().out.split("## Ranking, each video, aggregation `vote`")
    assert "mirror image forbid a verdict" in faces and "half of them decide for the video" in videos


def test_named_regions_are_a_mask_where_there_is_no_aligned_face(checkpoint, tmp_path):
    data = face_set(tmp_path / "set", ("val",))
    edit_rows(data, lambda number, row: {"pair": "", "regions": "nose|mouth"} if number == FACES else {})
    faces = evaluate.FaceSet.open(data, "val")
    images, landmarks = faces.read(list(range(len(faces))))
    masks = measure.true_masks(faces, list(range(len(faces))), images, landmarks)
    assert set(masks) == set(range(FACES, 2 * FACES)), "every fake, no real"
    named = {row: masks[FACES][row].max() for row in (int(SIZE * y) for y in (0.1, 0.55, 0.74))}
    assert list(named.values()) == [0, 1, 1], "brow, nose and mouth of the drawn landmarks"
    own = np.zeros((1, SIZE + 2 * BORDER, SIZE + 2 * BORDER), dtype=np.uint8)
    own[0, BORDER : BORDER + 4] = 255
    np.save(data / "masks.npy", own)
    before = measure.data_digest(faces)
    edit_rows(data, lambda number, row: {"mask": "0"} if number == FACES + 1 else {})
    faces = evaluate.FaceSet.open(data, "val")
    masks = measure.true_masks(faces, list(range(len(faces))), images, landmarks)
    assert masks[FACES + 1][:4].min() == 1 and masks[FACES + 1][4:].max() == 0, (
        "the data set's own comes first"
    )
    assert measure.data_digest(faces) != before


def test_simulation_takes_faces_from_all_of_the_split(data, checkpoint, tmp_path, monkeypatch):
    """Faces lie source by source: the first 600 of 997 once left a whole source out."""
    run(monkeypatch, "--data", data, "--checkpoint", checkpoint, "--num-resamples", 5, "--simulated", 4,
        "--out", tmp_path / "a.json")  # fmt: skip
    results, items = read_results(tmp_path / "a.json")
    faces = evaluate.FaceSet.open(data, "val")
    reals = [faces.rows[p]["path"] for p in faces.where(label="real")]
    used = [item.path for item in items if item.kind == "simulated" and item.label == "real"]
    assert used == [reals[p] for p in (0, 1, 3, 5)] and results["data"]["simulated"]["faces"] == 4


def test_what_gave_no_face_is_counted_and_never_scored(data, checkpoint, tmp_path, monkeypatch, capsys):
    """FIELD trap 4: a peer scores a picture without a face 0.0, that is, real."""
    (data / "rejected.csv").write_text(
        "path,reason\nx.jpg,no_face\ny.jpg,no_face\nz.jpg,duplicate of a.jpg\n"
    )
    run(
        monkeypatch,
        "--data",
        data,
        "--checkpoint",
        checkpoint,
        "--num-resamples",
        5,
        "--out",
        tmp_path / "a.json",
    )
    results, items = read_results(tmp_path / "a.json")
    assert {f["reason"]: f["count"] for f in results["failures"]} == {"no_face": 2, "duplicate": 1}
    assert not {"x.jpg", "y.jpg", "z.jpg"} & {item.path for item in items}
    assert "## Without a score" in capsys.readouterr().out


def test_a_score_that_is_no_number_is_a_failure(data, checkpoint, tmp_path, monkeypatch):
    """FIELD trap 4: neither 0.5 nor 0 stands in for it."""
    original = evaluate.Detector.__call__

    def broken(self, crops):
        found = original(self, crops)
        found.logit[0] = float("nan")
        return found

    monkeypatch.setattr(evaluate.Detector, "__call__", broken)
    run(monkeypatch, "--data", data, "--checkpoint", checkpoint, "--num-resamples", 5, "--simulated", 0,
        "--out", tmp_path / "a.json")  # fmt: skip
    results, items = read_results(tmp_path / "a.json")
    assert len(items) == 2 * FACES - 1
    assert {"split": "val", "reason": "score_not_finite", "count": 1} in results["failures"]


def test_two_runs_are_compared(data, checkpoint, tmp_path, monkeypatch, capsys):
    other = tmp_path / "other"
    save_kfd(tiny_kfd(seed=1), other, DECISION)
    for name, folder in (("a.json", checkpoint), ("b.json", other)):
        run(
            monkeypatch,
            "--data",
            data,
            "--checkpoint",
            folder,
            "--out",
            tmp_path / name,
            "--num-resamples",
            5,
        )
    capsys.readouterr()
    run(monkeypatch, "--compare", tmp_path / "a.json", tmp_path / "b.json", "--num-resamples", 40,
        "--out", tmp_path / "c.json")  # fmt: skip
    found = json.loads((tmp_path / "c.json").read_text())
    assert set(found["differences"]) == {"square", "all drawn", "simulated"}
    assert found["differences"]["square"]["auc"]["difference"]["low"] is not None
    told = capsys.readouterr().out
    assert "b − a" in told and "## Agreement" in told
    assert [row["second"] for row in found["agreement"]] == 2 * ["agrees", "gives none", "says the opposite"]
    run(monkeypatch, "--data", data, "--split", "test", "--checkpoint", other, "--num-resamples", 5,
        "--out", tmp_path / "d.json")  # fmt: skip
    with pytest.raises(SystemExit, match=r"different data \(split: val against test"):
        run(monkeypatch, "--compare", tmp_path / "a.json", tmp_path / "d.json")


def test_impossible_commands_are_one_sentence(data, checkpoint, monkeypatch, capsys):
    with pytest.raises(SystemExit, match=r"error: .*no split 'none'"):
        run(monkeypatch, "--data", data, "--split", "none", "--checkpoint", checkpoint)
    for words, told in (
        ((), "one of the two"),
        (("--data", data, "--compare", "a.json", "b.json"), "one of the two"),
        (("--compare", "a.json", "b.json", "--report", "c"), "--compare writes"),
    ):
        with pytest.raises(SystemExit):
            run(monkeypatch, *words)
        printed = capsys.readouterr()
        assert told in re.sub(r"[\s│|]+", " ", printed.out + printed.err)


def test_the_detector_sees_the_centre_of_the_stored_crop(data, checkpoint):
    """What is scored here is what the detector sees in use: no border."""
    faces = evaluate.FaceSet.open(data, "val")
    detector = evaluate.Detector.from_pretrained(checkpoint)
    measured = measure.Measured(evaluate.DetectorJudge(detector))
    measure.score_stored(measured, faces)
    stored = np.array(faces.crops[faces.index[0], BORDER : BORDER + SIZE, BORDER : BORDER + SIZE])
    pixels = torch.from_numpy(stored).permute(2, 0, 1)[None].float() / 255
    assert measured.items[0].logit == pytest.approx(float(detector(pixels).logit), rel=1e-5)


def test_verdicts_are_those_that_users_see(data, checkpoint):
    """What forbids a verdict on a photograph forbids it here: a small face, a poor file, two readings.

    Bug: drawings, on which no user gets a verdict, counted as called real or fake.
    """
    detector = evaluate.Detector.from_pretrained(checkpoint)
    limits = {"min_face": 48.0, "min_sharpness": 0.0, "min_jpeg_quality": 30, "max_views_gap": 1.0}
    limits["max_strangeness"] = 3.0
    detector.decision = Decision(fake_above=0.51, real_below=0.5, fitted_on="planted", **limits)
    judge = evaluate.DetectorJudge(detector)
    faces = evaluate.FaceSet.open(data, "val")
    images, landmarks = faces.read([0])
    drawn = (images[0] * 255).round().byte().permute(1, 2, 0).numpy()  # blocks, which no photograph shows
    crop = cv2.GaussianBlur(drawn, (0, 0), 3)
    found = judge(images, landmarks)

    def reasons(gap: float = 0.0, strange: float = 0.0, **facts: str) -> set[str]:
        row = faces.rows[0] | facts
        told = dataclasses.replace(found, views_gap=torch.tensor([gap]), strangeness=torch.tensor([strange]))
        return set(judge.verdict(row, crop, landmarks[0].numpy(), told)[1]) - {"score_between_thresholds"}

    assert reasons() == reasons(box="10 10 90 90", jpeg_quality="90") == set()
    assert reasons(box="10 10 50 40") == {"face_too_small"}
    assert reasons(jpeg_quality="20") == {"heavy_compression"}
    assert reasons(gap=1.5) == {"views_disagree"} and reasons(strange=3.5) == {"unfamiliar"}
    told = judge.verdict(faces.rows[0], drawn, landmarks[0].numpy(), found)
    assert told[1][0] == "not_a_photograph"
    assert judge.quality(faces.rows[0], crop, landmarks[0].numpy()).face_pixels == 48.0, "a set may not tell"
    judge.decision = detector.decision = dataclasses.replace(detector.decision, max_video_loss=-1.0)
    assert reasons() == {"heavy_compression"}, "any estimate is above this limit"


def test_reasons_are_counted_and_shown(data, checkpoint, tmp_path, monkeypatch, capsys):
    strict = tmp_path / "strict"
    shutil.copytree(checkpoint, strict)
    decision = Decision(fake_above=0.8, real_below=0.2, fitted_on="planted", min_sharpness=1e9)
    save_config(decision, strict / "decision.json")
    run(monkeypatch, "--data", data, "--checkpoint", strict, "--num-resamples", 5, "--simulated", 0,
        "--out", tmp_path / "a.json")  # fmt: skip
    results, items = read_results(tmp_path / "a.json")
    square = results["results"]["frame"]["square"]
    assert square["inconclusive_real"]["value"] == 1 and square["real_called_fake"]["value"] == 0
    assert square["reasons"]["real"]["blurred"] == FACES
    assert all(item.verdict == "inconclusive" and "blurred" in item.reasons for item in items)
    assert "## Why inconclusive" in capsys.readouterr().out
